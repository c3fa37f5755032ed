"""The ablation of mask schedules: one transformer per schedule, all measured alike (lesson 3; paper table 3).

    the run's tokens ──> a transformer trained with each gamma ──> decoded with the same gamma, T = 1, 2, 4, ... N
                                            └──> NLL of held-out tokens          └──> FD, class accuracy; the best T

FD uses the judge's features and compares with real images that went through the tokenizer, so it measures the
transformer alone. Everything but the schedule is the same: tokenizer, initial weights, batches, number of steps, seeds
and numbers of samples. With 0 training steps, the run's own transformer is decoded with every schedule. BERT's constant
15 % can train but not decode, because a ratio that never falls never unmasks everything. Its transformer decodes with
the cosine, and does badly: it only saw canvases with a few holes, and decoding starts from a blank one.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

import torch
from torch import Tensor
from tqdm.auto import tqdm

from minimaskgit.common.errors import UserError
from minimaskgit.common.files import read_kept, write_json
from minimaskgit.common.machine import machine
from minimaskgit.common.timing import refresh_interval
from minimaskgit.decoders.named import UNUSED
from minimaskgit.masking import draw_masks, masked_cross_entropy
from minimaskgit.measuring.findings import findings, notes
from minimaskgit.measuring.networks import feature_names, judge_network, look
from minimaskgit.measuring.pictures import BATCH, sample
from minimaskgit.measuring.scores import fd
from minimaskgit.measuring.yardstick import COMMON_STEPS, PAPER, Options, Yardstick, make_yardstick
from minimaskgit.runs.choices import beyond_the_paper, choose_labels, decoding_loop, decoding_settings, given
from minimaskgit.runs.config import Config, DecodingConfig
from minimaskgit.runs.models import digest, load_model
from minimaskgit.runs.run import Run
from minimaskgit.schedules import SCHEDULES, Schedule, cosine
from minimaskgit.training.lock import locked
from minimaskgit.training.processes import connect
from minimaskgit.training.session import finished, start_session
from minimaskgit.training.transformer import train_transformer
from minimaskgit.transformer import Transformer

AGAIN = "measure or train again"
FRACTIONS = (0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 1.0)  # fractions masked, at which the likelihood is measured


def ablate(run: Run, options: Options) -> dict:
    """Run the whole ablation; return the contents of ablation.json."""
    if options.train_steps:
        train_all(run, options)
    yardstick, floor = make_yardstick(run, options)
    rows = measure_all(run, options, yardstick)
    decoding, training = decoding_of(run, options), run.config.transformer_training
    return {
        "run": str(run.folder),
        "quick": options.quick,
        "training": {"steps": options.train_steps, "batch_size": training.batch_size, "seed": run.config.seed}
        if options.train_steps
        else {"steps": 0, "schedule": training.schedule},
        "decoding": {"steps": options.steps, **same_for_all(decoding)},
        "tokens": yardstick.tokenizer.num_tokens,
        "samples": options.samples,
        "seed": options.seed,
        "real": {"data": run.config.data, "reference": len(yardstick.reference.features)} | floor,
        "features": feature_names(run, "classifier"),
        "rows": rows,
        "findings": {key: findings(rows, key) for key in ("fd", "fd_real")},
        "notes": notes(run, options, yardstick),
        "machine": machine(run.device),
    }


# --- Training: one transformer per schedule ---


def decoding_schedule(name: str) -> str:
    """The schedule that decodes a transformer trained with `name`: the same one, but the cosine for BERT's constant."""
    return "cosine" if name == "bert" else name


def decoding_of(run: Run, options: Options) -> DecodingConfig:
    """How images are decoded, but for steps and schedule; UserError for a decoder that follows no mask schedule."""
    settings = decoding_settings(run, given(replace(options, steps=None)))
    if "schedule" in UNUSED.get(settings.decoder, ()):
        raise UserError(
            f"--decoder {settings.decoder} follows no mask schedule, and mask schedules are compared; choose another"
        )
    return settings


def critics(run: Run, options: Options) -> Run | None:
    """The run whose critic may take part: none has seen a transformer that is trained here."""
    return None if options.train_steps else run


def same_for_all(settings: DecodingConfig) -> dict[str, str | float]:
    """The settings of decoding that all points share, as recorded with them."""
    shared = {"temperature": settings.temperature, "guidance": settings.guidance}
    return shared | beyond_the_paper(settings)  # a default is left out, as in measurements made before it was a setting


def settings_of(config: Config, name: str, steps: int) -> Config:
    """The run's settings with another schedule and number of training steps."""
    return replace(
        config,
        fd_samples=0,  # the finished models are measured
        transformer_training=replace(config.transformer_training, schedule=name, steps=steps),
        decoding=replace(config.decoding, schedule=decoding_schedule(name)),
    )


def record_training(run: Run, name: str, options: Options) -> None:
    """Record how one schedule's transformer is trained; UserError if its folder holds one trained differently."""
    folder, config = options.out / name, settings_of(run.config, name, options.train_steps)
    facts = asdict(config.transformer_training) | {
        "seed": config.seed,
        "shape": asdict(config.transformer),
        "tokenizer": digest(run.folder / "tokenizer"),
    }
    facts, recorded = json.loads(json.dumps(facts)), read_kept(folder / "training.json", AGAIN)
    for key in facts if recorded else ():
        if recorded.get(key) != facts[key]:
            raise UserError(
                f"{folder} holds a transformer trained differently ({key} is {recorded.get(key)!r} there and"
                f" {facts[key]!r} here); expected the same training for all: choose another --out, or delete the folder"
            )
    write_json(folder / "training.json", facts)


