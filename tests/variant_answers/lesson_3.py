"""Right and wrong answers to lesson 3's variants, by what is drawn."""

import itertools

import torch
from test_variants_3 import height_at

from minimaskgit import masking


def right(drawn: dict) -> dict:
    def graph(r, num_tokens):
        heights = [height_at(drawn["points"], x, drawn["stairs"]) * (x < 1) for x in r.double().flatten().tolist()]
        return torch.tensor(heights, dtype=r.dtype).view(r.shape)

    def mean_hidden():
        return sum((b - a) * (y if drawn["stairs"] else (y + z) / 2) for (a, y), (b, z) in pairs(drawn))

    def line_mask(counts, height, width, generator=None):
        lines, places = (width, height) if drawn["columns"] else (height, width)
        mask = masking.random_mask(counts.flatten(), places, generator).view(len(counts), lines, places)
        return mask.transpose(1, 2) if drawn["columns"] else mask

    return {"graph": graph, "mean_hidden": mean_hidden, "line_mask": line_mask}


def pairs(drawn: dict):
    return itertools.pairwise(drawn["points"])


def wrong(drawn: dict) -> dict[str, tuple[str, dict]]:
    good, other = right(drawn), right({**drawn, "stairs": not drawn["stairs"]})
    early = lambda r, n: good["graph"]((r + 0.02).clamp(max=1), n)
    flat = lambda r, n: good["graph"](r.flatten(), n)

    def first_places(counts, height, width, generator=None):
        lines, places = (width, height) if drawn["columns"] else (height, width)
        mask = (torch.arange(places) < counts[..., None]).view(len(counts), lines, places)
        return mask.transpose(1, 2) if drawn["columns"] else mask

    def all_lines_alike(counts, height, width, generator=None):
        lines, places = (width, height) if drawn["columns"] else (height, width)
        ranks = torch.rand(len(counts), 1, places, generator=generator).argsort(2).argsort(2)
        mask = (ranks < counts[..., None]).view(len(counts), lines, places)
        return mask.transpose(1, 2) if drawn["columns"] else mask

    def a_total(counts, height, width, generator=None):
        return masking.random_mask(counts.sum(1), height * width, generator).view(-1, height, width)

    curve = "test_the_curve_goes_through_its_points_and_runs_between_them_as_asked"
    count = "test_every_line_hides_exactly_its_count"
    likely = "test_every_choice_in_a_line_is_equally_likely_and_lines_are_independent"
    measured = "test_so_much_is_hidden_on_average_when_it_is_measured"
    return {
        "the other way between points": (curve, {"graph": other["graph"]}),
        "a little early": (curve, {"graph": early}),
        "always in double precision": (
            "test_any_shape_will_do_and_each_value_stands_for_itself",
            {"graph": lambda r, n: good["graph"](r, n).double()},
        ),
        "always flat": ("test_any_shape_will_do_and_each_value_stands_for_itself", {"graph": flat}),
        "the cosine's mean": (measured, {"mean_hidden": lambda: 2 / torch.pi}),
        "the other curve's mean": (measured, {"mean_hidden": other["mean_hidden"]}),
        "the count of the whole picture": (count, {"line_mask": a_total}),
        "always the first places": (likely, {"line_mask": first_places}),
        "all lines alike": (likely, {"line_mask": all_lines_alike}),
    }
