"""What a user chooses when decoding: the number of steps, the classes, and settings that replace the run's own."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Annotated, Any, Literal

import torch
import tyro
from torch import Tensor

from minimaskgit.common import cli
from minimaskgit.common.errors import UserError
from minimaskgit.data.classes import find_classes
from minimaskgit.decoders import loop
from minimaskgit.decoders.counts import ROUNDINGS, Rounding
from minimaskgit.decoders.loop import Decoder
from minimaskgit.decoders.named import UNUSED, DecoderName
from minimaskgit.decoders.named import decoder as named
from minimaskgit.decoders.policy import Policy, decoder_of
from minimaskgit.decoders.sampling import late_guidance
from minimaskgit.decoding import Step, decode_steps
from minimaskgit.runs.config import DecodingConfig, Fraction, Rate, Share, Strength
from minimaskgit.runs.run import Run, packaged
from minimaskgit.runs.searched import NAME, read_searched
from minimaskgit.schedules import SCHEDULES

Loop = Callable[..., Iterator[Step]]  # as `decode_steps`: model, labels and perhaps a canvas to its decoding steps
Draw = Callable[[Tensor, torch.Generator], Tensor]  # of any model: labels (B,) to floats (B, 3, H, W) in [0, 1]

# What --decoder takes where whole images are made: "searched" is the policy that minimaskgit.search found.
AnyDecoderName = Literal[DecoderName, "searched"]

# Settings that the paper does not have, at the values with which decoding is the paper's.
PAPERS = {"decoder": "maskgit", "sampling_temperature": 1.0, "top_p": 1.0, "guidance_start": 0.0, "rounding": "exact"}


@dataclass(frozen=True)
class DecodingOptions:
    """Options of every command that decodes, beside --steps, --schedule and --decoder."""

    # temperature of the choice noise at the first step; 0: always keep the most confident tokens (default: the run's)
    temperature: Strength | None = None
    guidance: Strength | None = None  # guidance weight; 0: none (needs class dropout in training; default: the run's)
    sampling_temperature: Rate | None = None  # temperature of the distributions of tokens (default: the run's)
    top_p: Share | None = None  # draw only from the likeliest codes with this total probability (default: the run's)
    guidance_start: Fraction | None = None  # progress, 0 to 1, after which guidance begins (default: the run's)
    rounding: Rounding | None = None  # count masked tokens exactly, or as the released code (default: the run's)


Unprefixed = Annotated[DecodingOptions, tyro.conf.arg(name="")]  # --top-p instead of --decoding.top-p


def given(options: object) -> dict[str, Any]:
    """The decoding settings that a command's options replace: those of its options that are not None."""
    shared = {name: getattr(options, name, None) for name in ("steps", "schedule", "decoder")}
    return {name: value for name, value in (shared | vars(options.decoding)).items() if value is not None}


def decoding_settings(run: Run, chosen: Mapping[str, Any]) -> DecodingConfig:
    """The run's decoding settings, with those replaced that are `chosen`, such as the result of `given`.

    UserError for an option that the decoder has no use for, and for guidance of a model that cannot do without a class.
    """
    settings = replace(run.config.decoding, **chosen)
    for name in UNUSED.get(settings.decoder, ()):
        if name in chosen:
            raise UserError(f"--{name.replace('_', '-')} does nothing with --decoder {settings.decoder}; leave it out")
    if chosen.get("guidance_start") and not settings.guidance:
        raise UserError(
            f"--guidance-start {settings.guidance_start} does nothing without guidance; give --guidance too"
        )
    if settings.guidance and settings.guidance_start == 1:
        raise UserError("--guidance-start 1: guidance would never begin; expected less than 1")
    check_guidance(run, settings)
    return settings


def check_guidance(run: Run, settings: DecodingConfig) -> None:
    """UserError for guidance of a transformer that was always trained with a class: it does not know "no class"."""
    if settings.guidance and not run.config.transformer_training.class_dropout:
        given, cure = f"--guidance {settings.guidance}", "use --guidance 0"
        if settings.guidance == run.config.decoding.guidance:  # of a run that training would refuse today
            given = f"decoding.guidance {settings.guidance} in {run.folder / 'config.json'}"
            cure = "make it 0 there"
        raise UserError(
            f"{given}: guidance compares predictions with and without a class, and {run.folder} was only trained with"
            f" one; {cure}, or use a run trained with --transformer-training.class-dropout 0.1"
        )


@dataclass(frozen=True)
class SearchedConfig(DecodingConfig):
    """A run's settings with a policy for T steps; with another number of steps they are the run's own."""

    policy: Policy | None = None

    @property
    def in_use(self) -> bool:
        return self.policy is not None and self.policy.steps == self.steps


def image_settings(run: Run, options: object) -> DecodingConfig:
    """The settings for whole images: those of `options` or the run, or, if only T is given, the policy found for T.

    UserError if --decoder searched finds none, or comes with settings that each step has for itself.
    """
    chosen = given(options)
    if options.decoder != "searched" and chosen.keys() - {"steps"}:
        return decoding_settings(run, chosen)
    for name in (name for name in chosen if name not in ("steps", "decoder")):
        option = f"--{name.replace('_', '-')}"
        raise UserError(f"{option} cannot be used with --decoder searched, which sets it for each step")
    steps = run.config.decoding.steps if options.steps is None else options.steps
    policies = {T: found.policy for T, found in read_searched(run.folder).policies.items()}
    if options.decoder and steps not in policies:
        first, folder = ("copy the folder and ", "COPY") if packaged(run.folder) else ("", run.folder)
        raise UserError(
            f"--decoder searched: {run.folder} has no policy for {steps} steps"
            f" ({'it has those for ' + ', '.join(map(str, policies)) if policies else 'nor for any other'});"
            f" {first}find one with {cli.typed('search', '--run', folder, '--steps', steps)}"
        )
    settings = replace(run.config.decoding, steps=steps)
    if steps in policies:  # whose guidance replaces the run's
        return SearchedConfig(**vars(settings), policy=policies[steps])
    check_guidance(run, settings)
    return settings


