"""What a user chooses when decoding: the number of steps, the classes, and settings that replace the run's own."""

from dataclasses import replace

import torch
from torch import Tensor

from minimaskgit.common.errors import UserError
from minimaskgit.data.sources import find_classes
from minimaskgit.decoders.loop import Decoder
from minimaskgit.decoders.named import decoder
from minimaskgit.runs.config import DecodingConfig, decoding_arguments
from minimaskgit.runs.run import Run
from minimaskgit.schedules import SCHEDULES

# Settings that the paper does not have, at values with which they do nothing.
PAPERS_SAMPLING = {"guidance_start": 0.0, "sampling_temperature": 1.0, "top_p": 1.0}


def decoding_options(run: Run, settings: DecodingConfig, seed: int) -> dict:
    """Settings and seed as arguments of `decode_steps`."""
    return decoding_arguments(settings) | {"generator": torch.Generator(run.device).manual_seed(seed)}


def decoding_settings(default: DecodingConfig, options: object) -> DecodingConfig:
    """The run's decoding settings, with those of a command's `options` that are not None."""
    names = ("steps", "schedule", "temperature", "guidance")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    return replace(default, **given)


def chosen_decoder(run: Run, settings: DecodingConfig, options: object) -> tuple[Decoder | None, dict]:
    """A command's decoder and its settings beyond the paper's; None for the paper's own.

    UserError for the critic's in a run without a critic.
    """
    extras = {name: getattr(options, name) for name in PAPERS_SAMPLING}
    if options.decoder == "maskgit" and extras == PAPERS_SAMPLING:
        return None, {}
    how = {"schedule": SCHEDULES[settings.schedule], "temperature": settings.temperature, "guidance": settings.guidance}
    critic = run.critic() if options.decoder == "critic" else None
    return decoder(options.decoder, **how, **extras, critic=critic), {"decoder": options.decoder, **extras}


def check_steps(steps: int, num_tokens: int) -> None:
    """UserError unless 1 <= steps <= N, because every step must decode at least one token."""
    if not 1 <= steps <= num_tokens:
        raise UserError(f"--steps {steps}: expected 1 to {num_tokens}, the number of tokens of an image")


def choose_labels(run: Run, label: str | None, count: int) -> Tensor:
    """`count` labels (B,): all of the class called `label`, or the classes in turn."""
    chosen = find_classes([label] if label is not None else (), run.label_names)
    return torch.tensor([chosen[i % len(chosen)] for i in range(count)], device=run.device)
