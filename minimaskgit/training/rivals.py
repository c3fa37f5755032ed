"""The rivals' training: a GAN and a diffusion model, straight on the pixels (lesson 8; paper table 1).

One process trains them on whole batches. They ignore `accumulate`, which `accelerator.backward` would divide by.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from minimaskgit.rivals import diffusion, gan
from minimaskgit.rivals.diffusion import UNet, diffusion_loss
from minimaskgit.rivals.gan import (
    Discriminator,
    Generator,
    gan_d_loss,
    gan_g_loss,
    gradient_penalty,
)
from minimaskgit.runs.choices import Draw
from minimaskgit.runs.config import DiffusionTraining, GanTraining
from minimaskgit.training.checkpoint import Stateful
from minimaskgit.training.optimizers import averaged, clip_gradient, set_learning_rate, trapezoid
from minimaskgit.training.session import Session
from minimaskgit.training.sheet import show


def fit_and_show(
    session: Session,
    folder: Path,
    settings: GanTraining | DiffusionTraining,
    train_step: Callable[[int], Mapping[str, Tensor]],
    parts: Mapping[str, Stateful],
    draw: Draw,
) -> dict[str, float]:
    """`Session.fit`, with sample pictures; returns the elapsed seconds, and the last samples' FD if it is asked for.

    draw: makes images from labels (B,) and a random generator.
    """

    def picture(done: int) -> dict[str, float]:
        return show(session, draw, f"{folder.name}, step {done}", folder / "pictures" / f"step_{done:06d}.png")

    batch = partial(session.indices, len(session.train), settings.batch_size)
    seconds = session.fit(folder, settings.steps, train_step, parts, picture, batch=batch)
    found = show(session, draw, folder.name, folder / "samples.png")
    print(f"samples: {folder / 'samples.png'}")
    return {"seconds": seconds} | found


def train_diffusion(session: Session, folder: Path) -> tuple[UNet, dict[str, float]]:
    """Train with checkpoints in `folder`; returns the moving average of the model, and what to record."""
    shape, settings, seed = session.config.diffusion, session.config.diffusion_training, session.config.seed
    torch.manual_seed(seed)
    size, classes = session.config.images.size, session.train.num_classes
    model = UNet(size, classes, shape.width, shape.multipliers, shape.patch, shape.attention_side).to(session.device)
    ema = averaged(model, settings.ema_decay)
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, betas=(0.9, 0.99), weight_decay=0.01)

    def step(step: int) -> dict[str, Tensor]:
        images, labels = session.images(step, settings.batch_size, seed)
        dropped = torch.rand(len(labels), device=labels.device) < settings.class_dropout
        with session.autocast():
            loss = diffusion_loss(model, images, torch.where(dropped, classes, labels))
        rate = trapezoid(step, settings.steps, settings.warmup, settings.cooldown)
        set_learning_rate(optimizer, settings.learning_rate * rate)
        optimizer.zero_grad()
        loss.backward()
        norm = clip_gradient(model, settings.clip)
        optimizer.step()
        ema.update_parameters(model)
        return {"loss": loss, "grad_norm": norm}

    def draw(labels: Tensor, generator: torch.Generator) -> Tensor:
        return diffusion.sample(ema.module, labels, 25, "ddim", generator)

    parts = {"model": model, "ema": ema, "optimizer": optimizer}
    return ema.module, fit_and_show(session, folder, settings, step, parts, draw)


PENALTY_EVERY = 4  # steps; differentiating a gradient is expensive, and 4 times the weight every 4 steps works as well


def train_gan(session: Session, folder: Path) -> tuple[Generator, dict[str, float]]:
    """Train with checkpoints in `folder`; returns the moving average of the generator, and what to record."""
    shape, settings, seed = session.config.gan, session.config.gan_training, session.config.seed
    torch.manual_seed(seed)
    size, classes = session.config.images.size, session.train.num_classes
    model = Generator(size, classes, shape.latent, shape.width, shape.multipliers, shape.patch).to(session.device)
    discriminator = Discriminator(size, classes, shape.width, shape.multipliers, shape.patch).to(session.device)
    ema = averaged(model, settings.ema_decay, buffers=True)
    optimizer, d_optimizer = (
        torch.optim.Adam(part.parameters(), rate, betas=(0.0, 0.99))  # no momentum, because the goal keeps moving
        for part, rate in ((model, settings.learning_rate), (discriminator, settings.d_learning_rate))
    )

    def update(optimizer: torch.optim.Optimizer, loss: Tensor, rate: float) -> None:
        set_learning_rate(optimizer, rate)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def step(step: int) -> dict[str, Tensor]:
        images, labels = session.images(step, settings.batch_size, seed)
        rate = trapezoid(step, settings.steps, settings.warmup, settings.cooldown)
        with session.autocast():
            fake = model(torch.randn(len(labels), model.latent, device=labels.device), labels)
            d_loss = gan_d_loss(discriminator, images, fake, labels)
        total = d_loss
        if settings.penalty and step % PENALTY_EVERY == 0:  # in float32, because it is differentiated twice
            total = d_loss + settings.penalty / 2 * PENALTY_EVERY * gradient_penalty(discriminator, images, labels)
        update(d_optimizer, total, settings.d_learning_rate * rate)
        discriminator.requires_grad_(False)  # updated above; here it only scores
        with session.autocast():
            g_loss = gan_g_loss(discriminator, fake, labels)
        update(optimizer, g_loss, settings.learning_rate * rate)
        discriminator.requires_grad_(True)
        ema.update_parameters(model)
        return {"generator": g_loss, "discriminator": d_loss}

    def draw(labels: Tensor, generator: torch.Generator) -> Tensor:
        return gan.sample(ema.module, labels, generator)

    parts = {"model": model, "discriminator": discriminator, "ema": ema}
    parts |= {"optimizer": optimizer, "d_optimizer": d_optimizer}
    return ema.module, fit_and_show(session, folder, settings, step, parts, draw)
