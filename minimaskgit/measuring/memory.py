"""Memory: how many samples are copies of training images, or close to copies (lesson 8).

    sample ─┬─> its nearest training image, d away ─┐
            └─> its nearest held-out image, h away ─┴─> d / h: about 1, and 0 for a copy
    held-out real images, likewise ──> the limit, which 5 % of their d / h are below
    memory: the fraction of samples below the limit

Nothing was trained on the held-out images, so a model without memory scores 5 %, and one that only copies up to 100 %.
Each sample is its own control: a plain picture is near to images of both kinds, and d alone would take it for a copy
(ratios of distances: Carlini et al. 2023; held-out images as the control: Meehan et al. 2020). Training images of all
classes count, because a copy may have the wrong class. If the run mirrors images in training, mirror images count too.

A tokenizer blurs, and blur changes distances. So the held-out images that set the limit pass through it, as samples do.
Training images that pass through it stand for a model that only copies: their score is the most to expect, and shows
what the measure is able to see. It does not see shifted or recoloured copies, nor copies of parts.
"""

import math
from collections.abc import Callable, Iterable
from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from minimaskgit import figures
from minimaskgit.data.images import ImageData, mirror, to_float
from minimaskgit.measuring.networks import Network
from minimaskgit.measuring.pictures import BATCH, Pictures, through_tokenizer
from minimaskgit.runs.origin import run_data
from minimaskgit.runs.run import Run

SHARE = 0.05  # of held-out images that are below the limit
SIDE = 32  # pixels of larger images are averaged, down to fewer than twice as many
PART = 1000  # real images compared at once
SHOWN = 8  # pictures in a row of the sheet
KINDS = ("samples", "held-out images")  # whose most suspicious pictures it shows

Embed = Callable[[Tensor], Tensor]  # images, uint8 (B, 3, S, S), to points (B, D)


class Nearest(NamedTuple):
    distances: Tensor  # (M,)
    indices: Tensor  # int64 (M,)


class Memory(NamedTuple):
    """What was found, by space: "pixels" and "features"."""

    scores: dict[str, float]  # fraction of samples below the limit
    copies: dict[str, float]  # the same of training images
    level: float  # fraction of held-out images below the limit
    chance: tuple[float, float]  # 95 % of models without memory score between these
    training: int  # number of training images
    sheet: Image.Image  # samples beside training images, which may not be ours to publish


# --- The measure ---


def nearest(points: Tensor, others: Tensor) -> Nearest:
    """The nearest of `others` (N, D) to each of the points (M, D)."""
    indices = torch.cdist(points, others).argmin(1)  # fast, but it rounds: a copy would not be at distance 0
    return Nearest((points - others[indices]).norm(dim=1), indices)


def relative(trained: Tensor, unseen: Tensor) -> Tensor:
    """Distances to training images over those to unseen ones, (M,); 1 if both are 0."""
    return (trained / unseen).nan_to_num(1.0, posinf=math.inf)


def rank(real: int, share: float = SHARE) -> int:
    """Which of `real` held-out images, in order of their relative distances, is the limit."""
    return max(1, int(share * (real + 1)))


def below(fake: Tensor, real: Tensor, share: float = SHARE) -> float:
    """Fraction of fakes, with relative distances (M,), below the limit that real images, (N,), set."""
    return (fake < real.kthvalue(rank(len(real), share)).values).float().mean().item()


def chance(fake: int, real: int, share: float = SHARE) -> tuple[float, float]:
    """The range in which `below` lies with 95 % probability if the fakes are distributed as the real ones."""
    from scipy.stats import betabinom  # here, because it takes a second to import

    # The fraction of the distribution below the k-th of N is beta distributed, and the number of fakes binomial.
    k = rank(real, share)
    low, high = betabinom(fake, k, real + 1 - k).ppf((0.025, 0.975)) / fake
    return float(low), float(high)


# --- The search ---


