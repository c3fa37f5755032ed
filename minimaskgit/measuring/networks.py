"""Feature networks: the run's own judge, or the Inception network of published FIDs (lesson 8)."""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor
from tqdm.auto import tqdm

from minimaskgit.classifier import Classifier
from minimaskgit.common.errors import UserError, first_line
from minimaskgit.common.files import atomic_write
from minimaskgit.data.images import to_float
from minimaskgit.measuring.pictures import BATCH, Pictures
from minimaskgit.runs.models import digest, load_cache
from minimaskgit.runs.run import Run


class Seen(NamedTuple):
    features: Tensor  # float32 (B, D), on the CPU
    logits: Tensor  # float32 (B, C)


Network = Callable[[Tensor], Seen]  # takes images, uint8 (B, 3, S, S) on the run's device


def judge_network(judge: Classifier) -> Network:
    """The judge as a network: its last feature map averaged over the picture, and its logits."""

    def network(images: Tensor) -> Seen:
        features = judge.pooled(to_float(images))
        return Seen(features, judge.final(features))

    return network


def inception_network(device: torch.device) -> Network:
    """The Inception network of published FIDs; UserError if its package or its weights are not available."""
    from torchmetrics.image.fid import FrechetInceptionDistance  # here, because its import takes seconds

    advice = "or leave out --features inception to use the run's own classifier"
    try:
        inception = FrechetInceptionDistance(feature=2048).inception
    except ModuleNotFoundError:
        raise UserError(f"--features inception needs torch-fidelity: pip install torch-fidelity, {advice}") from None
    except Exception as error:  # a missing network or a broken download raises many kinds
        reason = first_line(error)
        raise UserError(
            f"--features inception: the network's weights could not be downloaded ({reason});"
            f" try again with an internet connection, {advice}"
        ) from None
    inception.eval().to(device)

    def network(images: Tensor) -> Seen:
        features = inception(images)
        return Seen(features, features @ inception.fc.weight.T)  # without the bias, as published

    return network


def feature_names(run: Run, features: str) -> dict[str, str]:
    """The network's name in the table and the JSON file, and a note on what the numbers may be compared with."""
    if features == "inception":
        return {"network": "Inception v3", "comparable": "FD is the FID; published ones have other counts and data"}
    own = "glyph-classifier" if run.config.data == "glyphs" else "own-classifier"
    return {
        "network": f"the package's own classifier, {run.folder / 'judge' / 'classifier'}",
        "comparable": f"FD in {own} features; not comparable with published FID",
    }


@torch.no_grad()
def look(run: Run, network: Network, images: Tensor) -> Seen:
    """Compute features and logits of images, uint8 (B, 3, S, S)."""
    parts = [network(part.to(run.device)) for part in tqdm(images.split(BATCH), desc="looking", delay=2, leave=False)]
    return Seen(*(torch.cat(tensors).float().cpu() for tensors in zip(*parts)))


def cached_reference(run: Run, network: Network, features: str, reference: Pictures) -> Seen:
    """Features and logits of the reference, cached in the run folder under a hash of everything they depend on."""
    weights = digest(run.folder / "judge" / "classifier") if features == "classifier" else "inception"
    name = hashlib.sha256(weights.encode())
    name.update(reference.images.contiguous().numpy())  # without a copy: these may be gigabytes
    path = run.folder / "evaluation" / f"reference-{name.hexdigest()[:16]}.safetensors"
    if (cached := load_cache(path)) is not None:
        return Seen(**cached)
    seen = look(run, network, reference.images)
    with atomic_write(path) as temporary:
        save_file(seen._asdict(), temporary)
    return seen