def train_all(run: Run, options: Options) -> None:
    """Train a transformer with each schedule; finished transformers are kept, and unfinished ones are resumed."""
    with locked(options.out, connect(run.device.type)):
        for name in options.schedules:
            record_training(run, name, options)
        session = start_session(replace(run.config, precision=run.precision), run.folder, run.device.type)
        for number, name in enumerate(options.schedules, 1):
            print(f"transformer {number} of {len(options.schedules)}, {options.train_steps} steps with {name}")
            folder, config = options.out / name, settings_of(session.config, name, options.train_steps)
            if not finished(session, folder):
                train_transformer(replace(session, config=config), causal=False, folder=folder)


def measure_all(run: Run, options: Options, yardstick: Yardstick) -> list[dict]:
    """Measure a row for each schedule; the progress bar counts decoding steps times images, which take the time."""
    total, rows = len(options.schedules) * sum(options.steps) * options.samples, []
    try:
        often = refresh_interval()
        with tqdm(total=total, desc="decoding", unit="step", unit_scale=True, mininterval=often) as bar:
            for name in options.schedules:
                bar.set_postfix_str(name)
                rows.append(measure(run, name, options, yardstick, bar))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"finished measurements are kept in {options.out}; to resume, run it again") from None
    return rows


def measure(run: Run, name: str, options: Options, yardstick: Yardstick, bar: tqdm) -> dict:
    """Measure one schedule's row of the table; each point is saved in SCHEDULE/points.json once it is measured."""
    folder = options.out / name
    trained = folder if options.train_steps else run.folder / "transformer"
    model = load_model(Transformer, trained).to(run.device)
    facts = {
        "samples": options.samples,
        "reference": options.reference,
        "seed": options.seed,
        **same_for_all(decoding_of(run, options)),
        "models": [digest(path) for path in (trained, run.folder / "tokenizer", run.folder / "judge/classifier")],
    }
    kept = read_kept(folder / "points.json", AGAIN)
    if kept.get("measured_with") != facts:
        kept = {"measured_with": facts, "by_steps": {}}
    if "likelihood" not in kept:
        kept["likelihood"] = likelihoods(run, model, yardstick, SCHEDULES[name], options.seed)
        write_json(folder / "points.json", kept)
    for steps in options.steps:
        if str(steps) not in kept["by_steps"]:
            kept["by_steps"][str(steps)] = quality(run, model, name, steps, options, yardstick)
            write_json(folder / "points.json", kept)
        bar.update(steps * options.samples)
    by_steps = [{"steps": steps} | kept["by_steps"][str(steps)] for steps in options.steps]
    shape, *published = PAPER[name]
    return {
        "schedule": name,
        "shape": shape,
        "decoded_with": decoding_schedule(name),
        "best": best(by_steps),
        "common": next((point for point in by_steps if point["steps"] == COMMON_STEPS), None),
        "by_steps": by_steps,
        **kept["likelihood"],
        "paper": dict(zip(("best_steps", "fid", "nll"), published)),
    }


def quality(run: Run, model: Transformer, name: str, steps: int, options: Options, yardstick: Yardstick) -> dict:
    """FD, FD from the untouched real images, and class accuracy of images decoded in T = `steps` steps."""
    settings = replace(decoding_of(run, options), steps=steps, schedule=decoding_schedule(name))
    loop = decoding_loop(settings, critics(run, options))

    def sampler(labels: Tensor, generator: torch.Generator) -> Tensor:
        *_, last = loop(model, labels, generator=generator)
        return yardstick.tokenizer.decode(last.tokens)

    labels = choose_labels(run, options.samples)
    pictures = sample(run, sampler, labels, options.seed, quiet=True)  # the same seed at every T
    seen = look(run, judge_network(yardstick.judge), pictures.images)
    right = seen.logits.argmax(-1) == pictures.labels
    distances = {"fd": fd(seen, yardstick.reference), "fd_real": fd(seen, yardstick.real)}
    return distances | {"class_accuracy": right.double().mean().item()}


def best(points: Sequence[dict]) -> dict:
    """The point with the lowest FD; among equals, the one with the fewest steps."""
    return min(points, key=lambda point: (point["fd"], point["steps"]))


def likelihoods(run: Run, model: Transformer, yardstick: Yardstick, own: Schedule, seed: int) -> dict:
    """NLL of the held-out tokens under three kinds of masks, in nats per masked token, without label smoothing.

    nll: masks with the cosine's ratios, the same masks for every model. nll_own: masks with the ratios of the model's
    own schedule, as in the paper. nll_by_masked: pairs of a fixed fraction masked (1 is the blank canvas) and its NLL.
    """

    def under(schedule: Schedule) -> float:
        generator = torch.Generator().manual_seed(seed)  # the same r for every schedule
        return nll(run, model, yardstick, draw_masks(*yardstick.tokens.shape, schedule, generator=generator))

    by_masked = [(fraction, under(constant(fraction))) for fraction in FRACTIONS]
    return {"nll": under(cosine), "nll_own": under(own), "nll_by_masked": by_masked}


def constant(fraction: float) -> Schedule:
    """A schedule with the constant value `fraction`."""
    return lambda r, num_tokens: torch.full_like(r, fraction)


@torch.no_grad()
def nll(run: Run, model: Transformer, yardstick: Yardstick, masks: Tensor) -> float:
    """Mean negative log-likelihood of the tokens masked by `masks`, bool (M, N), given the others: nats per token."""
    total = 0.0
    parts = (tensor.split(BATCH) for tensor in (yardstick.tokens, yardstick.labels, masks.to(run.device)))
    for tokens, labels, masked in zip(*parts):
        with run.autocast():
            logits = model(tokens.masked_fill(masked, model.mask_id), labels)
        total += masked_cross_entropy(logits, tokens, masked).item() * masked.sum().item()
    return total / masks.sum().item()
