"""Only the forward pass is counted: 2 operations a parameter and token, not 6."""

from minimaskgit.training import estimate
from minimaskgit.training.estimate import tokens_per_second  # noqa: F401
from minimaskgit.training.optimizers import trapezoid  # noqa: F401

BREAKS = (
    "test_of_the_work_only_attention_grows_with_the_square_of_the_sequence",
    "test_a_step_costs_three_times_its_products_of_matrices",
)


def training_flops(*shape, **more):
    return estimate.training_flops(*shape, **more) / 3
