"""The tokenizer: learning the codebook, and pictures to tokens and back (lessons 1 and 2).

Laws of the functions that students write are in laws/test_lesson_1.py.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds
from tiny import generator, tiny_tokenizer
from torch.nn.functional import normalize

from minimaskgit import tokenizer
from minimaskgit.tokenizer import (
    Tokenizer,
    VectorQuantizer,
    code_perplexity,
    entropy_loss,
    nearest_codes,
    relative_distances,
    rotated,
)

M, K, D = 12, 6, 4  # vectors, codes and their width in the small examples


def pictures(count: int = 3, size: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=generator(seed))


def latents(count: int = 2, seed: int = 0) -> torch.Tensor:
    """Possible outputs of an encoder: (B, D, 2, 3)."""
    return torch.randn(count, D, 2, 3, generator=generator(seed))


def quantizer(**options) -> VectorQuantizer:
    torch.manual_seed(0)
    return VectorQuantizer(K, D, **options)


# --- Look-up ---


@pytest.mark.parametrize("l2_norm", [False, True])
def test_a_quantized_vector_is_the_nearest_entry(l2_norm):
    vq, z = quantizer(l2_norm=l2_norm).eval(), latents()
    out = vq(z)
    assert out.codes.shape == (2, 2, 3) and out.z_q.shape == z.shape
    assert out.z_q.movedim(1, -1).allclose(vq.entries()[out.codes], atol=1e-6)
    vectors = z.movedim(1, -1)
    assert out.codes.equal(nearest_codes(normalize(vectors, dim=-1) if l2_norm else vectors, vq.entries()))


@given(seed=seeds, scale=st.floats(0.01, 100))
def test_on_the_unit_sphere_only_the_direction_counts(seed, scale):
    vq = quantizer(l2_norm=True).eval()
    with torch.no_grad():
        vq.codebook.mul_(torch.rand(K, 1, generator=generator(seed)) + 0.1)  # entries with other lengths
    z = latents(seed=seed)
    cosines = torch.cosine_similarity(z.movedim(1, -1)[..., None, :], vq.codebook, dim=-1)
    assert vq(z).codes.equal(cosines.argmax(-1)) and vq(scale * z).codes.equal(vq(z).codes)
    assert vq(z).z_q.norm(dim=1).allclose(torch.ones(2, 2, 3))


@pytest.mark.parametrize("l2_norm", [False, True])
@pytest.mark.parametrize("linear", [False, True])
def test_codes_are_looked_up_in_single_precision_even_under_autocast(l2_norm, linear):
    torch.manual_seed(0)
    vq, z = VectorQuantizer(512, 16, l2_norm=l2_norm, linear=linear).eval(), torch.randn(16, 16, 8, 8)
    expected = vq(z)
    with torch.autocast("cpu", torch.bfloat16):
        found = vq(z)
    assert found.codes.equal(expected.codes) and found.z_q.allclose(expected.z_q, atol=1e-6)


# --- Gradients through the choice ---


@pytest.mark.parametrize("l2_norm", [False, True])
def test_a_picture_s_loss_reaches_the_encoder_and_only_the_used_entries_learn(l2_norm):
    vq, z = quantizer(l2_norm=l2_norm), latents().requires_grad_()
    out = vq(z)
    (upstream,) = torch.autograd.grad(out.z_q.square().sum() / 2, out.z_q, retain_graph=True)
    out.z_q.backward(upstream, retain_graph=True)
    assert z.grad.abs().sum() > 0 and vq.codebook.grad is None
    out.codebook_loss.backward()
    used = torch.zeros(K, dtype=torch.bool).index_fill_(0, out.codes.flatten(), True)
    assert (vq.codebook.grad.abs().sum(1) > 0).equal(used)


# --- How the codebook learns without gradient ---


def test_ema_moves_each_entry_to_the_running_mean_of_its_vectors():
    vq = quantizer(l2_norm=False, ema=True, ema_decay=0.8, revive_after=0)
    count, total = np.ones(K), vq.codebook.detach().double().numpy().copy()
    for seed in range(4):
        z = latents(seed=seed)
        vectors, chosen = z.movedim(1, -1).reshape(-1, D).numpy(), vq(z).codes.flatten().numpy()
        for k in range(K):
            count[k] = 0.8 * count[k] + 0.2 * (chosen == k).sum()
            total[k] = 0.8 * total[k] + 0.2 * vectors[chosen == k].sum(0)
        np.testing.assert_allclose(vq.codebook.detach().numpy(), total / count[:, None], rtol=1e-4, atol=1e-5)


def test_with_ema_only_the_encoder_has_a_loss_and_a_gradient():
    vq, z = quantizer(ema=True), latents().requires_grad_()
    out = vq(z)
    assert out.codebook_loss == 0 and out.commitment_loss > 0 and not vq.codebook.requires_grad
    (out.codebook_loss + out.commitment_loss).backward()
    assert z.grad.abs().sum() > 0 and vq.codebook.grad is None


def with_a_dead_entry(**options) -> VectorQuantizer:
    """A quantizer whose entry 0 is far from all latents."""
    vq = quantizer(l2_norm=False, **options)
    with torch.no_grad():
        vq.codebook[0] = 1000
        if vq.ema:
            vq.ema_sum[0] = 1000
    return vq


def test_with_ema_an_entry_that_is_never_used_stays_where_it_is():
    vq = with_a_dead_entry(ema=True, ema_decay=0.5, revive_after=0)
    for seed in range(200):  # its running count and sum fall to zero
        vq(latents(20, seed))
    assert torch.allclose(vq.codebook[0], torch.tensor(1000.0))


@pytest.mark.parametrize("ema", [False, True])
def test_an_entry_unused_for_long_restarts_at_an_encoder_output_and_used_entries_stay(ema):
    vq = with_a_dead_entry(revive_after=3, ema=ema, ema_decay=1.0)  # a decay of 1 keeps the running means constant
    before = vq.codebook.detach().clone()
    for seed in range(2):
        vq(latents(20, seed))
        assert vq.codebook.equal(before)
    z = latents(20, 2)
    live = vq(z).codes.unique()
    assert 0 not in live and len(live) > 2
    assert vq.codebook[live].equal(before[live])
    outputs = z.movedim(1, -1).reshape(-1, D)
    assert (outputs == vq.codebook[0]).all(1).any()
    assert vq.idle[0] == 0 and 0 in vq(z).codes  # used again at once


def test_a_revived_entry_has_unit_length_like_the_others():
    vq = quantizer(l2_norm=True, revive_after=1)
    vq(100 * latents())
    assert vq.codebook.norm(dim=1).allclose(torch.ones(K))


def test_without_revival_dead_entries_stay_dead():
    vq = with_a_dead_entry(revive_after=0)
    before = vq.codebook.detach().clone()
    for seed in range(10):
        vq(latents(20, seed))
    assert vq.codebook.equal(before)


def test_each_entry_has_its_own_count_of_idle_batches():
    vq, batches = quantizer(l2_norm=False, revive_after=0), [latents(1, seed) for seed in range(4)]
    used = [vq(z).codes.unique().tolist() for z in batches]
    expected = [next((age for age, u in enumerate(reversed(used)) if k in u), 4) for k in range(K)]
    assert vq.idle.tolist() == expected and len(set(expected)) > 1


@pytest.mark.parametrize("l2_norm", [False, True])
@pytest.mark.parametrize("ema", [False, True])
def test_revival_within_a_step_changes_nothing_for_its_gradients(l2_norm, ema):
    gradients = []
    for revive_after in (0, 1):
        vq, z = quantizer(l2_norm=l2_norm, ema=ema, revive_after=revive_after), latents().requires_grad_()
        out = vq(z)
        (out.z_q.square().sum() + out.codebook_loss + out.commitment_loss).backward()
        gradients.append([z.grad] + ([] if ema else [vq.codebook.grad]))
    for never, now in zip(*gradients):
        assert never.equal(now)


@pytest.mark.parametrize("ema", [False, True])
def test_a_tokenizer_in_eval_mode_does_not_learn(ema):
    vq = quantizer(ema=ema, revive_after=1).eval()
    before = {name: value.clone() for name, value in vq.state_dict().items()}
    vq(latents())
    assert all(value.equal(before[name]) for name, value in vq.state_dict().items())


# --- The whole tokenizer ---


@settings(max_examples=15)
@given(
    patch=st.sampled_from([1, 2, 4]), levels=st.integers(1, 3), grid=st.integers(1, 3), blocks=st.integers(1, 2),
    released=st.booleans(),
)  # fmt: skip
def test_pictures_become_a_grid_of_codes_and_then_pictures(patch, levels, grid, blocks, released):
    f = patch * 2 ** (levels - 1)
    model = Tokenizer(f * grid, 4, (1, 2, 3)[:levels], blocks, patch, K, D, released_shortcut=released).eval()
    assert (model.downsampling, model.grid, model.num_tokens) == (f, grid, grid**2)
    images = pictures(2, f * grid)
    tokens = model.encode(images)
    assert tokens.shape == (2, grid**2) and tokens.dtype == torch.int64
    assert ((tokens >= 0) & (tokens < K)).all()
    decoded = model.decode(tokens)
    assert decoded.shape == images.shape and decoded.min() >= 0 and decoded.max() <= 1


@pytest.mark.parametrize("l2_norm", [False, True])
def test_forward_is_encode_then_decode_in_raster_order(l2_norm):
    model, images = tiny_tokenizer(l2_norm=l2_norm).eval(), pictures()
    reconstruction, quantized = model(images)
    assert model.encode(images).view(3, 2, 2).equal(quantized.codes)
    assert model.decode(quantized.codes.flatten(1)).allclose(reconstruction.clamp(0, 1), atol=1e-5)
    assert len(quantized.codes.unique()) > 1


def test_the_reconstruction_loss_has_gradients_for_all_of_encoder_and_decoder():
    model, images = tiny_tokenizer(), pictures()
    (model(images)[0] - images).square().mean().backward()
    for name, parameter in [*model.encoder.named_parameters(), *model.decoder.named_parameters()]:
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_last_layer_is_the_decoder_s_last_layer_with_weights():
    decoder = tiny_tokenizer().decoder
    assert decoder.last_layer is [p for p in decoder.parameters() if p.ndim > 1][-1]


def test_a_picture_is_encoded_the_same_alone_and_in_a_batch():
    model, images = tiny_tokenizer().eval(), pictures(4)
    assert model.encode(images).equal(torch.cat([model.encode(image[None]) for image in images]))


def test_a_tokenizer_memorises_a_few_pictures():
    model, images = tiny_tokenizer(num_codes=32), pictures(2)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(80):
        reconstruction, quantized = model(images)
        loss = (reconstruction - images).square().mean() + quantized.codebook_loss + quantized.commitment_loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    assert (model.decode(model.encode(images)) - images).square().mean() < 0.2 * images.var()


def test_a_picture_size_that_does_not_divide_is_refused_with_both_numbers():
    with pytest.raises(ValueError, match="30 is not a multiple of the downsampling 4"):
        tiny_tokenizer(image_size=30)


# --- After the paper: the rotation trick and SimVQ ---


@given(seed=seeds, scale=st.floats(0.1, 10))
def test_the_rotation_trick_has_the_entry_s_value_and_a_rotated_gradient(seed, scale):
    draw = generator(seed)
    z, entry, upstream = (torch.randn(1, 5, generator=draw, dtype=torch.double) for _ in range(3))
    z, entry = (scale * z).requires_grad_(), entry
    out = rotated(z, entry)
    assert out.detach().allclose(entry, atol=1e-9)
    (gradient,) = torch.autograd.grad((out * upstream).sum(), z)
    length = entry.norm() / z.detach().norm()
    # A rotation keeps lengths, and the gradient's angle to z is the upstream's angle to the entry.
    assert gradient.norm().item() == pytest.approx((length * upstream.norm()).item())
    assert (gradient * z.detach()).sum().item() == pytest.approx((upstream * entry).sum().item(), abs=1e-9)


def test_with_simvq_one_vector_moves_the_whole_codebook_and_nothing_else_of_it_learns():
    quantizer = VectorQuantizer(8, 4, l2_norm=False, linear=True, revive_after=1)
    frozen, before = quantizer.codebook.clone(), quantizer.entries().detach()
    z = torch.randn(1, 4, 1, 1, generator=generator(0), requires_grad=True)
    quantizer(z).codebook_loss.backward()
    assert quantizer.codebook.grad is None and quantizer.codebook.equal(frozen)  # nor is an idle entry revived
    with torch.no_grad():
        quantizer.map.weight -= 0.1 * quantizer.map.weight.grad
    assert (quantizer.entries() != before).any(1).all()


@given(codes=st.lists(st.integers(0, 4), min_size=1, max_size=30), scale=st.floats(0.01, 10))
def test_of_sure_choices_the_entropy_loss_is_minus_the_log_of_the_perplexity(codes, scale):
    codes = torch.tensor(codes)
    distances = scale * (1 - torch.eye(5, dtype=torch.double)[codes])  # (M, 5): 0 to its own code, far from the others
    found, known = entropy_loss(distances, temperature=scale / 100), -code_perplexity(codes, 5).double().log()
    assert found.item() == pytest.approx(known.item(), abs=1e-5)


@given(seed=seeds, shift=st.floats(-5, 5))
def test_the_entropy_loss_is_minus_the_information_that_a_choice_has_of_its_vector(seed, shift):
    distances = torch.randn(3, 4, 6, generator=generator(seed), dtype=torch.double)
    p = (-distances / 0.5).softmax(-1).flatten(0, 1) / 12  # joint distribution of vector and code
    information = (p * (p / p.sum(0) / p.sum(1, keepdim=True)).log()).sum()
    assert entropy_loss(distances, 0.5).item() == pytest.approx(-information.item())
    assert entropy_loss(distances + shift, 0.5).item() == pytest.approx(-information.item())


def test_the_entropy_loss_alone_spreads_vectors_over_the_codebook():
    draw = generator(0)
    codebook = torch.cat([torch.eye(3), -torch.eye(3)])
    z = (torch.tensor([0.3, 0, 0]) + torch.randn(60, 3, generator=draw) / 10).requires_grad_()
    before = code_perplexity(nearest_codes(z, codebook), 6)
    for _ in range(200):
        (gradient,) = torch.autograd.grad(entropy_loss(relative_distances(z, codebook), 1.0), z)
        z = (z - 2 * gradient).detach().requires_grad_()
    assert before < 1.5 and code_perplexity(nearest_codes(z, codebook), 6) > 5.5


@pytest.mark.parametrize("options", [{"rotate": True}, {"linear": True}, {"entropy": 0.1}])
def test_a_tokenizer_learns_with_the_later_quantizers(options):
    tokenizer = tiny_tokenizer(**options)
    images = torch.rand(4, 3, 8, 8, generator=generator(0))
    optimizer, losses = torch.optim.AdamW(tokenizer.parameters(), 3e-3), []
    for _ in range(60):
        optimizer.zero_grad()
        out, quantized = tokenizer(images)
        loss = (out - images).square().mean() + quantized.codebook_loss + quantized.commitment_loss
        (loss + quantized.entropy_loss).backward()
        optimizer.step()
        losses.append((out - images).square().mean().item())
    assert losses[-1] < 0.6 * losses[0]


@torch.no_grad()
def test_large_batches_are_encoded_and_decoded_in_parts_with_the_same_result(monkeypatch):
    model, sizes = tiny_tokenizer().eval(), []
    images = torch.rand(5, 3, 8, 8, generator=generator(0))
    codes = model.encode(images)
    decoded = model.decode(codes)
    monkeypatch.setattr(tokenizer, "AT_ONCE", 2 * 8 * 8)
    for part in (model.encoder, model.decoder):
        part.register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])))
    assert model.encode(images).equal(codes) and torch.allclose(model.decode(codes), decoded, atol=1e-6)
    assert sizes == 2 * [2, 2, 1] and model.decode(codes[:0]).shape == (0, 3, 8, 8)
