"""Where U gamma is less than 1, nothing stays masked though steps are left: at least one is forgotten."""

import torch

from minimaskgit.decoding import confidence, decode, remask  # noqa: F401

BREAKS = ("test_before_the_last_step_one_token_stays_masked_where_two_are_unknown",)


def num_to_mask(unknown_at_start, unknown_now, step, steps, schedule):
    if step == steps - 1:
        return torch.zeros_like(unknown_now)
    r = torch.full(unknown_now.shape, (step + 1) / steps, dtype=torch.double)
    counts = torch.floor(unknown_at_start * schedule(r, unknown_at_start)).long()
    return counts.minimum(unknown_now - 1).clamp(min=0)
