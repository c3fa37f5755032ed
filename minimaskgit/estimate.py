"""How much arithmetic training takes, and how fast it goes (lesson 9).

    operations a step / seconds a step / what the device could do = MFU, model FLOPs utilisation
"""


def training_flops(depth: int, width: int, mlp_width: int, num_codes: int, sequence: int, batch_size: int) -> float:
    """Floating-point operations of one training step of a transformer, forward and backward, optimizer not counted.

    sequence: tokens of a sample and its class token. Each parameter of a matrix costs 6 operations a token (one
    product and one sum, forward once and backward twice); attention's two products of S x S x width cost 12 a layer.
    """
    blocks = depth * (4 * width**2 + 2 * width * mlp_width)  # query, key, value, output; the MLP's two
    head = width**2 + width * num_codes
    attention = 12 * depth * sequence**2 * width
    return batch_size * (6.0 * (blocks + head) * sequence + attention)


def tokens_per_second(batch_size: int, num_tokens: int, steps: int, seconds: float) -> float:
    """Tokens trained on a second, of `steps` steps that took `seconds` s."""
    return batch_size * num_tokens * steps / seconds
