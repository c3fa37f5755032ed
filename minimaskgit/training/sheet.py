"""The sample sheet of a model in training: one column per class, always from the run's seed.

labels (B,), random generator ──draw──> images (B, 3, H, W) ──> PNG
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from minimaskgit import figures
from minimaskgit.training.session import Session


@torch.no_grad()
def sample_sheet(session: Session, draw: Callable[[Tensor, torch.Generator], Tensor], heading: str, path: Path) -> Path:
    """Draw four samples of each of the first ten classes, save them as PNG, and return its path."""
    names = session.train.label_names[:10]
    labels = torch.arange(len(names), device=session.device).repeat(4)
    generator = torch.Generator(session.device).manual_seed(session.config.seed)
    with session.autocast():
        images = draw(labels, generator)
    return figures.save_png(figures.grid(images, columns=len(names), heading=heading), path)
