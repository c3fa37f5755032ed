"""The rise begins at 0: the first step changes nothing."""

from minimaskgit.training.estimate import (
    tokens_per_second,  # noqa: F401
    training_flops,  # noqa: F401
)

BREAKS = (
    "test_the_learning_rate_is_above_zero_at_every_step_and_never_above_its_peak",
    "test_the_trapezoid_in_numbers",
    "test_the_trapezoid_rises_stays_and_falls",
)


def trapezoid(step, steps, warmup, cooldown):
    rise = min(1.0, step / max(1, warmup))
    return rise * min(1.0, (steps - step) / max(1, cooldown * steps))
