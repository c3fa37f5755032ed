"""Bug 12: the last step is no exception from at least one token masked, and a [MASK] is left in the answer."""

import torch

from minimaskgit.decoding import confidence, decode, remask  # noqa: F401

BREAKS = ("test_a_step_keeps_the_floor_of_u_gamma_masked_but_always_fixes_one_and_leaves_one",)


def num_to_mask(unknown_at_start, unknown_now, step, steps, schedule):
    r = torch.full(unknown_now.shape, (step + 1) / steps, dtype=torch.double)
    counts = torch.floor(unknown_at_start * schedule(r, unknown_at_start)).long()
    return torch.minimum(counts.clamp(min=1), unknown_now - 1)