def decoder_name(settings: DecodingConfig) -> str:
    """The decoder that the settings choose, by its name on the command line."""
    return "searched" if isinstance(settings, SearchedConfig) and settings.in_use else settings.decoder


def described(settings: DecodingConfig) -> dict[str, Any]:
    """The settings that decoding uses, for a report."""
    if decoder_name(settings) == "searched":
        return {"steps": settings.steps, "decoder": "searched", "policy": asdict(settings.policy)}
    return {field.name: getattr(settings, field.name) for field in fields(DecodingConfig)}


def recorded(settings: DecodingConfig) -> dict[str, Any]:
    """The settings as kept with measurements, without a default that earlier measurements did not know."""
    return {name: value for name, value in asdict(settings).items() if (name, value) != ("rounding", "exact")}


def passes_by_step(settings: DecodingConfig) -> list[int]:
    """How many passes of the transformer each step takes: one, or two with guidance."""
    if decoder_name(settings) == "searched":
        weights = settings.policy.guidance
    else:
        weight = late_guidance(settings.guidance, settings.guidance_start)
        weights = [weight((t + 1) / settings.steps) for t in range(settings.steps)]
    return [1 + (weight > 0) for weight in weights]


def count_passes(settings: DecodingConfig) -> int:
    """How many passes of the transformer an image takes."""
    return sum(passes_by_step(settings))


def at_steps(settings: DecodingConfig, steps: int, run: Run) -> DecodingConfig:
    """The same settings for another number of steps, with the policy searched for so many if they had one."""
    if not isinstance(settings, SearchedConfig):
        return replace(settings, steps=steps)
    found = read_searched(run.folder).policies.get(steps)
    return replace(settings, steps=steps, policy=found.policy if found else None)


def beyond_the_paper(settings: DecodingConfig) -> dict[str, str | float]:
    """The settings that the paper does not have and that change what it does."""
    return {name: getattr(settings, name) for name, value in PAPERS.items() if getattr(settings, name) != value}


def note_decoder(settings: DecodingConfig) -> None:
    """Print the settings that the paper does not have, if there are any: they may be the run's, unseen by the user."""
    if decoder_name(settings) == "searched":
        print(f"decoding: decoder searched, the policy of {NAME} for {settings.steps} steps")
    elif beyond := beyond_the_paper(settings):
        print(f"decoding: {', '.join(f'{name} {value}' for name, value in beyond.items())}")


def chosen_decoder(settings: DecodingConfig, run: Run | None = None) -> Decoder | None:
    """The decoder that the settings choose; None for the paper's own loop.

    run: the one whose transformer decodes; UserError if the settings ask for a critic and it has none.
    """
    if decoder_name(settings) == "searched":
        return decoder_of(settings.policy, run.critic() if settings.policy.doubted and run else None)
    if not beyond_the_paper(settings).keys() - {"rounding"}:  # which the paper's loop knows
        return None
    if settings.decoder == "critic" and run is None:
        raise UserError("decoder critic: a transformer in training has no critic; expected another decoder")
    how = {name: value for name, value in described(settings).items() if name not in ("steps", "decoder")}
    critic = run.critic() if settings.decoder == "critic" else None
    return named(settings.decoder, **how | {"schedule": SCHEDULES[settings.schedule], "critic": critic})


def decoding_loop(settings: DecodingConfig, run: Run | None = None) -> Loop:
    """`decode_steps` with these settings, or the loop of the decoder that they choose, with the same arguments.

    Whatever decodes with a run's settings decodes with this. run: as for `chosen_decoder`, which may load its critic;
    UserError for guidance that its transformer does not know.
    """
    if run and decoder_name(settings) != "searched":
        check_guidance(run, settings)
    decoder = chosen_decoder(settings, run)
    if decoder is None:
        how = {name: getattr(settings, name) for name in ("steps", "temperature", "guidance")}
        return partial(decode_steps, schedule=SCHEDULES[settings.schedule], count=ROUNDINGS[settings.rounding], **how)
    return partial(loop.run, decoder, steps=settings.steps)


def watched(loop: Loop, update: Callable[[], object]) -> Loop:
    """The same loop, which calls `update` after each step."""

    def steps(*arguments, **options) -> Iterator[Step]:
        for step in loop(*arguments, **options):
            update()
            yield step

    return steps


def editing_options(run: Run, settings: DecodingConfig, seed: int) -> dict:
    """Settings and seed as arguments of `editing.edit_steps`; policies are for whole images, and not used."""
    if isinstance(settings, SearchedConfig):
        settings = replace(settings, policy=None)
    generator = torch.Generator(run.device).manual_seed(seed)
    return {"loop": decoding_loop(settings, run), "steps": settings.steps, "generator": generator}


def check_steps(steps: int, num_tokens: int) -> None:
    """UserError unless 1 <= steps <= N, because every step must decode at least one token."""
    if not 1 <= steps <= num_tokens:
        raise UserError(f"--steps {steps}: expected 1 to {num_tokens}, the number of tokens of an image")


def choose_labels(run: Run, count: int, names: Sequence[str] = ()) -> Tensor:
    """`count` labels (B,): the classes with these names in turn, by default all classes."""
    chosen = find_classes(names, run.label_names)
    return torch.tensor([chosen[i % len(chosen)] for i in range(count)], device=run.device)
