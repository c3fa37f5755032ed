"""Bug 5: gamma read as what a step does to the tokens still masked, not as what is masked after it in all."""

import torch

from minimaskgit.decoding import confidence, decode, remask  # noqa: F401

BREAKS = ("test_a_step_keeps_the_floor_of_u_gamma_masked_but_always_fixes_one_and_leaves_one",)


def num_to_mask(unknown_at_start, unknown_now, step, steps, schedule):
    if step == steps - 1:
        return torch.zeros_like(unknown_now)
    r = torch.full(unknown_now.shape, (step + 1) / steps, dtype=torch.double)
    counts = torch.floor(unknown_now * schedule(r, unknown_now)).long()
    return counts.clamp(min=1).minimum(unknown_now - 1).clamp(min=0)
