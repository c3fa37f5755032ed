"""What MaskGIT was compared with: a GAN and a diffusion model, small, on the same pictures (lesson 8; paper table 1).

MaskGIT    tokens, all of them masked ──8 passes, more tokens are fixed in each──> image
gan        noise vector ───────────────1 pass────────────────────────────────────> image
diffusion  noise picture ──────────────T passes, less noise after each───────────> image     (T = 250 in ADM)
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from minimaskgit import figures

if TYPE_CHECKING:
    from minimaskgit.checkpoint import Stateful
    from minimaskgit.config import DiffusionTraining, GanTraining
    from minimaskgit.train import Session


def fit_and_show(
    session: "Session",
    folder: Path,
    settings: "GanTraining | DiffusionTraining",
    train_step: Callable[[int], Mapping[str, Tensor]],
    parts: Mapping[str, "Stateful"],
    draw: Callable[[Tensor, torch.Generator], Tensor],
) -> float:
    """`Session.fit`, with pictures of what `draw` makes of labels (B,) and a random generator; gives the seconds."""
    names = session.train.label_names[:10]

    def sheet(heading: str, path: Path) -> Path:
        labels = torch.arange(len(names), device=session.device).repeat(4)  # one column a class
        generator = torch.Generator(session.device).manual_seed(session.config.seed)
        with session.autocast():
            images = draw(labels, generator)
        return figures.save_png(figures.grid(images, columns=len(names), heading=heading), path)

    def picture(done: int) -> Path:
        return sheet(f"{folder.name}, step {done}", folder / "pictures" / f"step_{done:06d}.png")

    batch = partial(session.numbers, len(session.train), settings.batch_size)
    seconds = session.fit(folder, settings.steps, train_step, parts, picture, batch=batch)
    print(f"samples: {sheet(folder.name, folder / 'samples.png')}")
    return seconds
