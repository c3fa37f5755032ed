"""Right and wrong answers to lesson 2's variants, by what is drawn."""

import torch
from torch.nn import functional as F

from minimaskgit import adversary

ORDER = {"sum": 1, "largest": torch.inf, "squares": 2}


def right(drawn: dict) -> dict:
    def margin_loss(real, fake):
        power, weight = 2 if drawn["square"] else 1, drawn["real_weight"]
        low, high = (drawn["real_margin"] - real).relu() ** power, (fake + drawn["fake_margin"]).relu() ** power
        return torch.lerp(high.mean(), low.mean(), weight)

    def layered_loss(features_a, features_b):
        loss, total = 0.0, 0.0
        for layer, (one, other) in enumerate(zip(features_a, features_b)):
            one, other = (x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + 1e-6) for x in (one, other.detach()))
            weight = drawn["falling"] ** layer
            loss = loss + weight * (F.l1_loss if drawn["absolute"] else F.mse_loss)(one, other)
            total += weight
        return loss / total

    def balance(rec_grad, gan_grad):
        sizes = [torch.linalg.vector_norm(g.detach(), ORDER[drawn["norm"]]) for g in (rec_grad, gan_grad)]
        if drawn["norm"] == "squares":
            sizes = [size * size / g.numel() for size, g in zip(sizes, (rec_grad, gan_grad))]
        return (sizes[0] / (sizes[1] + 1e-4)).clamp(max=drawn["limit"])

    reason = lambda: drawn["bug"]
    return {"margin_loss": margin_loss, "layered_loss": layered_loss, "balance": balance, "balance_reason": reason}


def wrong(drawn: dict) -> dict[str, tuple[str, dict]]:
    good = right(drawn)
    other = lambda name, **changed: {name: right(drawn | changed)[name]}

    def to_both(features_a, features_b):
        one, both = good["layered_loss"](features_a, features_b), good["layered_loss"](features_b, features_a)
        return (one + both) / 2

    costs = "test_each_score_costs_by_how_far_it_is_from_its_margin"
    teach = "test_scores_beyond_their_margin_teach_nothing_and_all_others_the_right_way"
    layers = "test_each_layer_counts_by_its_weight_and_each_place_by_its_direction"
    strong = "test_how_strong_the_features_are_does_not_matter_and_only_the_first_picture_learns"
    ratio = "test_the_weight_is_the_ratio_of_sizes_up_to_its_limit"
    return {
        "the package's hinge": (costs, {"margin_loss": adversary.hinge_d_loss}),
        "the other power": (costs, other("margin_loss", square=not drawn["square"])),
        "weights exchanged": (costs, other("margin_loss", real_weight=1 - drawn["real_weight"])),
        "another margin": (teach, other("margin_loss", real_margin=1.0)),
        "no margin": (teach, {"margin_loss": lambda real, fake: fake.mean() - real.mean()}),
        "the package's perceptual loss": (layers, {"layered_loss": adversary.perceptual_loss}),
        "all layers alike": (layers, other("layered_loss", falling=1.0)),
        "the other difference": (layers, other("layered_loss", absolute=not drawn["absolute"])),
        "both learn": (strong, {"layered_loss": to_both}),
        "no lengths": (strong, {"layered_loss": lambda a, b: adversary.perceptual_loss(a, [x.detach() for x in b])}),
        "the package's weight": (ratio, {"balance": adversary.adaptive_weight}),
        "another norm": (ratio, other("balance", norm="largest" if drawn["norm"] == "sum" else "sum")),
        "another epsilon": (ratio, {"balance": lambda rec, gan: good["balance"](1e4 * rec, 1e4 * gan)}),
        "no limit": (ratio, other("balance", limit=1e9)),
        "attached": (
            "test_the_weight_has_no_gradient",
            {"balance": lambda rec, gan: good["balance"](rec, gan) + 0 * rec.sum()},
        ),
    }
