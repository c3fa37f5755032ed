"""Tensors are returned where plain numbers are asked for."""

import torch

from minimaskgit.training import estimate, optimizers

BREAKS = (
    "test_a_step_costs_three_times_its_products_of_matrices",
    "test_the_speed_is_all_tokens_over_all_seconds",
    "test_the_learning_rate_is_above_zero_at_every_step_and_never_above_its_peak",
)


def training_flops(**shape):
    return torch.tensor(estimate.training_flops(**shape))


def tokens_per_second(*counts):
    return torch.tensor(estimate.tokens_per_second(*counts))


def trapezoid(*progress):
    return torch.tensor(optimizers.trapezoid(*progress), dtype=torch.double)
