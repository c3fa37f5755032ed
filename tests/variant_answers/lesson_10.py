"""Right and wrong answers to lesson 10's variants, by what is drawn."""

import itertools

import torch
from test_variants_10 import allowed

from minimaskgit import decoding
from minimaskgit.decoders.orders import halton_order, radical_inverse


def right(drawn: dict) -> dict:
    def other_order(height, width):
        wanted = sum(allowed(drawn, row, column) for row in range(height) for column in range(width))
        seen: dict[int, None] = {}
        points = zip(*(map(radical_inverse, itertools.count(1), itertools.repeat(base)) for base in drawn["bases"]))
        while len(seen) < wanted:
            row, column = (side * p // q for side, (p, q) in zip((height, width), next(points)))
            if allowed(drawn, row, column):
                seen.setdefault(row * width + column)
        order = torch.tensor(list(seen), dtype=torch.int64)
        return order.flip(0) if drawn["from_the_end"] else order

    def take_back(tokens, scores, quota, mask_id):
        known = tokens != mask_id
        sure = (-scores).masked_fill(~known, torch.inf)
        return decoding.remask(tokens, sure, torch.minimum(quota, known.sum(1)), mask_id)

    return {"other_order": other_order, "take_back": take_back, "take_back_reason": lambda: drawn["bug"]}


def wrong(drawn: dict) -> dict[str, tuple[str, dict]]:
    good = right(drawn)
    other = lambda name, **changed: {name: right(drawn | changed)[name]}

    def begun_late(height, width):
        order = good["other_order"](height, width)
        return order[torch.arange(len(order)).roll(1)]

    once = "test_every_allowed_place_comes_once_and_no_other"
    when = "test_a_place_comes_when_the_first_point_falls_into_it"
    quota = "test_each_row_gives_back_its_own_quota_of_its_most_suspicious_known_tokens"
    least = lambda tokens, scores, *rest: good["take_back"](tokens, -scores, *rest)
    flat = lambda tokens, scores, quota, mask_id: good["take_back"](tokens, scores, quota * 0 + quota.max(), mask_id)
    return {
        "the package's": (once, {"other_order": halton_order}),
        "other places left out": (once, other("other_order", part=(drawn["part"] + 1) % drawn["parts"])),
        "bases exchanged": (when, other("other_order", bases=drawn["bases"][::-1])),
        "the other end": (when, other("other_order", from_the_end=not drawn["from_the_end"])),
        "begun one late": (when, {"other_order": begun_late}),
        "the least suspicious": (quota, {"take_back": least}),
        "floats": (quota, {"take_back": lambda *args: good["take_back"](*args).float()}),
        "the largest quota": (quota, {"take_back": flat}),
        "all are ranked": (quota, {"take_back": lambda t, s, q, m: decoding.remask(t, -s, q, m)}),
    }
