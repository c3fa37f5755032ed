"""Samplers with one signature for MaskGIT, its autoregressive twin and the rivals (lesson 8; paper table 1).

    classes (B,), random generator ──sampler──> images (B, 3, H, W)

`passes` counts evaluations per image of the main network: transformer, generator or U-Net. A step with guidance takes
two. After a transformer the tokenizer's decoder runs once, which is not counted.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from minimaskgit import autoregressive
from minimaskgit.common.errors import UserError
from minimaskgit.decoding import Step
from minimaskgit.rivals import diffusion, gan
from minimaskgit.runs.choices import Draw, Loop, check_steps, count_passes, decoding_loop, described
from minimaskgit.runs.config import DecodingConfig
from minimaskgit.runs.models import training_seconds
from minimaskgit.runs.run import Run
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.training.estimate import parameters
from minimaskgit.transformer import Transformer


@torch.no_grad()
def generate(
    run: Run,
    tokenizer: Tokenizer,
    model: Transformer,
    labels: Tensor,
    loop: Loop,
    generator: torch.Generator,
) -> tuple[list[Step], Tensor]:
    """Generate images with MaskGIT; return all decoding steps and the final images (B, 3, H, W).

    loop: `choices.decoding_loop`, or another decoder's.
    """
    with run.autocast():
        steps = list(loop(model, labels, generator=generator))
        return steps, tokenizer.decode(steps[-1].tokens)


# The training stages that each sampler depends on.
NEEDS = {
    "maskgit": ("classifier", "tokenizer", "transformer"),
    "autoregressive": ("classifier", "tokenizer", "autoregressive"),
    "gan": ("gan",),
    "diffusion": ("diffusion",),
}
DIFFUSION_STEPS = 250  # as in ADM
DDPM_FROM = 100  # steps; below that DDIM is used, which needs fewer steps


@dataclass(frozen=True)
class Sampler:
    """A model with its decoding settings, ready to draw images."""

    kind: str  # a key of NEEDS
    passes: int  # network evaluations per image
    settings: dict  # as written to the JSON file
    parameters: int  # of all networks needed to make an image
    training_seconds: float  # of all stages that it depends on
    draw: Draw


def maskgit_sampler(run: Run, settings: DecodingConfig) -> Sampler:
    """Parallel decoding; UserError for more steps than tokens."""
    tokenizer, model = run.tokenizer(), run.transformer()
    check_steps(settings.steps, model.num_tokens)
    loop = decoding_loop(settings, run)
    draw = lambda labels, generator: generate(run, tokenizer, model, labels, loop, generator)[1]
    parts = [model, tokenizer.quantizer, tokenizer.decoder]
    return _sampler(run, "maskgit", count_passes(settings), described(settings), parts, draw)


def autoregressive_sampler(run: Run, cache: bool = True) -> Sampler:
    """Raster order, one token per pass."""
    tokenizer, model = run.tokenizer(), run.autoregressive()
    make = partial(autoregressive.generate, model, cache=cache)
    draw = lambda labels, generator: tokenizer.decode(make(labels, generator=generator))
    how, parts = {"cache": cache, "temperature": 1.0}, [model, tokenizer.quantizer, tokenizer.decoder]
    return _sampler(run, "autoregressive", model.num_tokens, how, parts, draw)


def gan_sampler(run: Run) -> Sampler:
    """One pass of the generator, with untruncated z."""
    model = run.gan()
    return _sampler(run, "gan", 1, {"truncation": None}, [model], partial(gan.sample, model))


def diffusion_sampler(run: Run, steps: int = DIFFUSION_STEPS) -> Sampler:
    """`steps` passes of the U-Net without guidance: DDPM for DDPM_FROM or more, otherwise DDIM."""
    if steps < 1:
        raise UserError(f"--steps {steps}: expected 1 or more")
    model = run.diffusion()
    how = {"steps": steps, "method": "ddpm" if steps >= DDPM_FROM else "ddim"}
    draw = lambda labels, generator: diffusion.sample(model, labels, generator=generator, **how)
    return _sampler(run, "diffusion", steps, how, [model], draw)


def _sampler(run: Run, kind: str, passes: int, settings: dict, parts: list[nn.Module], draw: Draw) -> Sampler:
    seconds = sum(training_seconds(run.folder, NEEDS[kind]).values())
    return Sampler(kind, passes, settings, sum(map(parameters, parts)), seconds, draw)
