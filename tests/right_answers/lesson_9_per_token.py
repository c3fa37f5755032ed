"""Lesson 9 answered per token: parameters, keys to look at, and seconds."""

from fractions import Fraction


def training_flops(depth, width, mlp_width, num_codes, sequence, batch_size):
    per_layer = 2 * width * (2 * width + mlp_width) + 2 * sequence * width
    per_token = 6 * (depth * per_layer + width * (width + num_codes))
    return 1.0 * per_token * sequence * batch_size


def tokens_per_second(batch_size, num_tokens, steps, seconds):
    seconds_a_token = seconds / steps / num_tokens / batch_size
    return 1 / seconds_a_token


def trapezoid(step, steps, warmup, cooldown):
    rise = 1 if warmup == 0 else min(Fraction(1), Fraction(step + 1, warmup))
    left = 1 - step / steps  # the part of the run that is still to come
    return float(rise) * (1.0 if cooldown <= left else left / cooldown)
