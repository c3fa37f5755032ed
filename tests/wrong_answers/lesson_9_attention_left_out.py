"""The rule of thumb, 6 operations a parameter and token, without what attention does between the tokens."""

from minimaskgit.training.estimate import tokens_per_second  # noqa: F401
from minimaskgit.training.optimizers import trapezoid  # noqa: F401

BREAKS = (
    "test_of_the_work_only_attention_grows_with_the_square_of_the_sequence",
    "test_a_step_costs_three_times_its_products_of_matrices",
)


def training_flops(depth, width, mlp_width, num_codes, sequence, batch_size):
    parameters = depth * (4 * width**2 + 2 * width * mlp_width) + width**2 + width * num_codes
    return 6.0 * parameters * sequence * batch_size