def pixels(images: Tensor) -> Tensor:
    """Images, uint8 (B, 3, S, S), as points (B, D)."""
    return F.avg_pool2d(to_float(images), max(1, images.shape[-1] // SIDE)).flatten(1)


def search(
    spaces: dict[str, Embed], queries: dict[str, Tensor], parts: Iterable[Tensor], total: int, flip: bool
) -> dict[str, Nearest]:
    """The nearest of `total` images, which come in parts, uint8 (B, 3, S, S), to each query, by space, on the CPU.

    flip: compare with mirror images too; that of image i has the index total + i.
    """
    none = lambda count: Nearest(torch.full((count,), math.inf), torch.zeros(count, dtype=torch.long))
    best = {name: none(len(points)) for name, points in queries.items()}
    done = 0
    with tqdm(total=total, desc="comparing", unit="image", dynamic_ncols=True) as bar:
        for images in parts:
            views = [(done, images), (total + done, images.flip(-1))]
            for (start, view), name in product(views[: 1 + flip], spaces):
                new = nearest(queries[name], embedded(spaces[name], view, queries[name].device))
                best[name] = nearer(best[name], Nearest(new.distances.cpu(), start + new.indices.cpu()))
            done += len(images)
            bar.update(len(images))
    return best


def nearer(a: Nearest, b: Nearest) -> Nearest:
    """For each point the nearer of two images."""
    closer = b.distances < a.distances
    return Nearest(*(torch.where(closer, new, old) for new, old in zip(b, a)))


def embedded(embed: Embed, images: Tensor, device: torch.device) -> Tensor:
    """Points (B, D) of any number of images."""
    parts = tqdm(images.split(BATCH), desc="looking", delay=2, leave=False)
    return torch.cat([embed(part.to(device)).float() for part in parts])


@torch.no_grad()
def measure_memory(
    run: Run, network: Network, generated: Pictures, second: Pictures, reference: Pictures, tokens: bool
) -> Memory:
    """Compare samples with all training images of the run.

    second: held-out images that set the limit. reference: those to which distances are measured. tokens: whether the
    samples came out of the tokenizer.
    """
    data, flip = run_data(run, "train", run.config.images.count), run.config.images.flip
    some = torch.arange(min(len(data), len(generated.labels)))
    sets = [generated.images]
    for real in (second, Pictures(*data.batch(some))):
        sets.append(through_tokenizer(run, real)[1] if tokens else real.images)
    spaces = {"pixels": pixels, "features": lambda images: network(images).features}
    queries = {
        name: torch.cat([embedded(embed, images, run.device) for images in sets]) for name, embed in spaces.items()
    }
    parts = (data.batch(some)[0] for some in torch.arange(len(data)).split(PART))
    trained = search(spaces, queries, parts, len(data), flip)
    unseen = search(spaces, queries, reference.images.split(PART), len(reference.labels), flip)
    scores, copies, rows, counts = {}, {}, {}, [len(images) for images in sets]
    for name in spaces:
        fake, real, copied = relative(trained[name].distances, unseen[name].distances).split(counts)
        scores[name], copies[name] = below(fake, real), below(copied, real)
        for what, ratios, images, known in zip(KINDS, (fake, real), sets, trained[name].indices.split(counts)):
            first = ratios.argsort(stable=True)[:SHOWN]
            rows[f"{what}\nnearest to training images, in {name}"] = images[first]
            rows[f"training images\nnearest to these {what}, in {name}"] = originals(data, known[first])
    sheet = figures.labelled_rows(rows, "The most suspicious first, above the training images nearest to them")
    level = rank(counts[1]) / (counts[1] + 1)
    return Memory(scores, copies, level, chance(*counts[:2]), len(data), sheet)


def memory_note(memory: Memory) -> str:
    """What a reader must know to interpret the scores."""
    low, high = memory.chance
    copies = ", ".join(f"{score:.4g} in {space}" for space, score in memory.copies.items())
    return (
        f"memory: fraction of samples nearer to one of {memory.training} training images, relative to held-out ones,"
        f" than all but {memory.level:.1%} of real images that were held out; without memory {low:.4g} to {high:.4g}"
        f" (95 %), copies of training images {copies}"
    )


def originals(data: ImageData, indices: Tensor) -> Tensor:
    """The training images or mirror images, uint8 (B, 3, S, S), that `search` has found."""
    return mirror(data.batch(indices % len(data))[0], indices >= len(data))
