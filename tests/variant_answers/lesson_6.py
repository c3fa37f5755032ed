"""Right and wrong answers to lesson 6's variants, by what is drawn."""

import torch
from test_variants_6 import forbidden

from minimaskgit import autoregressive, transformer


def in_order(tokens: torch.Tensor, order: str) -> torch.Tensor:
    """(B, height, width) to (B, N)."""
    if order == "columns":
        return tokens.mT.flatten(1)
    if order == "snake":
        turned = tokens.clone()
        turned[:, 1::2] = turned[:, 1::2].flip(2)
        return turned.flatten(1)
    flat = tokens.flatten(1)
    if order == "backwards":
        return flat.flip(1)
    return torch.stack([flat, flat.flip(1)], 2).flatten(1)[:, : flat.shape[1]]


def right(drawn: dict) -> dict:
    def read_in_order(tokens, start):
        return transformer.shift_right(in_order(tokens, drawn["order"]), start)

    def sample_after(logits, last, generator=None):
        bad = forbidden(drawn, last, logits.shape[1])
        return autoregressive.sample_next((logits / drawn["tau"]).masked_fill(bad, -torch.inf), generator)

    def positions_saved():
        first, most = drawn["prompt"] + 1, drawn["tokens"]
        return (first + most) * (most - first + 1) // 2 - most

    return {"read_in_order": read_in_order, "sample_after": sample_after, "positions_saved": positions_saved}


def wrong(drawn: dict) -> dict[str, tuple[str, dict]]:
    good = right(drawn)
    other = lambda name, **changed: {name: right(drawn | changed)[name]}
    row_by_row = lambda tokens, start: transformer.shift_right(tokens.flatten(1), start)
    orders = {"columns": "snake", "snake": "columns", "backwards": "outside", "outside": "backwards"}

    def raised_to_zero(logits, last, generator=None):
        bad = forbidden(drawn, last, logits.shape[1])
        return autoregressive.sample_next(logits.masked_fill(bad, 0.0), generator)

    read = "test_when_a_token_is_asked_for_all_painted_before_it_have_been_read"
    follow = "test_no_code_comes_that_may_not_follow_even_where_it_would_win"
    often = "test_the_others_come_as_often_as_the_temperature_says"
    counted = "test_so_many_positions_are_counted"
    return {
        "row by row": (read, {"read_in_order": row_by_row}),
        "another order": (read, other("read_in_order", order=orders[drawn["order"]])),
        "not shifted": (read, {"read_in_order": lambda tokens, start: in_order(tokens, drawn["order"])}),
        "the package's": (follow, {"sample_after": lambda x, last, g=None: autoregressive.sample_next(x, g)}),
        "another part": (follow, other("sample_after", part=(drawn["part"] + 1) % drawn["parts"])),
        "the logits of the forbidden are 0": (often, {"sample_after": raised_to_zero}),
        "temperature 1": (often, other("sample_after", tau=1.0)),
        "times the temperature": (often, other("sample_after", tau=1 / drawn["tau"])),
        "no randomness": (
            "test_the_generator_alone_decides",
            {"sample_after": lambda x, last, g=None: good["sample_after"](x, last, None)},
        ),
        "one more": (counted, {"positions_saved": lambda: good["positions_saved"]() + 1}),
        "without what is given": (counted, other("positions_saved", prompt=0)),
    }
