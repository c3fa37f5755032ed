"""The rivals: the GAN, and the diffusion model's noising and denoising (lesson 8)."""

import math
from contextlib import nullcontext
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st
from strategies import fractions, normal, seeds
from tiny import generator
from torch import Tensor, nn

from minimaskgit.adversary import hinge_d_loss, hinge_g_loss
from minimaskgit.rivals import diffusion, gan
from minimaskgit.rivals.diffusion import UNet, add_noise, alpha_bar, ddim_step, ddpm_step, from_v, to_v
from minimaskgit.rivals.gan import Discriminator, Generator
from minimaskgit.runs.models import load_model, save_model
from minimaskgit.training import loop, rivals
from minimaskgit.training.checkpoint import checkpoints

PICTURES = (2, 3, 4, 4)
TINY = {"image_size": 8, "num_classes": 3, "width": 8, "multipliers": (1, 2), "patch": 2}


def redrawn(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model in eval mode, all weights redrawn with a large variance, so that its output depends on every input."""
    draw = generator(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=draw))
    return model.eval()


def tiny_unet(**options) -> UNet:
    return redrawn(UNet(**TINY | options))


def tiny_generator(**options) -> Generator:
    return redrawn(Generator(latent=4, **TINY | options))


def tiny_discriminator(**options) -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(**TINY | options)


def pictures(count: int = 2, size: int = 8, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, size, size, generator=generator(seed))


class AllKnowing(nn.Module):
    """Stands in for a UNet that knows the picture x0 (3, H, W) in [-1, 1], so its v is right; remembers the times."""

    def __init__(self, x0: Tensor):
        super().__init__()
        self.x0, self.image_size, self.num_classes = x0, x0.shape[-1], 3
        self.times: list[Tensor] = []

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        self.times.append(t)
        a = alpha_bar(t)[:, None, None, None]
        return to_v(self.x0.expand_as(x_t), (x_t - a.sqrt() * self.x0) / (1 - a).sqrt().clamp(min=1e-6), t)


# --- Diffusion: the noise schedule ---


def test_alpha_bar_falls_from_1_to_0():
    a = alpha_bar(torch.linspace(0, 1, 1001))
    assert a[0] == 1 and a[-1].item() == pytest.approx(0, abs=1e-12) and (a.diff() < 0).all()


@given(t=fractions)
def test_alpha_bar_is_the_cosine_of_improved_ddpm(t):
    f = lambda t: math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
    assert alpha_bar(torch.tensor(t)).item() == pytest.approx(f(t) / f(0), abs=1e-6)


@given(seed=seeds, t=fractions)
def test_noising_scales_the_picture_and_keeps_the_variance(seed, t):
    x0, noise = torch.randn(2, 1, 3, 64, 64, generator=generator(seed))
    x_t = add_noise(x0, noise, torch.tensor([t]))
    a = alpha_bar(torch.tensor(t)).item()
    assert x_t.var().item() == pytest.approx(1, abs=0.06)
    assert (x_t * x0).mean().item() == pytest.approx(a**0.5, abs=0.06)
    assert (x_t * noise).mean().item() == pytest.approx((1 - a) ** 0.5, abs=0.06)


@given(x0=normal(*PICTURES), noise=normal(*PICTURES))
def test_each_picture_of_a_batch_has_its_own_time(x0, noise):
    x_t = add_noise(x0, noise, torch.tensor([0.0, 1.0]))
    assert x_t[0].equal(x0[0]) and x_t[1].allclose(noise[1], atol=1e-5)


@given(x0=normal(*PICTURES), noise=normal(*PICTURES), t=fractions)
def test_v_and_the_pair_of_picture_and_noise_are_equivalent(x0, noise, t):
    t = torch.tensor([t, 1 - t])
    v = to_v(x0, noise, t)
    again = from_v(add_noise(x0, noise, t), v, t)
    assert again[0].allclose(x0, atol=1e-5) and again[1].allclose(noise, atol=1e-5)
    assert to_v(*again, t).allclose(v, atol=1e-5)


# --- Diffusion: denoising steps ---


@given(x0=normal(*PICTURES), noise=normal(*PICTURES), times=st.tuples(fractions, st.floats(0.01, 1)))
def test_a_ddim_step_with_the_true_picture_agrees_with_noising_by_the_same_noise(x0, noise, times):
    s, t = (torch.full((2,), value) for value in sorted(times))
    assert ddim_step(add_noise(x0, noise, t), x0, t, s).allclose(add_noise(x0, noise, s), atol=1e-3)


@given(x0=normal(1, 1, 1, 1), x_t=normal(1, 1, 1, 1), times=st.tuples(st.floats(0.01, 0.98), st.floats(0.01, 0.98)))
def test_a_ddpm_step_draws_from_the_posterior_of_bayes_rule(x0, x_t, times):
    """The product of q(x_s | x0) and q(x_t | x_s), both Gaussian in x_s, in double precision."""
    s, t = min(times), max(times) + 0.01
    a_s, a_t = (alpha_bar(torch.tensor([time], dtype=torch.float64)).item() for time in (s, t))
    step = a_t / a_s
    precision = 1 / (1 - a_s) + step / (1 - step)
    mean = (a_s**0.5 * x0.item() / (1 - a_s) + step**0.5 * x_t.item() / (1 - step)) / precision
    x0, x_t, t, s = (torch.as_tensor(value, dtype=torch.float64) for value in (x0, x_t, [t], [s]))
    still, moved = (ddpm_step(x_t, x0, t, s, torch.full_like(x_t, value)).item() for value in (0, 1))
    assert still == pytest.approx(mean, abs=1e-6)
    assert moved - still == pytest.approx(precision**-0.5, abs=1e-6)


def test_ddpm_steps_with_the_true_picture_keep_the_distribution_of_noising():
    x0 = torch.tensor([-0.8, 0.1, 0.9]).view(1, 3, 1, 1).expand(20_000, -1, -1, -1)
    draw = generator(0)
    times = torch.tensor([0.9, 0.5, 0.2])[:, None].expand(-1, len(x0))
    x = add_noise(x0, torch.randn(x0.shape, generator=draw), times[0])
    for t, s in pairwise(times):
        x = ddpm_step(x, x0, t, s, torch.randn(x0.shape, generator=draw))
        a = alpha_bar(s[0])
        assert x.mean(0).allclose(a.sqrt() * x0[0], atol=0.03)
        assert x.std(0).allclose((1 - a).sqrt().expand(3, 1, 1), atol=0.02)


@pytest.mark.parametrize("method", ["ddpm", "ddim"])
@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_sampling_with_a_network_that_knows_the_picture_ends_at_the_picture(method, steps):
    image = pictures(1)[0]
    model = AllKnowing(2 * image - 1)
    samples = diffusion.sample(model, torch.tensor([0, 1]), steps, method, generator(0))
    assert samples.allclose(image.expand(2, -1, -1, -1), atol=2e-3)
    assert len(model.times) == steps
    assert model.times[0].eq(1).all() and all((b < a).all() for a, b in pairwise(model.times))


@pytest.mark.parametrize("method, draws", [("ddim", 1), ("ddpm", 1 + 4)])
def test_ddim_draws_noise_once_and_ddpm_at_every_step(method, draws):
    used, expected = generator(0), generator(0)
    diffusion.sample(tiny_unet(), torch.tensor([0]), 4, method, used)
    for _ in range(draws):
        torch.randn(1, 3, 8, 8, generator=expected)
    assert used.get_state().equal(expected.get_state())


# --- Diffusion: the loss and the network ---


@given(seed=seeds)
def test_the_diffusion_loss_is_zero_for_a_network_that_knows_the_picture(seed):
    torch.manual_seed(seed)
    image = pictures(1)[0]
    loss = diffusion.diffusion_loss(AllKnowing(2 * image - 1), image.expand(4, -1, -1, -1), torch.zeros(4).long())
    assert loss.item() == pytest.approx(0, abs=1e-3)


def test_the_loss_of_a_network_that_always_predicts_0_is_the_variance_of_v():
    torch.manual_seed(0)
    silent = lambda x_t, t, labels: torch.zeros_like(x_t)
    images = torch.randint(2, (2000, 3, 4, 4), generator=generator(0)).float()  # -1 or 1: variance 1 like the noise
    assert diffusion.diffusion_loss(silent, images, torch.zeros(2000).long()).item() == pytest.approx(1, abs=0.03)


@given(seed=seeds)
def test_a_batch_s_times_are_spread_evenly_over_0_to_1(seed):
    torch.manual_seed(seed)
    model = AllKnowing(torch.zeros(3, 4, 4))
    diffusion.diffusion_loss(model, torch.full((5, 3, 4, 4), 0.5), torch.zeros(5).long())
    t = model.times[0].sort().values
    assert t[0] >= 0 and t[-1] < 1 and t.diff().allclose(torch.full((4,), 0.2), atol=1e-5)


@pytest.mark.parametrize("size, multipliers", [(32, (1, 2, 4)), (64, (1, 2, 4)), (64, (1, 1, 2, 2)), (16, (1,))])
def test_the_u_net_predicts_v_for_every_pixel(size, multipliers):
    model = UNet(size, 3, width=8, multipliers=multipliers)
    x = torch.randn(2, 3, size, size)
    assert model(x, torch.tensor([0.1, 0.9]), torch.tensor([0, 3])).shape == x.shape


def test_v_depends_on_picture_time_and_class():
    model, x, t, labels = tiny_unet(), torch.randn(1, 3, 8, 8), torch.tensor([0.5]), torch.tensor([0])
    v = model(x, t, labels)
    assert not v.allclose(model(x + 0.1, t, labels))
    assert not v.allclose(model(x, t + 0.1, labels))
    answers = [model(x, t, torch.tensor([label])) for label in range(4)]  # the last means "no class"
    assert not any(a.allclose(b) for i, a in enumerate(answers) for b in answers[:i])


def test_v_does_not_depend_on_the_rest_of_the_batch():
    model, x, t, labels = tiny_unet(), torch.randn(3, 3, 8, 8), torch.tensor([0.1, 0.5, 0.9]), torch.tensor([0, 1, 2])
    alone = [model(x[i : i + 1], t[i : i + 1], labels[i : i + 1]) for i in range(3)]
    assert model(x, t, labels).allclose(torch.cat(alone), atol=1e-5)


def test_attention_is_used_at_small_sides_only():
    attends = lambda model: [isinstance(stage.attend, diffusion.SelfAttention) for stage in model.down]
    assert attends(UNet(32, 3, width=8, attention_side=8)) == [False, True, True]  # sides 16, 8 and 4
    assert attends(UNet(32, 3, width=8, attention_side=0)) == [False, False, False]


def test_with_attention_the_corners_of_a_map_see_each_other():
    attend, blank = redrawn(diffusion.SelfAttention(8)), torch.randn(1, 8, 6, 6, generator=generator(0))
    marked = blank.clone()
    marked[..., -1, -1] += 1
    assert (attend(marked) - attend(blank))[..., 0, 0].abs().max() > 1e-4


@given(w=st.floats(0.1, 5))
def test_guidance_moves_v_away_from_the_prediction_without_a_class(w):
    model, x, t, labels = tiny_unet(), torch.randn(2, 3, 8, 8), torch.tensor([0.3, 0.8]), torch.tensor([0, 2])
    conditional, unconditional = model(x, t, labels), model(x, t, torch.tensor([3, 3]))
    expected = conditional + w * (conditional - unconditional)
    assert diffusion.guided_v(model, x, t, labels, w).allclose(expected, atol=1e-4)
    assert diffusion.guided_v(model, x, t, labels, 0).equal(conditional)


# --- The GAN: generator ---


@pytest.mark.parametrize("size, multipliers", [(32, (1, 2, 4)), (64, (1, 2, 4)), (64, (1, 1, 2, 2)), (16, (1,))])
def test_generator_and_discriminator_handle_pictures_of_any_size(size, multipliers):
    model = Generator(size, 3, latent=4, width=8, multipliers=multipliers)
    images = model(torch.randn(2, 4), torch.tensor([0, 2]))
    assert images.shape == (2, 3, size, size) and images.min() >= 0 and images.max() <= 1
    assert Discriminator(size, 3, width=8, multipliers=multipliers)(images, torch.tensor([0, 2])).shape == (2,)


def test_the_picture_depends_on_z_and_on_the_class():
    model, z = tiny_generator(), torch.randn(1, 4, generator=generator(0))
    answers = [model(z, torch.tensor([label])) for label in range(3)]
    assert not any(a.allclose(b, atol=1e-4) for i, a in enumerate(answers) for b in answers[:i])
    assert not answers[0].allclose(model(z + 0.5, torch.tensor([0])), atol=1e-4)


def test_the_class_reaches_every_norm_of_the_generator():
    torch.manual_seed(0)
    x, conditions = torch.randn(2, 8, 4, 4), torch.randn(2, 2, 5)
    norm = redrawn(gan.ConditionalNorm(8, 5)).train()
    assert not norm(x, conditions[0]).allclose(norm(x, conditions[1]))
    blocks = Generator(**TINY).blocks
    assert all(isinstance(norm, gan.ConditionalNorm) for block in blocks for norm in (block.norm1, block.norm2))


def test_a_conditional_norm_scales_and_shifts_the_result_of_batch_norm():
    torch.manual_seed(0)
    norm, x, condition = redrawn(gan.ConditionalNorm(4, 5)).train(), torch.randn(6, 4, 3, 3), torch.randn(6, 5)
    scale, shift = norm.modulation(condition).detach().numpy()[:, :, None, None].reshape(6, 2, 4, 1, 1).swapaxes(0, 1)
    centred = x.numpy() - x.numpy().mean((0, 2, 3), keepdims=True)
    expected = centred / np.sqrt(x.numpy().var((0, 2, 3), keepdims=True) + 1e-5) * (1 + scale) + shift
    assert np.allclose(norm(x, condition).detach().numpy(), expected, atol=1e-5)


def test_flat_features_give_a_flat_picture_without_a_checkerboard():
    flat = torch.randn(1, 8, 1, 1, generator=generator(0)).expand(-1, -1, 8, 8)
    inside = tiny_generator().head(flat)[..., 2:-2, 2:-2]  # outside the influence of the zero padding
    assert inside.allclose(inside[..., :1, :1].expand_as(inside), atol=1e-5)


@given(seed=seeds, bound=st.floats(0.05, 3))
def test_truncated_z_stays_within_its_bound(seed, bound):
    z = gan.truncated_normal(torch.empty(1000), bound, generator(seed))
    assert z.abs().max() <= bound * (1 + 1e-5) and z.std() > bound * 0.25


def test_truncation_makes_samples_more_alike():
    model, labels = tiny_generator(), torch.zeros(64, dtype=torch.long)
    spread = [gan.sample(model, labels, generator(0), truncation).std(0).mean() for truncation in (0.1, 0.5, None)]
    assert spread[0] < spread[1] < spread[2]


# --- The GAN: discriminator ---


def test_spectral_normalisation_keeps_every_weight_s_largest_singular_value_at_1():
    discriminator = tiny_discriminator()
    with torch.no_grad():
        for name, parameter in discriminator.named_parameters():
            if name.endswith("original"):
                parameter.mul_(7)  # whatever training does to the weights...
        for _ in range(100):  # one power iteration per pass
            discriminator(pictures(), torch.tensor([0, 1]))
    normed = [m.weight for m in discriminator.modules() if hasattr(m, "parametrizations")]
    assert len(normed) == 9  # all of them: stem, 2 blocks of three (shortcuts too), score, classes
    for weight in normed:
        assert torch.linalg.matrix_norm(weight.detach().flatten(1), 2).item() == pytest.approx(1, abs=0.02)


def test_a_score_is_an_unconditional_part_plus_the_agreement_with_the_class():
    discriminator, images = tiny_discriminator().eval(), pictures(3)
    features = torch.relu(discriminator.blocks(discriminator.stem(2 * images - 1))).sum((2, 3))
    w, bias, classes = discriminator.score.weight, discriminator.score.bias, discriminator.classes.weight
    for label in range(3):
        expected = features @ (w[0] + classes[label]) + bias
        assert discriminator(images, torch.full((3,), label)).allclose(expected, atol=1e-5)


def test_the_discriminator_s_step_leaves_the_generator_without_gradient():
    model, discriminator, labels = tiny_generator().train(), tiny_discriminator(), torch.tensor([0, 2])
    fake = model(torch.randn(2, 4), labels)
    fake.retain_grad()
    gan.gan_d_loss(discriminator, pictures(), fake, labels).backward()
    assert fake.grad is None and all(parameter.grad is None for parameter in model.parameters())
    assert all(parameter.grad is not None for parameter in discriminator.parameters())


def test_the_generator_s_step_reaches_the_whole_generator_but_not_the_frozen_discriminator():
    model, discriminator, labels = tiny_generator().train(), tiny_discriminator().requires_grad_(False), torch.arange(3)
    gan.gan_g_loss(discriminator, model(torch.randn(3, 4), labels), labels).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(parameter.grad.any() for parameter in model.parameters() if parameter.ndim > 1)
    assert all(parameter.grad is None for parameter in discriminator.parameters())


def test_the_losses_are_hinge_losses():
    discriminator, labels = tiny_discriminator().eval(), torch.tensor([0, 2])
    real, fake = pictures(seed=0), pictures(seed=1)
    scores = discriminator(real, labels), discriminator(fake, labels)
    assert gan.gan_d_loss(discriminator, real, fake, labels).allclose(hinge_d_loss(*scores), atol=1e-6)
    assert gan.gan_g_loss(discriminator, fake, labels).allclose(hinge_g_loss(scores[1]), atol=1e-6)


@given(weights=normal(3, 4, 4), images=normal(*PICTURES))
def test_the_penalty_is_the_squared_slope_of_the_score_at_the_real_pictures(weights, images):
    labels = torch.tensor([0, 2])
    linear = lambda x, labels: (weights * x).sum((1, 2, 3))  # its gradient is the weights everywhere
    bowl = lambda x, labels: (labels * x.square().sum((1, 2, 3))) / 2  # its gradient is the label times the picture
    assert gan.gradient_penalty(linear, images, labels).allclose(weights.square().sum(), rtol=1e-4)
    assert gan.gradient_penalty(bowl, images, labels).allclose(4 * images[1].square().sum() / 2, rtol=1e-4)


def test_the_penalty_has_gradients_for_the_discriminator_s_weights():
    weights = torch.randn(3, 8, 8, generator=generator(0)).requires_grad_()
    gan.gradient_penalty(lambda x, labels: (weights * x).sum((1, 2, 3)), pictures(), torch.tensor([0, 2])).backward()
    assert weights.grad.allclose(2 * weights, rtol=1e-4)


def test_a_discriminator_trained_with_a_penalty_is_flatter_at_the_real_pictures(tmp_path):
    slopes = []
    for penalty in (0.0, 10.0):
        short = session(steps=12)
        short.config.gan_training.penalty = penalty
        rivals.train_gan(short, tmp_path)
        slopes.append(gan.gradient_penalty(short.parts["discriminator"].eval(), *short.images(0, 12, 0)).item())
    assert slopes[1] < 0.3 * slopes[0]


# --- Both: sampling and keeping ---

SAMPLERS = {
    "gan": lambda model, labels, seed: gan.sample(model, labels, generator(seed)),
    "gan, truncated": lambda model, labels, seed: gan.sample(model, labels, generator(seed), 0.5),
    "ddpm": lambda model, labels, seed: diffusion.sample(model, labels, 3, "ddpm", generator(seed)),
    "ddim": lambda model, labels, seed: diffusion.sample(model, labels, 3, "ddim", generator(seed)),
    "guided": lambda model, labels, seed: diffusion.sample(model, labels, 3, "ddim", generator(seed), guidance=1.0),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_samples_are_pictures_determined_by_seed_and_class(name):
    draw, model = SAMPLERS[name], tiny_generator() if "gan" in name else tiny_unet()
    labels = torch.tensor([0, 1, 2, 0])
    samples = draw(model, labels, 1)
    assert samples.shape == (4, 3, 8, 8) and samples.dtype == torch.float32 and not samples.requires_grad
    assert samples.min() >= 0 and samples.max() <= 1
    assert samples.equal(draw(model, labels, 1))
    assert not samples.equal(draw(model, labels, 2))
    assert not samples.equal(draw(model, labels.flip(0), 1))


@pytest.mark.parametrize("model", [tiny_generator(), tiny_unet()], ids=["gan", "diffusion"])
def test_a_model_is_loaded_from_its_folder_unchanged(model, tmp_path):
    save_model(model, tmp_path)
    again = load_model(type(model), tmp_path)
    samples = [
        SAMPLERS["gan" if isinstance(model, Generator) else "ddim"](m, torch.arange(3), 0) for m in (model, again)
    ]
    assert samples[0].equal(samples[1])


@pytest.mark.parametrize("kind", [Generator, Discriminator, UNet])
def test_sizes_that_cannot_be_halved_are_refused(kind):
    with pytest.raises(ValueError, match="image size 20 is not a multiple of 8"):
        kind(20, 3, width=8, multipliers=(1, 2, 4))


# --- Both: training ---


class Colours(SimpleNamespace):
    """A data set of twelve pictures, of which only the number and the classes are used."""

    def __len__(self) -> int:
        return 12


def session(steps: int) -> SimpleNamespace:
    """A small training session on three flat colours; its `fit` runs the steps and keeps every state."""
    shape = SimpleNamespace(width=16, multipliers=(1, 2), patch=1, attention_side=4, latent=4)
    rates = {"learning_rate": 1e-2, "d_learning_rate": 1e-2, "ema_decay": 0.9, "warmup": 1, "cooldown": 0.5}
    settings = SimpleNamespace(steps=steps, batch_size=12, class_dropout=0.1, clip=1.0, penalty=1.0, **rates)
    settings_of = {"gan": shape, "gan_training": settings, "diffusion": shape, "diffusion_training": settings}
    labels = torch.arange(12) % 3
    colours = (0.1 + 0.8 * torch.eye(3))[labels][:, :, None, None].expand(-1, -1, 8, 8)
    states: list[dict[str, Tensor]] = []

    def fit(folder, steps, train_step, parts, picture, batch) -> float:
        for step in range(steps):
            torch.manual_seed(step)
            train_step(step)
            states.append({key: value.clone() for key, value in parts["model"].state_dict().items()})
        picture(steps)
        given.parts = parts
        return 1.0

    given = SimpleNamespace(
        config=SimpleNamespace(seed=0, fd_samples=0, images=SimpleNamespace(size=8), **settings_of),
        device=torch.device("cpu"),
        accelerator=Accelerator(cpu=True),
        autocast=nullcontext,
        train=Colours(num_classes=3, label_names=["red", "green", "blue"]),
        indices=lambda count, batch_size, step: torch.arange(batch_size),
        images=lambda step, batch_size, seed: (colours, labels),
        fit=fit,
        states=states,
        parts={},  # what was trained, after `fit`
    )
    return given


TRAIN = {"gan": rivals.train_gan, "diffusion": rivals.train_diffusion}


def test_some_samples_teach_the_diffusion_model_what_no_class_means(tmp_path, monkeypatch):
    seen = []

    def loss(model, images, labels):
        seen.append(labels)
        return sum(parameter.sum() for parameter in model.parameters())

    monkeypatch.setattr(rivals, "diffusion_loss", loss)
    monkeypatch.setattr(rivals, "show", lambda *_: {})
    rivals.train_diffusion(session(60), tmp_path)
    labels, known = torch.stack(seen), torch.arange(12) % 3
    assert ((labels == known) | (labels == 3)).all() and 0.05 < (labels == 3).double().mean() < 0.16


@pytest.mark.parametrize("stage", TRAIN)
def test_the_result_of_training_is_the_running_mean_of_the_weights(stage, tmp_path):
    short = session(steps=4)
    model, evaluation = TRAIN[stage](short, tmp_path)
    assert evaluation == {"seconds": 1.0} and not model.training
    given = model.state_dict()
    for key in (key for key, value in given.items() if value.is_floating_point()):
        mean, *rest = (state[key] for state in short.states)
        for count, value in enumerate(rest, 1):
            decay = min(0.9, (1 + count) / (10 + count))
            mean = decay * mean + (1 - decay) * value
        assert given[key].allclose(mean, atol=1e-6), key
    assert not all(given[key].allclose(value, atol=1e-4) for key, value in short.states[-1].items())


@pytest.mark.parametrize("stage", TRAIN)
def test_training_resumed_from_a_checkpoint_gives_the_same_weights(stage, tmp_path):
    whole = session(steps=4)
    whole.fit = lambda *args, batch: loop.fit(*args[:-1], save_every=2, picture=args[-1], batch=batch)
    once, _ = TRAIN[stage](whole, tmp_path)
    checkpoints(tmp_path)[-1].unlink()
    assert checkpoints(tmp_path)  # of step 2, where the second training starts
    again, _ = TRAIN[stage](whole, tmp_path)
    values = again.state_dict()
    assert all(value.equal(values[key]) for key, value in once.state_dict().items())


@pytest.mark.parametrize("stage", TRAIN)
def test_training_draws_samples_of_every_class(stage, tmp_path):
    TRAIN[stage](session(steps=1), tmp_path)
    assert (tmp_path / "samples.png").exists() and (tmp_path / "pictures/step_000001.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("stage, steps", [("gan", 300), ("diffusion", 300)])
def test_a_few_flat_colours_are_learned_by_class(stage, steps, tmp_path):
    model, _ = TRAIN[stage](session(steps), tmp_path)
    labels = torch.arange(3).repeat(4)
    samples = SAMPLERS["gan" if stage == "gan" else "ddim"](model, labels, 0)
    assert samples.mean((2, 3)).argmax(1).equal(labels)
    assert samples.std((2, 3)).mean() < 0.15


@pytest.mark.slow
def test_the_u_net_overfits_one_batch():
    torch.manual_seed(0)
    images, labels = pictures(3), torch.arange(3)
    model = UNet(**TINY | {"width": 16, "patch": 1})
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(500):
        optimizer.zero_grad()
        loss = diffusion.diffusion_loss(model, images.repeat(4, 1, 1, 1), labels.repeat(4))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-50:]) < 0.2 * np.mean(losses[:10])
    samples = diffusion.sample(model.eval(), labels, 25, "ddim", generator(0))
    nearest = (samples[:, None] - images[None]).square().mean((2, 3, 4)).argmin(1)
    assert nearest.equal(labels)
