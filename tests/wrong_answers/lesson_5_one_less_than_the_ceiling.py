"""One less than the ceiling is kept masked, not the floor: one too few where U gamma is a whole number."""

import torch

from minimaskgit.decoding import confidence, decode, remask  # noqa: F401

BREAKS = ("test_where_u_gamma_is_a_whole_number_just_so_many_stay_masked",)


def num_to_mask(unknown_at_start, unknown_now, step, steps, schedule):
    if step == steps - 1:
        return torch.zeros_like(unknown_now)
    r = torch.full(unknown_now.shape, (step + 1) / steps, dtype=torch.double)
    counts = torch.ceil(unknown_at_start * schedule(r, unknown_at_start)).long() - 1
    return counts.clamp(min=1).minimum(unknown_now - 1).clamp(min=0)
