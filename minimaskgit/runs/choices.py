"""What a user chooses when decoding: the number of steps, the classes, and settings that replace the run's own."""

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import partial

import torch
from torch import Tensor

from minimaskgit.common.errors import UserError
from minimaskgit.data.sources import find_classes
from minimaskgit.decoders import loop
from minimaskgit.decoders.loop import Decoder
from minimaskgit.decoders.named import decoder as named
from minimaskgit.decoding import Step, decode_steps
from minimaskgit.runs.config import DecodingConfig, decoding_arguments
from minimaskgit.runs.run import Run
from minimaskgit.schedules import SCHEDULES

# Settings that the paper does not have, at the values with which decoding is the paper's.
PAPERS = {"decoder": "maskgit", "sampling_temperature": 1.0, "top_p": 1.0, "guidance_start": 0.0}


def decoding_settings(default: DecodingConfig, options: object) -> DecodingConfig:
    """The run's decoding settings, with those of a command's `options` that it has and that are not None."""
    given = {field.name: getattr(options, field.name, None) for field in fields(default)}
    return replace(default, **{name: value for name, value in given.items() if value is not None})


def beyond_the_paper(settings: DecodingConfig) -> dict[str, str | float]:
    """The settings that the paper does not have and that change what it does."""
    return {name: getattr(settings, name) for name, value in PAPERS.items() if getattr(settings, name) != value}


def chosen_decoder(settings: DecodingConfig, run: Run | None = None) -> Decoder | None:
    """The decoder that the settings choose; None for the paper's own loop.

    run: the one whose transformer decodes; UserError if the settings ask for a critic and it has none.
    """
    if not beyond_the_paper(settings):
        return None
    if settings.decoder == "critic" and run is None:
        raise UserError("decoder critic: a transformer in training has no critic; expected another decoder")
    how = {name: value for name, value in vars(settings).items() if name not in ("steps", "decoder")}
    critic = run.critic() if settings.decoder == "critic" else None
    return named(settings.decoder, **how | {"schedule": SCHEDULES[settings.schedule], "critic": critic})


def decoding_loop(settings: DecodingConfig, decoder: Decoder | None = None) -> Callable[..., Iterator[Step]]:
    """`decode_steps` with these settings, or the loop of the decoder that they choose, with the same arguments.

    Whatever decodes with a run's settings decodes with this. decoder: another one, whatever the settings say.
    """
    decoder = decoder or chosen_decoder(settings)
    if decoder is None:
        return partial(decode_steps, **decoding_arguments(settings))
    return partial(loop.run, decoder, steps=settings.steps)


def editing_options(run: Run, settings: DecodingConfig, seed: int) -> dict:
    """Settings and seed as arguments of `editing.edit_steps`."""
    decode = decoding_loop(settings, chosen_decoder(settings, run))
    return {"loop": decode, "steps": settings.steps, "generator": torch.Generator(run.device).manual_seed(seed)}


def check_steps(steps: int, num_tokens: int) -> None:
    """UserError unless 1 <= steps <= N, because every step must decode at least one token."""
    if not 1 <= steps <= num_tokens:
        raise UserError(f"--steps {steps}: expected 1 to {num_tokens}, the number of tokens of an image")


def choose_labels(run: Run, label: str | None, count: int) -> Tensor:
    """`count` labels (B,): all of the class called `label`, or the classes in turn."""
    chosen = find_classes([label] if label is not None else (), run.label_names)
    return torch.tensor([chosen[i % len(chosen)] for i in range(count)], device=run.device)
