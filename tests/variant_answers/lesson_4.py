"""Right and wrong answers to lesson 4's variants, by what is drawn."""

import math

import torch
from test_variants_4 import sees
from torch.nn import functional as F

from minimaskgit import transformer


def right(drawn: dict) -> dict:
    def ruled_attention(q, k, v):
        places = range(q.shape[2])
        mask = torch.tensor([[sees(drawn, query, key) for key in places] for query in places])
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    def pairs_seen():
        n, reach = drawn["places"], drawn["reach"]
        lost = reach * (reach + 1) // 2
        if drawn["rule"] == "stride":  # n = a reach + b: b residues have a + 1 places, the others a
            a, b = divmod(n, reach)
            return b * (a + 1) ** 2 + (reach - b) * a**2
        return {
            "window": n * (2 * reach + 1) - 2 * lost,
            "before": n * (reach + 1) - lost,
            "first": n * reach + (n - reach),
        }[drawn["rule"]]

    def shared_attention(q, k, v):
        return transformer.attention(q, *(x.repeat_interleave(drawn["share"], 1) for x in (k, v)), causal=False)

    return {"ruled_attention": ruled_attention, "pairs_seen": pairs_seen, "shared_attention": shared_attention}


def wrong(drawn: dict) -> dict[str, tuple[str, dict]]:
    further = right({**drawn, "reach": drawn["reach"] + 1})
    good = right(drawn)

    def weights_afterwards(q, k, v):
        places = range(q.shape[2])
        mask = torch.tensor([[sees(drawn, query, key) for key in places] for query in places])
        return ((q @ k.mT / math.sqrt(q.shape[3])).softmax(-1) * mask) @ v

    listens = "test_a_query_listens_to_all_that_it_may_see_and_to_nobody_else"
    among = "test_among_what_it_sees_a_query_attends_as_if_there_were_nothing_else"
    counted = "test_so_many_pairs_are_counted"
    group = "test_each_head_of_queries_attends_to_the_keys_of_its_own_group"
    everyone = lambda q, k, v: transformer.attention(q, k, v, causal=False)
    tiled = lambda q, k, v: everyone(q, *(x.repeat(1, drawn["share"], 1, 1) for x in (k, v)))
    return {
        "everyone": (listens, {"ruled_attention": everyone}),
        "causal": (listens, {"ruled_attention": lambda q, k, v: transformer.attention(q, k, v, causal=True)}),
        "one further": (listens, {"ruled_attention": further["ruled_attention"]}),
        "weights that do not sum to 1": (among, {"ruled_attention": weights_afterwards}),
        "not divided": (among, {"ruled_attention": lambda q, k, v: good["ruled_attention"](2 * q, k, v)}),
        "one pair more": (counted, {"pairs_seen": lambda: good["pairs_seen"]() + 1}),
        "without the edges": (counted, {"pairs_seen": further["pairs_seen"]}),
        "heads h % G": (group, {"shared_attention": tiled}),
    }
