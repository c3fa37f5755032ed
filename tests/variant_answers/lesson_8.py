"""Right and wrong answers to lesson 8's variants, by what is drawn."""

import math

import torch


def right(drawn: dict) -> dict:
    def strict_precision(real, fake):
        order = 1 if drawn["distance"] == "sum" else math.inf
        radii = torch.cdist(real, real, order).fill_diagonal_(math.inf).amin(1) * drawn["factor"]
        return ((torch.cdist(fake, real, order) <= radii).sum(1) >= drawn["needed"]).double().mean().item()

    def distance_of_gaussians():
        (a, b), (s, t) = drawn["means"], drawn["spreads"]
        return math.dist([*a, *s], [*b, *t]) ** 2

    def neighbours_alike(features, labels, k):
        order = torch.cdist(features, features).fill_diagonal_(-1.0).argsort(1)[:, 1 : k + 1]
        return labels[order].eq(labels[:, None]).double().mean(1)

    answers = {"strict_precision": strict_precision, "distance_of_gaussians": distance_of_gaussians}
    return answers | {"neighbours_alike": neighbours_alike, "neighbours_alike_reason": lambda: drawn["bug"]}


def wrong(drawn: dict) -> dict[str, tuple[str, dict]]:
    good = right(drawn)
    other = lambda name, **changed: {name: right(drawn | changed)[name]}
    (a, b), (s, t) = drawn["means"], drawn["spreads"]
    squares = sum((x - y) ** 2 for x, y in zip(a, b)) + sum((x * x - y * y) ** 2 for x, y in zip(s, t))
    swapped = "sum" if drawn["distance"] == "largest" else "largest"
    balls, measured = "test_so_many_fakes_lie_in_enough_balls", "test_so_large_a_distance_is_measured"
    share = "test_a_share_goes_up_by_1_over_k_for_each_near_one_of_the_same_class"
    one_more = lambda features, labels, k: good["neighbours_alike"](features, labels, min(k + 1, len(labels) - 1))
    return {
        "as in the paper": (balls, other("strict_precision", factor=1.0, needed=1)),
        "another distance": (balls, other("strict_precision", distance=swapped)),
        "one ball more": (balls, other("strict_precision", needed=drawn["needed"] + 1)),
        "larger balls": (balls, other("strict_precision", factor=1.0)),
        "variances for deviations": (measured, {"distance_of_gaussians": lambda: squares}),
        "the root": (measured, {"distance_of_gaussians": lambda: good["distance_of_gaussians"]() ** 0.5}),
        "one neighbour more": (share, {"neighbours_alike": one_more}),
        "in float32": (share, {"neighbours_alike": lambda *args: good["neighbours_alike"](*args).float()}),
    }
