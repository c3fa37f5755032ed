"""Sets of pictures to compare: real ones, held out from training or used in it, and generated ones.

Pictures: uint8 images (B, 3, S, S), as an image file stores them, and labels (B,)
"""

from typing import NamedTuple

import torch
from torch import Tensor
from tqdm.auto import tqdm

from minimaskgit.common.errors import UserError
from minimaskgit.data.images import to_float
from minimaskgit.runs.choices import Draw
from minimaskgit.runs.origin import run_data
from minimaskgit.runs.run import Run

BATCH = 100  # images decoded, or passed through a network, at once
PIXELS = 2**20  # of the images decoded at once, which are fewer if they are larger than 100 x 100


class Pictures(NamedTuple):
    images: Tensor  # uint8 (B, 3, S, S), as they would be saved, on the CPU
    labels: Tensor  # int64 (B,), the requested class, or the true one


def at_once(run: Run) -> int:
    """How many images a run decodes at once."""
    return min(BATCH, max(1, PIXELS // run.config.images.size**2))


def held_out(run: Run, reference: int, samples: int) -> tuple[Pictures, Pictures]:
    """Validation images, on which nothing was trained, in two parts: the reference and a second sample.

    If there are too few images, the reference is at most half of them and the second sample at most the rest.
    """
    data = run_data(run, "valid", reference + samples)
    if len(data) < 4:
        raise UserError(f"{run.config.data} has {len(data)} validation images; expected 4 or more to compare with")
    everything = torch.arange(len(data))
    first = reference if len(data) == reference + samples else min(reference, len(data) // 2)
    return Pictures(*data.batch(everything[:first])), Pictures(*data.batch(everything[first : first + samples]))


def like(pictures: Pictures, labels: Tensor) -> Pictures:
    """The first of these pictures, with as many of each class as `labels` (B,) has, or all there are if too few."""
    wanted = zip(*labels.cpu().unique(return_counts=True), strict=True)
    chosen = torch.cat([(pictures.labels == label).nonzero()[:count, 0] for label, count in wanted])
    return Pictures(*(part[chosen.sort().values] for part in pictures))  # in their order


def compared(run: Run, reference: int, labels: Tensor) -> tuple[Pictures, Pictures]:
    """The reference, and other held-out images that have as many of each class as generated ones of `labels` (B,).

    Glyphs are drawn with random classes. If the generated images have equally many of each class, and the real ones
    do not, that alone makes the FD of the real ones far higher.
    """
    reference, others = held_out(run, reference, 2 * len(labels) + 100)  # enough of each class
    return reference, like(others, labels)


def training_pictures(run: Run, count: int) -> Pictures:
    """`count` of the run's training images, or all of them if there are fewer."""
    data = run_data(run, "train", min(count, run.config.images.count or count))
    return Pictures(*data.batch(torch.arange(len(data))))


@torch.no_grad()
def sample(run: Run, draw: Draw, labels: Tensor, seed: int, quiet: bool = False) -> Pictures:
    """Draw images of classes `labels` (B,), rounded as in an image file; quiet: without a progress bar."""
    generator = torch.Generator(run.device).manual_seed(seed)
    images = []
    bar = tqdm(total=len(labels), desc="generating", unit="image", dynamic_ncols=True, disable=quiet)
    with run.autocast(), bar:
        for part in labels.split(at_once(run)):
            images.append(to_bytes(draw(part, generator)))
            bar.update(len(part))
    return Pictures(torch.cat(images), labels.cpu())


def to_bytes(images: Tensor) -> Tensor:
    """Convert floats in [0, 1] to uint8 on the CPU."""
    return (255 * images).round().byte().cpu()


@torch.no_grad()
def through_tokenizer(run: Run, pictures: Pictures) -> tuple[Tensor, Tensor]:
    """Tokens (M, N) of real images, and their reconstructions, uint8 (M, 3, S, S)."""
    tokenizer, tokens, images = run.tokenizer(), [], []
    with run.autocast():
        for part in tqdm(pictures.images.split(BATCH), desc="reconstructing", delay=2, leave=False):
            tokens.append(tokenizer.encode(to_float(part).to(run.device)))
            images.append(to_bytes(tokenizer.decode(tokens[-1])))
    return torch.cat(tokens), torch.cat(images)
