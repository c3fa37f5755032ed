"""The fall takes a whole number of steps, rounded, not cooldown T of them."""

from minimaskgit.training.estimate import (
    tokens_per_second,  # noqa: F401
    training_flops,  # noqa: F401
)

BREAKS = ("test_the_fall_may_begin_between_two_steps",)


def trapezoid(step, steps, warmup, cooldown):
    fall = round(cooldown * steps)
    rate = min(1.0, (step + 1) / warmup) if warmup else 1.0
    return rate * min(1.0, (steps - step) / fall) if fall else rate
