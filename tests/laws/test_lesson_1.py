"""Laws of lesson 1: looking up codes, the gradient through the choice, and the two losses (VQ-VAE section 3)."""

import math

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import codes, like, small

from minimaskgit import tokenizer

LOOK_UP = "lesson 1, 'Looking up': |z - e|^2 = |z|^2 - 2 z.e + |e|^2, and |z|^2 is the same for all entries"
THROUGH = "lesson 1, 'A choice has no gradient': the value of z_q, the gradient of z (VQ-VAE section 3.2)"
TWO_LOSSES = "lesson 1, 'Who moves': sg() decides; beta is on the encoder's side (VQ-VAE equation 3)"
IN_USE = "lesson 1, 'How many codes are in use': the exponential of the entropy of their frequencies"

LESSON = {
    "nearest_codes": (tokenizer, LOOK_UP),
    "straight_through": (tokenizer, THROUGH),
    "vq_losses": (tokenizer, TWO_LOSSES),
    "code_perplexity": (tokenizer, IN_USE),
}


@st.composite
def vectors_and_codebook(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """z (B, N, D) and a codebook (K, D)."""
    z = draw(small(2, 3, 4))
    return z, draw(like(torch.empty(draw(st.integers(1, 6)), z.shape[-1])))


pairs = small(4, 3).flatmap(lambda z: st.tuples(st.just(z), like(z)))  # z and z_q
betas = st.sampled_from([0.25, 1.0, 3.0])


@pytest.mark.law("nearest_codes")
@given(drawn=vectors_and_codebook())
def test_the_nearest_code_is_the_one_at_the_least_distance(impl, drawn):
    z, codebook = drawn
    distances = ((z[..., None, :] - codebook).double() ** 2).sum(-1)  # (B, N, K)
    found = impl.nearest_codes(z, codebook)
    assert found.dtype == torch.int64, oracles.dtype(found, torch.int64)
    assert found.shape == z.shape[:-1], oracles.shape(found, z.shape[:-1])
    at = distances.gather(-1, found[..., None])[..., 0]
    best = distances.amin(-1)  # where two are equally near, either will do
    assert at.allclose(best, atol=1e-5), f"squared distances of the entries: {oracles.instead(at, best)}"


@pytest.mark.law("nearest_codes")
def test_an_entry_is_nearest_to_itself_however_long_it_is(impl):
    codebook = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 5.0], [0.0, 0.0]])
    found = impl.nearest_codes(codebook, codebook).tolist()
    assert found == [0, 1, 2, 3], f"returned {found}; expected [0, 1, 2, 3]"


@pytest.mark.law("straight_through")
@given(pair=pairs)
def test_straight_through_has_the_value_of_the_entry_and_the_gradient_of_the_encoder(impl, pair):
    z, z_q = pair
    out = impl.straight_through(z, z_q)
    assert out.allclose(z_q, atol=1e-5), f"the value: {oracles.instead(out, z_q)}"
    upstream = torch.arange(1.0, z.numel() + 1).view_as(z)
    to_z, to_entries = impl.gradients("straight_through", z, z_q, upstream=upstream)
    assert to_z is not None, "z has no gradient; what flows into the result must flow into z unchanged"
    assert to_z.allclose(upstream), f"the gradient at z: {oracles.instead(to_z, upstream)}"
    assert to_entries is None or not to_entries.any(), "z_q has a gradient; it must have none"


@pytest.mark.law("vq_losses")
@given(pair=pairs, beta=betas)
def test_beta_scales_the_commitment_loss_and_not_the_codebook_loss(impl, pair, beta):
    z, z_q = pair
    losses = impl.vq_losses(z, z_q, beta)
    for name, loss in zip(("codebook loss", "commitment loss"), losses):
        assert loss.numel() == 1, f"{name}: {oracles.shape(loss, ())}; is a mean missing?"
    codebook_loss, commitment_loss = (loss.item() for loss in losses)
    mean = np.mean((z.numpy() - z_q.numpy()) ** 2).item()
    said = oracles.instead(codebook_loss, mean)
    assert codebook_loss == pytest.approx(mean, 1e-4), f"codebook loss: {said}"
    expected = beta * mean
    said = oracles.instead(commitment_loss, expected)
    assert commitment_loss == pytest.approx(expected, 1e-4), f"commitment loss: {said}"


@pytest.mark.law("vq_losses")
@given(pair=pairs, beta=betas)
def test_the_codebook_loss_moves_the_entries_and_the_commitment_loss_the_encoder(impl, pair, beta):
    z, z_q = pair
    difference = 2 * (z - z_q) / z.numel()  # of a mean square
    ways = (("codebook loss", "z_q", "z", -difference), ("commitment loss", "z", "z_q", beta * difference))
    for output, (loss, moved, kept, expected) in enumerate(ways):
        still, to_moved = impl.gradients("vq_losses", z, z_q, beta, output=output)
        if moved == "z":
            still, to_moved = to_moved, still
        assert to_moved is not None, f"the {loss} must move {moved}, but has no gradient there"
        assert still is None or not still.any(), f"the {loss} must move {moved} only, but moves {kept} too"
        fits = to_moved.allclose(expected, atol=1e-5)
        assert fits, f"the {loss}'s gradient at {moved}: {oracles.instead(to_moved, expected)}"


@pytest.mark.law("code_perplexity")
@given(drawn=codes(6, 3, 4))
def test_the_perplexity_is_the_exponential_of_the_entropy_and_lies_between_1_and_k(impl, drawn):
    p = np.bincount(drawn.flatten().numpy()) / drawn.numel()
    expected = math.exp(-sum(x * math.log(x) for x in p if x > 0))
    found = impl.code_perplexity(drawn, 6).item()
    assert found == pytest.approx(expected, 1e-4), oracles.instead(found, expected)


@pytest.mark.law("code_perplexity")
@pytest.mark.parametrize("num_codes", [1, 2, 6])
def test_a_single_code_has_perplexity_1_and_even_use_has_k(impl, num_codes):
    one, even = torch.full((2, 9), num_codes - 1), torch.arange(num_codes).repeat(5)
    for drawn, expected in ((one, 1), (even, num_codes)):
        found = impl.code_perplexity(drawn, num_codes).item()
        assert found == pytest.approx(expected, 1e-4), oracles.instead(found, expected)
