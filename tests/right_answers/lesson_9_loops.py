"""Lesson 9 answered by adding up matrix after matrix, and step after step."""


def training_flops(depth, width, mlp_width, num_codes, sequence, batch_size):
    matrices = []
    for _ in range(depth):
        matrices += [(width, width)] * 4 + [(width, mlp_width), (mlp_width, width)]
    matrices += [(width, width), (width, num_codes)]
    forward = 0
    for rows, columns in matrices:
        forward += 2 * rows * columns * sequence
    for _ in range(depth):
        forward += 2 * (2 * sequence * sequence * width)
    backward = 2 * forward
    return float(batch_size * (forward + backward))


def tokens_per_second(batch_size, num_tokens, steps, seconds):
    tokens = sum(batch_size * num_tokens for _ in range(steps))
    return tokens / seconds


def trapezoid(step, steps, warmup, cooldown):
    rate = 1.0
    if step + 1 < warmup:
        rate *= (step + 1) / warmup
    falling = cooldown * steps
    if steps - step < falling:
        rate *= (steps - step) / falling
    return rate
