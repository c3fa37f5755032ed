"""Right and wrong answers to lesson 5's variants, by what is drawn.

Those that need the package's answer call it: in the sandbox it is not there, so none of this can be handed in as it is.
"""

import torch
from test_variants_5 import is_forbidden

from minimaskgit import decoding


class OfTheFirst(torch.nn.Module):
    """A model that says of every canvas what it said of the first."""

    def __init__(self, model):
        super().__init__()
        self.model, self.mask_id, self.num_tokens = model, model.mask_id, model.num_tokens
        self.num_codes, self.num_classes = model.num_codes, model.num_classes
        self.said = None

    def forward(self, tokens, labels):
        said = self.model(tokens, labels)
        self.said = said if self.said is None else self.said
        return self.said


class Forbidding(torch.nn.Module):
    """A model that gives forbidden codes no probability."""

    def __init__(self, model, drawn):
        super().__init__()
        self.model, self.mask_id, self.num_tokens = model, model.mask_id, model.num_tokens
        self.num_codes, self.num_classes = model.num_codes, model.num_classes
        self.bad = is_forbidden(drawn, model.num_tokens, model.num_codes)

    def forward(self, tokens, labels, where=None):
        logits = self.model(tokens, labels).masked_fill(self.bad, -torch.inf)
        return logits if where is None else logits.gather(1, where[..., None].expand(-1, -1, self.num_codes))


def right(drawn: dict) -> dict:
    def masks_left(start, now, step, steps, pace=None):
        out = []
        for u, n, t in zip(start.tolist(), now.tolist(), (steps if pace is None else pace).tolist()):
            schedule = lambda r, _: torch.tensor(curve(r.item()))
            left = decoding.num_to_mask(torch.tensor([u]), torch.tensor([n]), min(step, t - 1), t, schedule)
            out.append(int(left))
        return torch.tensor(out)

    def curve(r):
        for (a, ya), (b, yb) in zip(drawn["points"], drawn["points"][1:]):
            if r <= b:
                return ya + (yb - ya) * (r - a) / (b - a)
        return 0.0

    def decode_allowed(model, labels, **options):
        return decoding.decode(Forbidding(model, drawn), labels, **options)

    def fix_best(canvas, codes, sure, quota, mask_id):
        hidden = canvas == mask_id
        keep = (hidden.sum(1) - quota).clamp(min=0)
        return decoding.remask(torch.where(hidden, codes, canvas), sure.masked_fill(~hidden, torch.inf), keep, mask_id)

    reason = lambda: drawn["bug"]
    return {"masks_left": masks_left, "decode_allowed": decode_allowed, "fix_best": fix_best, "fix_best_reason": reason}


def wrong(drawn: dict) -> dict[str, tuple[str, dict]]:
    """By name: the law that must break, and the functions that differ from right ones."""
    good = right(drawn)

    def banned_only_at_the_end(model, labels, **options):
        tokens = decoding.decode(model, labels, **options)
        bad = is_forbidden(drawn, model.num_tokens, model.num_codes)
        allowed = torch.stack([(~row).nonzero()[0, 0] for row in bad])
        return torch.where(bad[torch.arange(model.num_tokens), tokens], allowed, tokens)

    def says_the_same(model, labels, **options):
        blank = torch.full((len(labels), model.num_tokens), model.mask_id)
        return decoding.decode(Forbidding(OfTheFirst(model), drawn), labels, blank, **options)

    def other_part(model, labels, **options):
        return right({**drawn, "part": (drawn["part"] + 1) % drawn["parts"]})["decode_allowed"](
            model, labels, **options
        )

    def sure_of_the_model_s_own(model, labels, steps=8, schedule=None, temperature=4.5, generator=None):
        logits = lambda tokens: model(tokens, labels)
        tokens = torch.full((len(labels), model.num_tokens), model.mask_id)
        bad, start = (
            is_forbidden(drawn, model.num_tokens, model.num_codes),
            torch.tensor([model.num_tokens]).expand(len(labels)),
        )
        for step in range(steps):
            hidden, said = tokens == model.mask_id, logits(tokens)
            codes = decoding.sample_categorical(said.masked_fill(bad, -torch.inf), generator)
            codes = torch.where(hidden, codes, tokens)
            sure = decoding.confidence(said, codes, ~hidden, 0.0, torch.zeros_like(codes).float())
            left = decoding.num_to_mask(start, hidden.sum(1), step, steps, schedule)
            tokens = decoding.remask(codes, sure, left, model.mask_id)
        return tokens

    paced = lambda start, now, step, steps: good["masks_left"](start, now, step, steps, steps.max().expand(len(steps)))
    other = right({**drawn, "points": [(0.0, 1.0), (1.0, 0.0)]})["masks_left"]
    straight = right({**drawn, "points": [drawn["points"][0], drawn["points"][2], drawn["points"][-1]]})["masks_left"]
    least = lambda canvas, codes, sure, *rest: good["fix_best"](canvas, codes, -sure, *rest)
    one_quota = lambda canvas, codes, sure, quota, *rest: good["fix_best"](
        canvas, codes, sure, quota * 0 + quota[0], *rest
    )
    follows = "test_each_row_follows_the_graph_at_its_own_pace"
    quota = "test_each_row_fixes_its_own_quota_of_its_surest_unknown_places_and_nothing_else"
    comes_out = "test_no_forbidden_code_comes_out_even_where_it_would_win"
    return {
        "all rows take the longest row's steps": (follows, {"masks_left": paced}),
        "a straight line": (follows, {"masks_left": other}),
        "a point left out": (follows, {"masks_left": straight}),
        "another part is forbidden": (comes_out, {"decode_allowed": other_part}),
        "nothing is forbidden": (comes_out, {"decode_allowed": decoding.decode}),
        "forbidden codes are replaced at the end": (
            "test_allowed_codes_come_as_often_as_the_model_says_of_them",
            {"decode_allowed": banned_only_at_the_end},
        ),
        "sure by the model's own probabilities": (
            "test_who_has_only_one_allowed_code_to_choose_is_sure_of_it",
            {"decode_allowed": sure_of_the_model_s_own},
        ),
        "the model's first word is its last": (
            "test_each_pass_fixes_what_the_model_says_of_the_canvas_that_it_is_shown",
            {"decode_allowed": says_the_same},
        ),
        "other defaults": (
            "test_options_that_are_left_out_have_the_exercise_s_defaults",
            {"decode_allowed": lambda *args, **given: good["decode_allowed"](*args, **{"temperature": 1.0} | given)},
        ),
        "no choice noise": (
            "test_the_choice_noise_of_each_pass_is_drawn_anew",
            {"decode_allowed": lambda *args, **given: good["decode_allowed"](*args, **given | {"temperature": 0.0})},
        ),
        "floats": (quota, {"fix_best": lambda *args: good["fix_best"](*args).float()}),
        "the least sure": (quota, {"fix_best": least}),
        "one quota": (quota, {"fix_best": one_quota}),
        "another reason": ("test_the_reason_is_the_mistake_that_was_there", {"fix_best_reason": lambda: "elsewhere"}),
    }
