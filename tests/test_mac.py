"""Apple's MPS has no float64: training, decoding and metrics on a device that is pretended to be one."""

from types import SimpleNamespace
from typing import get_args

import pytest
import torch
from canvas import MODEL, C, K, N
from tiny import generator, tiny_transformer
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from minimaskgit import demo, metrics
from minimaskgit.classifier import Classifier
from minimaskgit.data.glyphs import GLYPH_NAMES
from minimaskgit.decoders.critic import Critic
from minimaskgit.decoders.loop import run
from minimaskgit.decoders.named import DecoderName, decoder
from minimaskgit.decoders.policy import decoder_of, papers_policy
from minimaskgit.decoding import decode_steps, reference_decode
from minimaskgit.masking import draw_masks, mvtm_loss
from minimaskgit.schedules import RATIOS, SCHEDULES, cosine

MPS = torch.device("mps")


class Mac(TorchFunctionMode):
    """Pretends that some tensors on the CPU are on MPS: all that are made or moved there, and what is made of them.

    TypeError for a float64 there; RuntimeError for an operation on tensors here and there, unless one is a number.
    """

    def __torch_function__(self, function, types, given=(), options=None):
        options = options or {}
        if getattr(function, "__self__", None) is Tensor.device:
            return MPS if there(given[0]) else function(*given)
        leaves = tree_leaves((given, options))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        places = [torch.device(leaf) for leaf in leaves if isinstance(leaf, torch.device) or leaf in ("cpu", "mps")]
        moves, name = function in (Tensor.to, Tensor.cpu), getattr(function, "__name__", "")
        if function is Tensor.to and len(tensors) > 1:
            places = [MPS if there(tensors[1]) else torch.device("cpu")]
        if not (moves or "item" in name) and len({there(tensor) for tensor in tensors if tensor.ndim}) > 1:
            raise RuntimeError(f"{name}: expected all tensors to be on the same device")
        onto_mps = places[0] == MPS if places else function is not Tensor.cpu and any(map(there, tensors))
        found = function(*tree_map(_here, given), **tree_map(_here, options))
        if name == "__iter__":
            return iter([self._placed(each, onto_mps, False) for each in found])
        return tree_map(lambda leaf: self._placed(leaf, onto_mps, moves), found)

    def _placed(self, leaf, onto_mps: bool, moved: bool):
        if not isinstance(leaf, Tensor):
            return leaf
        if onto_mps and leaf.dtype == torch.float64:
            raise TypeError("MPS does not support float64")
        leaf = leaf.clone() if moved and there(leaf) != onto_mps else leaf
        leaf.there = onto_mps
        return leaf


def there(tensor: Tensor) -> bool:
    return getattr(tensor, "there", False)


def _here(leaf):
    return torch.device("cpu") if isinstance(leaf, torch.device) or leaf == "mps" else leaf


@pytest.fixture
def mac():
    with Mac():
        yield


def moved(model: nn.Module) -> nn.Module:
    """The model, whose weights are there from now on."""
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.there = True
    return model


def test_the_pretended_device_has_no_float64_and_does_not_mix_with_the_cpu(mac):
    x = torch.ones(3, device="mps")
    assert x.device == MPS and (2 * x).sum().device == MPS and x.cpu().device == torch.device("cpu")
    assert x.cpu().double().dtype == torch.float64 and x.cpu().to(x).device == MPS
    with pytest.raises(TypeError, match="float64"):
        x.double()
    with pytest.raises(TypeError, match="float64"):
        torch.arange(3).double().to(MPS)
    with pytest.raises(RuntimeError, match="same device"):
        x + torch.ones(3)


@pytest.mark.parametrize("name", RATIOS)
def test_training_masks_there_what_it_masks_on_the_cpu(mac, name):
    expected = draw_masks(50, N, RATIOS[name], "cpu", generator(0))
    masks = draw_masks(50, N, RATIOS[name], MPS, generator(0))
    assert masks.device == MPS and masks.cpu().equal(expected)
    tokens = torch.randint(K, (50, N), generator=generator(1)).to(MPS)
    assert mvtm_loss(moved(tiny_transformer()), tokens, torch.zeros(50, dtype=torch.long, device=MPS), masks).isfinite()


def decoders() -> dict:
    critic = Critic(MODEL.width, len(MODEL.blocks)).eval()
    named = {name: decoder(name, cosine, 4.5, critic=critic) for name in get_args(DecoderName)}
    return named | {"searched": decoder_of(papers_policy(3, cosine, 4.5, N))}


@pytest.mark.parametrize("name", ["the paper's", *decoders()])
def test_decoding_draws_there_what_it_draws_on_the_cpu(mac, name):
    chosen, drawn = decoders().get(name), []
    for device in ("cpu", MPS):
        model = tiny_transformer()
        if device == MPS:
            moved(model)
            if chosen and chosen.critic:
                moved(chosen.critic)
        how = {"steps": 3, "generator": generator(3)}
        labels = torch.arange(C, device=device)
        *_, last = run(chosen, model, labels, **how) if chosen else decode_steps(model, labels, **how)
        drawn.append(last.tokens.cpu())
    assert last.tokens.device == MPS and drawn[0].equal(drawn[1])


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_reference_decodes_there_with_every_schedule(mac, name):
    model, labels = moved(tiny_transformer()), torch.arange(C, device=MPS)
    assert (reference_decode(model, labels, 4, SCHEDULES[name], generator=generator(0)) < K).all()


def test_metrics_of_features_there_are_those_on_the_cpu(mac):
    clouds = [torch.randn(20, 4, generator=generator(seed)) for seed in (0, 1)]
    found = []
    for device in ("cpu", MPS):
        real, fake = (cloud.to(device) for cloud in clouds)
        statistics = (*metrics.feature_statistics(real), *metrics.feature_statistics(fake))
        scores = [metrics.frechet_distance(*statistics), *metrics.inception_score(fake.softmax(-1), 2)]
        scores += [*metrics.precision_recall(real, fake), *metrics.density_coverage(real, fake)]
        found.append([score.item() for score in scores])
    assert found[0] == found[1]
    covariance = torch.eye(4, device=MPS)
    assert metrics.frechet_distance(real[0], covariance, real[0], covariance).item() == pytest.approx(0, abs=1e-6)


def test_a_judge_scores_images_there(mac):
    torch.manual_seed(0)
    judge, images = moved(Classifier(width=4)).eval(), torch.rand(8, 3, 32, 32).to(MPS)
    glyphs = SimpleNamespace(config=SimpleNamespace(data="glyphs"), label_names=GLYPH_NAMES)
    found = demo.scores(glyphs, judge, images, torch.arange(8, device=MPS))
    assert all(0 <= score <= 1 for score in found.values())
