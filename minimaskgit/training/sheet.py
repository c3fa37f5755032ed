"""What a model in training makes: a sheet of samples, and their FD from real images (lesson 8).

    labels (B,), random generator ──draw──> images (B, 3, H, W) ──> PNG, a column per class
                                                              └──> features ──┐
                                                   validation images ──> features ──> FD

The FD shows whether training still helps. It needs few samples and no judge: its features are those of the perceptual
network, against which the tokenizer was trained. So compare models by `evaluate`, whose judge is independent.
"""

from pathlib import Path

import torch
from tqdm.auto import tqdm

from minimaskgit import figures
from minimaskgit.classifier import Classifier
from minimaskgit.data.images import to_float
from minimaskgit.metrics import feature_statistics, frechet_distance
from minimaskgit.runs.choices import Draw
from minimaskgit.runs.models import load_model
from minimaskgit.training.session import Session

BATCH = 100  # images drawn at once


def show(session: Session, draw: Draw, heading: str, path: Path) -> dict[str, float]:
    """Save the sample sheet as PNG; returns the samples' FD if --fd-samples asks for it, which needs RUN/classifier."""
    if not session.config.fd_samples:
        sample_sheet(session, draw, heading, path)
        return {}
    fd = distance(session, draw)
    sample_sheet(session, draw, f"{heading}, FD {fd:.4g}", path)
    return {"fd": fd}


@torch.no_grad()
def sample_sheet(session: Session, draw: Draw, heading: str, path: Path) -> None:
    """Draw four samples of each of the first ten classes, always from the run's seed, and save them as PNG."""
    names = session.train.label_names[:10]
    labels = torch.arange(len(names), device=session.device).repeat(4)
    with session.autocast():
        images = draw(labels, seeded(session))
    figures.save_png(figures.grid(images, columns=len(names), heading=heading), path)


@torch.no_grad()
def distance(session: Session, draw: Draw) -> float:
    """Fréchet distance between --fd-samples samples, the classes in turn, and the run's validation images."""
    network = load_model(Classifier, session.folder / "classifier").to(session.device)
    labels = torch.arange(session.config.fd_samples, device=session.device) % session.train.num_classes
    generator, drawn, real = seeded(session), [], []
    for part in tqdm(labels.split(BATCH), "samples for the FD", unit="batch", delay=2, leave=False):
        with session.autocast():
            images = draw(part, generator)
        drawn.append(network.pooled(images.float()))
    for part in torch.arange(len(session.valid)).split(BATCH):
        real.append(network.pooled(to_float(session.valid.batch(part)[0].to(session.device))))
    return frechet_distance(*feature_statistics(torch.cat(drawn)), *feature_statistics(torch.cat(real))).item()


def seeded(session: Session) -> torch.Generator:
    return torch.Generator(session.device).manual_seed(session.config.seed)
