"""Muon: an orthogonal direction, and the same steps as torch's if both iterate in bfloat16 (lesson 9)."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds
from tiny import generator

from minimaskgit.training.muon import Muon, orthogonalize

sides = st.integers(1, 24)


def drawn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=generator(seed))


@given(rows=sides, columns=sides, count=st.integers(1, 3), seed=seeds)
def test_singular_values_become_about_1_and_singular_vectors_stay_the_same(rows, columns, count, seed):
    matrices = drawn(count, rows, columns, seed=seed).double()
    u, s, vh = torch.linalg.svd(matrices, full_matrices=False)
    found = u.mT @ orthogonalize(matrices) @ vh.mT  # (count, r, r), diagonal if the vectors stayed the same
    values = found.diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(found, torch.diag_embed(values), atol=1e-5, rtol=0)
    seen = s / torch.linalg.matrix_norm(matrices)[:, None] > 0.01  # smaller ones need more iterations
    assert ((values > 0.6) & (values < 1.25))[seen].all()


@given(rows=sides, columns=sides, count=st.integers(1, 4), seed=seeds)
def test_batching_and_transposing_matrices_commute_with_orthogonalization(rows, columns, count, seed):
    matrices = drawn(count, rows, columns, seed=seed).double()
    whole = orthogonalize(matrices)
    for matrix, answer in zip(matrices, whole):
        torch.testing.assert_close(orthogonalize(matrix[None])[0], answer)
    torch.testing.assert_close(orthogonalize(matrices.mT), whole.mT)


def test_a_matrix_of_zeros_stays_one():
    assert not orthogonalize(torch.zeros(1, 3, 5)).any()


SHAPES = ((8, 8), (24, 8), (8, 24), (32, 8), (8, 32), (8, 8))


def stepped(make, steps: int = 4, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Weights after a few steps on the gradients of the same loss for all shapes."""
    weights = [drawn(*shape, seed=number).to(dtype).requires_grad_() for number, shape in enumerate(SHAPES)]
    optimizer = make(weights)
    for step in range(steps):
        optimizer.zero_grad()
        sum((w * drawn(*w.shape, seed=100 * step + n)).sum() for n, w in enumerate(weights)).backward()
        optimizer.step()
    return weights


def test_the_steps_agree_with_torch_within_the_rounding_of_bfloat16():
    settings = {"lr": 0.02, "weight_decay": 0.1}
    ours = stepped(lambda weights: Muon(weights, **settings, dtype=torch.bfloat16))
    theirs = stepped(lambda weights: torch.optim.Muon(weights, **settings, adjust_lr_fn="match_rms_adamw"))
    start = [drawn(*shape, seed=number) for number, shape in enumerate(SHAPES)]
    for a, b, before in zip(ours, theirs, start):
        assert (a - b).norm() < 0.01 * (b - before).norm()


def test_the_precision_of_the_iteration_changes_the_steps_only_by_rounding():
    single, half = (stepped(lambda weights, d=d: Muon(weights, 0.02, dtype=d)) for d in (torch.float, torch.bfloat16))
    for a, b, shape, number in zip(single, half, SHAPES, range(len(SHAPES))):
        assert (a - b).norm() < 0.05 * (a - drawn(*shape, seed=number)).norm()


def test_the_root_mean_square_of_a_step_is_a_fifth_of_the_learning_rate():
    for weights, shape in ((drawn(*shape, seed=1), shape) for shape in SHAPES):
        w = weights.clone().requires_grad_()
        w.grad = drawn(*shape, seed=2)
        Muon([w], 0.1, weight_decay=0.0).step()
        assert (w - weights).square().mean().sqrt().item() == pytest.approx(0.2 * 0.1, rel=0.25)


def test_parameters_without_gradient_stay_the_same():
    w = drawn(3, 5, seed=0).requires_grad_()
    before = copy.deepcopy(w)
    Muon([w], 0.1).step()
    assert w.equal(before)


def test_a_kernel_takes_the_step_of_the_matrix_with_a_row_per_output():
    kernel, gradient = drawn(6, 2, 3, 3, seed=1), drawn(6, 2, 3, 3, seed=2)
    both = [kernel.clone().requires_grad_(), kernel.flatten(1).clone().requires_grad_()]
    for w in both:
        w.grad = gradient.view(w.shape).clone()
        Muon([w], 0.1).step()
    assert both[0].flatten(1).equal(both[1]) and not both[1].equal(kernel.flatten(1))
