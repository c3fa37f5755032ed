"""Train the stages of MaskGIT: `python -m minimaskgit.train --preset demo` (lessons 2, 3 and 9).

images ──> classifier ──perceptual loss──> tokenizer ──frozen──> tokens ──> masked transformer
                                                                     └────> causal transformer (the baseline)
images ──> gan, diffusion (rivals/)
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
import tyro
from accelerate.state import PartialState
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from minimaskgit import autoregressive, cli, figures
from minimaskgit.adversary import (
    PatchDiscriminator,
    adaptive_weight,
    discriminator_loss,
    hinge_g_loss,
    perceptual_loss,
)
from minimaskgit.checkpoint import checkpoints, load_model
from minimaskgit.classifier import Classifier, class_accuracy, classification_loss
from minimaskgit.config import (
    PRESETS,
    Config,
    TransformerTraining,
    check,
    decoding_arguments,
    first_difference,
    load_config,
)
from minimaskgit.decoding import decode
from minimaskgit.errors import UserError
from minimaskgit.estimate import estimates, table, transformer_flops
from minimaskgit.masking import draw_masks, masked_loss
from minimaskgit.muon import Muon
from minimaskgit.precision import DTYPES, Precision
from minimaskgit.rivals.diffusion import train_diffusion
from minimaskgit.rivals.gan import smallest_side, train_gan
from minimaskgit.schedules import SCHEDULES
from minimaskgit.session import Session, finish, finished, fit_into_memory, start_session
from minimaskgit.sharding import split, whole_model
from minimaskgit.timing import duration
from minimaskgit.tokenizer import Tokenizer, code_perplexity
from minimaskgit.tokens import all_tokens
from minimaskgit.training import (
    cosine_decay,
    gradient_norm,
    mean_metrics,
    parts_of_batch,
    set_learning_rate,
    trapezoid,
)
from minimaskgit.transformer import Transformer

Stage = Literal["tokenizer", "transformer", "autoregressive", "gan", "diffusion"]
STAGES: tuple[Stage, ...] = ("tokenizer", "transformer", "autoregressive")  # of MaskGIT and its twin: --stage all
RIVALS = {"gan": train_gan, "diffusion": train_diffusion}


@dataclass(frozen=True)
class Options:
    """What to train, and where to."""

    # Where all other settings start from.
    preset: Literal["demo", "glyphs", "demo-real", "tiny-imagenet", "full", "paper"] = "demo"
    full: bool = False  # short for --preset full
    # Which model to train; all: the first three, without the rivals.
    stage: Literal["tokenizer", "transformer", "autoregressive", "gan", "diffusion", "all"] = "all"
    out: Path | None = None  # run folder; default runs/PRESET
    resume: bool = False  # go on with the run in that folder, with its settings
    max_steps: int | None = None  # stop each stage after so many steps, as if they were all
    device: str = "auto"  # auto, cpu, cuda or mps
    config: Annotated[Config, tyro.conf.arg(name="")] = field(default_factory=Config)


def train(
    config: Config,
    folder: Path,
    stages: Sequence[Stage] = STAGES,
    resume: bool = False,
    device: str = "auto",
    estimate: bool = False,
) -> None:
    """Train the stages one after another into a run folder.

    estimate: first tell what time and memory they take, and cut a new run's batches into parts that fit into memory.
    """
    check(config)
    for stage in set(stages) & set(RIVALS):
        check_rival(config, stage)
    check_folder(config, folder, stages, resume)
    session = start_session(config, folder, device, stages)
    if estimate and set(stages) - set(RIVALS):
        processes = session.accelerator.num_processes
        found = estimates(config, session.train.num_classes, stages, processes)
        if session.accelerator.is_main_process:
            print(table(found, session.peak, processes))
        if not resume:  # a run goes on as it began: other parts round otherwise
            session = fit_into_memory(session, found)
    for stage in stages:
        if stage == "tokenizer":
            train_tokenizer(session)
        elif stage in RIVALS:
            train_rival(session, stage)
        else:
            train_transformer(session, causal=stage == "autoregressive")


def check_folder(config: Config, folder: Path, stages: Sequence[Stage], resume: bool) -> None:
    """UserError rather than overwriting a run, or mixing two."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out {folder} is a file; expected a folder, or a name that is free")
    if resume and not (folder / "config.json").exists():
        raise UserError(f"--resume: there is no run in {folder}; leave --resume out to start one")
    if resume or not (folder / "config.json").exists():
        return
    there = replace(load_config(folder / "config.json"), accumulate=config.accumulate)  # may be what fits into memory
    if difference := first_difference(there, config):
        raise UserError(
            f"{folder} holds another run ({difference}); --resume takes that run's settings, or choose another --out"
        )
    for stage in stages:
        if (folder / stage / "model.safetensors").exists() or checkpoints(folder / stage):
            raise UserError(f"{folder / stage} is there already; --resume goes on with it, or choose another --out")


# --- Stage 1: the tokenizer ---


def train_classifier(session: Session) -> Classifier:
    """The perceptual network: a small classifier of the training images."""
    folder, settings = session.folder / "classifier", session.config.classifier
    if finished(session, folder):
        return load_model(Classifier, folder).to(session.device)
    torch.manual_seed(session.config.seed)
    model = Classifier(session.train.num_classes, settings.width).to(session.device)
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, weight_decay=0.01)
    trained = session.prepare(model)

    def learn(images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        with session.accelerator.accumulate(trained):
            with session.autocast():
                loss = classification_loss(trained, images, labels)
            session.accelerator.backward(loss)
        return {"loss": loss}

    def step(step: int) -> dict[str, Tensor]:
        set_learning_rate(optimizer, settings.learning_rate * cosine_decay(step, settings.steps, settings.steps // 10))
        optimizer.zero_grad()
        metrics = mean_metrics([learn(*part) for part in session.parts(step, settings.batch_size)])
        optimizer.step()
        return metrics

    parts = {"model": model, "optimizer": optimizer}
    batch, speed = partial(session.numbers, len(session.train), settings.batch_size), session.speed(settings.batch_size)
    seconds = session.fit(folder, settings.steps, step, parts, batch=batch, best="loss", speed=speed)

    def evaluate() -> dict:
        return {"seconds": seconds, "valid_accuracy": class_accuracy(model, *session.valid_images(1000))}

    return finish(session, model, folder, evaluate)


def train_tokenizer(session: Session) -> Tokenizer:
    """The VQ-GAN: pixels, codebook and commitment, perceptual, and after a while adversarial losses."""
    folder, settings = session.folder / "tokenizer", session.config.tokenizer_training
    if finished(session, folder):
        return load_model(Tokenizer, folder).to(session.device)
    perceptual = train_classifier(session).requires_grad_(False) if settings.perceptual_weight else None
    torch.manual_seed(session.config.seed)
    model = Tokenizer(session.config.images.size, **asdict(session.config.tokenizer)).to(session.device)
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, betas=(0.9, 0.99), weight_decay=1e-4)
    parts = {"model": model, "optimizer": optimizer}
    trained = [session.prepare(model)]
    model.quantizer.gather = session.accelerator.gather  # else each process would have its own dead codes
    if settings.gan_weight:
        discriminator = PatchDiscriminator(settings.gan_width, settings.gan_layers).to(session.device)
        d_optimizer = torch.optim.AdamW(discriminator.parameters(), settings.gan_learning_rate, betas=(0.5, 0.9))
        parts |= {"discriminator": discriminator, "d_optimizer": d_optimizer}
        trained.append(session.prepare(discriminator))

    def learn(images: Tensor, adversarial: bool) -> dict[str, Tensor]:
        with session.autocast():
            reconstruction, quantized = trained[0](images)
            reconstruction = reconstruction.float()
            l1, l2 = F.l1_loss(reconstruction, images), F.mse_loss(reconstruction, images)
            reconstruction_loss = settings.l1_weight * l1 + settings.l2_weight * l2
            metrics = {
                "l1": l1,
                "psnr": psnr(reconstruction, images),
                "commitment": quantized.commitment_loss,
            }
            if perceptual:
                metrics["perceptual"] = perceptual_loss(
                    perceptual.features(reconstruction), perceptual.features(images)
                )
                reconstruction_loss = reconstruction_loss + settings.perceptual_weight * metrics["perceptual"]
            loss = reconstruction_loss + quantized.codebook_loss + quantized.commitment_loss
            if adversarial:
                discriminator.requires_grad_(False)  # it judges here, and learns below
                metrics["adversarial"] = hinge_g_loss(discriminator(reconstruction))
                metrics["adaptive"] = adaptive_weight(
                    *(
                        last_layer_gradient(session, model, term)
                        for term in (reconstruction_loss, metrics["adversarial"])
                    )
                )
                loss = loss + settings.gan_weight * metrics["adaptive"] * metrics["adversarial"]
        session.accelerator.backward(loss)
        if adversarial:
            discriminator.requires_grad_(True)
            with session.autocast():
                metrics["discriminator"] = discriminator_loss(trained[1], images, reconstruction)
            session.accelerator.backward(metrics["discriminator"])
        return metrics | code_use(session.accelerator.gather(quantized.codes), model.num_codes)

    def step(step: int) -> dict[str, Tensor]:
        rate = cosine_decay(step, settings.steps, settings.warmup)
        adversarial = settings.gan_weight > 0 and step >= settings.gan_start * settings.steps
        playing = [(optimizer, settings.learning_rate)]
        if adversarial:
            playing.append((d_optimizer, settings.gan_learning_rate))
        for player, peak in playing:
            set_learning_rate(player, peak * rate)
            player.zero_grad()
        learned = []
        for images, _ in session.parts(step, settings.batch_size):
            with session.accelerator.accumulate(*trained[: len(playing)]):
                learned.append(learn(images, adversarial))
        norm = gradient_norm(model, settings.clip)
        for player, _ in playing:
            player.step()
        return mean_metrics(learned) | {"grad_norm": norm}

    def picture(done: int) -> None:
        if not session.accelerator.is_main_process:
            return
        model.eval()
        images = session.valid_images(16)[0]
        with torch.no_grad(), session.autocast():
            sheet = figures.reconstructions(images, model.decode(model.encode(images)), f"tokenizer, step {done}")
        model.train()
        figures.save_png(sheet, folder / "pictures" / f"step_{done:06d}.png")

    batch, speed = partial(session.numbers, len(session.train), settings.batch_size), session.speed(settings.batch_size)
    seconds = session.fit(folder, settings.steps, step, parts, picture, batch=batch, best="l1", speed=speed)

    def evaluate() -> dict:
        evaluation = {"seconds": seconds} | evaluate_tokenizer(session, model)
        sheet = figures.reconstructions(session.valid_images(16)[0], evaluation.pop("pictures"), "validation images")
        print(f"reconstructions: {figures.save_png(sheet, folder / 'reconstructions.png')}")
        return evaluation

    return finish(session, model, folder, evaluate)


def last_layer_gradient(session: Session, model: Tokenizer, loss: Tensor) -> Tensor:
    """Of a loss, at the decoder's last layer, over all processes, so that they agree on the adaptive weight."""
    (gradient,) = torch.autograd.grad(loss, model.decoder.last_layer, retain_graph=True)
    return session.accelerator.reduce(gradient, "mean")


@torch.no_grad()
def evaluate_tokenizer(session: Session, model: Tokenizer) -> dict:
    """PSNR, code usage and perplexity on at most 1000 validation images, and the first 16 reconstructions."""
    images, _ = session.valid_images(1000)
    with session.autocast():
        codes = torch.cat([model.encode(part) for part in images.split(100)])
        decoded = torch.cat([model.decode(part) for part in codes.split(100)])
    use = {name: value.item() for name, value in code_use(codes, model.num_codes).items()}
    return {"images": len(images), "psnr": psnr(decoded, images).item(), **use, "pictures": decoded[:16]}


def psnr(images: Tensor, originals: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, averaged over images in [0, 1]."""
    return -10 * (images - originals).square().mean((1, 2, 3)).clamp(min=1e-10).log10().mean()


def code_use(codes: Tensor, num_codes: int) -> dict[str, Tensor]:
    """Fraction of the codebook that occurs in `codes`, and their perplexity."""
    used = torch.bincount(codes.flatten(), minlength=num_codes) > 0
    return {"usage": used.float().mean(), "perplexity": code_perplexity(codes, num_codes)}


# --- Stage 2: the transformers ---


def train_transformer(session: Session, causal: bool, folder: Path | None = None) -> Transformer:
    """Masked visual token modelling on the frozen tokenizer's tokens, or next-token prediction on the same.

    folder: of the stage, by default the run's own; its name seeds the steps.
    """
    folder = folder or session.folder / ("autoregressive" if causal else "transformer")
    settings, seed = session.config.transformer_training, session.config.seed
    if finished(session, folder):
        return load_model(Transformer, folder).to(session.device)
    tokenizer = load_model(Tokenizer, session.folder / "tokenizer").to(session.device)
    tokens, labels = (x.to(session.device) for x in all_tokens(session, tokenizer))  # small enough to lie there
    torch.manual_seed(seed)
    num_classes = session.train.num_classes
    shape = asdict(session.config.transformer)
    make = partial(Transformer, tokenizer.num_codes, num_classes, tokenizer.num_tokens, causal=causal, **shape)
    model = make().to(session.device)
    model.recompute = session.config.recompute
    ema = None
    if settings.ema_decay:
        ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay)).eval()
    final = ema.module if ema else model
    if session.splits:
        split(model)
        if ema:
            split(final)
    trained = session.prepare(model, session.config.compile)
    optimizers = make_optimizers(settings, model, session.config.precision)
    schedule = SCHEDULES[settings.schedule]
    parts = {"model": model} | {name: optimizer for name, (optimizer, _) in optimizers.items()}
    parts |= {"ema": ema} if ema else {}
    batch = partial(session.numbers, len(tokens), settings.batch_size)

    def learn(x: Tensor, y: Tensor, mask: Tensor | None, share: Tensor | float) -> dict[str, Tensor]:
        with session.accelerator.accumulate(trained):
            with session.autocast():
                if causal:
                    loss = autoregressive.next_token_loss(trained, x, y, settings.label_smoothing)
                else:
                    loss = share * masked_loss(trained, x, y, mask, model.mask_id, settings.label_smoothing)
            session.accelerator.backward(loss)
        return {"loss": loss}

    def step(step: int) -> dict[str, Tensor]:
        # What is drawn is drawn for the whole batch and then cut into parts: it does not depend on how many there are.
        chosen = batch(step).to(session.device)
        x, y = tokens[chosen].long(), labels[chosen]
        y = torch.where(torch.rand(len(y), device=y.device) < settings.class_dropout, num_classes, y)
        masks = None if causal else draw_masks(*x.shape, schedule, x.device)
        scale = trapezoid(step, settings.steps, settings.warmup, settings.cooldown)
        for optimizer, peak in optimizers.values():
            set_learning_rate(optimizer, peak * scale)
            optimizer.zero_grad()
        learned, step_seed = [], torch.initial_seed()
        for part in parts_of_batch(len(x), session.accelerator):
            if part.start:
                torch.manual_seed(step_seed + part.start)  # the model's dropout is each part's own
            if causal:
                learned.append(learn(x[part], y[part], None, 1.0))
            else:  # the mean over the batch's masked tokens, of which the parts have more and fewer
                share = masks[part].sum() * (len(masks) / len(masks[part])) / masks.sum()
                learned.append(learn(x[part], y[part], masks[part], share))
        norm = gradient_norm(model, settings.clip)
        for optimizer, _ in optimizers.values():
            optimizer.step()
        if ema:
            ema.update_parameters(model)
        return mean_metrics(learned) | {"grad_norm": norm}

    def as_it_is() -> Transformer:
        main = session.accelerator.is_main_process
        return whole_model(final, make, main) if session.splits else final

    def picture(done: int) -> None:
        drawn, path = as_it_is(), folder / "pictures" / f"step_{done:06d}.png"
        if session.accelerator.is_main_process:
            sample_sheet(session, drawn, tokenizer, f"{folder.name}, step {done}", path)

    speed = session.speed(settings.batch_size, transformer_flops(model, settings.batch_size))
    seconds = session.fit(folder, settings.steps, step, parts, picture, batch=batch, best="loss", speed=speed)
    result = as_it_is()

    def evaluate() -> dict:
        print(f"samples: {sample_sheet(session, result, tokenizer, folder.name, folder / 'samples.png')}")
        return {"seconds": seconds}

    return finish(session, result, folder, evaluate)


def make_optimizers(
    settings: TransformerTraining, model: Transformer, precision: Precision
) -> dict[str, tuple[torch.optim.Optimizer, float]]:
    """Optimizers by name, each with its peak learning rate: Muon for the blocks' matrices if asked, AdamW otherwise.

    precision: in which Muon iterates.
    """
    matrices = [p for p in model.blocks.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    adam = {"betas": settings.betas, "eps": 1e-8}
    if settings.optimizer == "adamw":
        groups = [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": rest, "weight_decay": 0.0},
        ]
        return {"adamw": (torch.optim.AdamW(groups, settings.learning_rate, **adam), settings.learning_rate)}
    muon = Muon(matrices, settings.muon_learning_rate, settings.weight_decay, dtype=DTYPES[precision])
    adamw = torch.optim.AdamW(rest, settings.learning_rate, weight_decay=0.0, **adam)
    return {"muon": (muon, settings.muon_learning_rate), "adamw": (adamw, settings.learning_rate)}


@torch.no_grad()
def sample_sheet(session: Session, model: Transformer, tokenizer: Tokenizer, heading: str, path: Path) -> Path:
    """A picture of generated images, one column a class (at most ten), with a seed of its own."""
    names = session.train.label_names[:10]
    labels = torch.arange(len(names), device=session.device).repeat(4)
    generator = torch.Generator(session.device).manual_seed(session.config.seed)
    settings = session.config.decoding
    training = model.training
    model.eval()
    with session.autocast():
        if model.causal:
            tokens = autoregressive.generate(model, labels, generator=generator)
        else:
            tokens = decode(model, labels, **decoding_arguments(settings), generator=generator)
        images = tokenizer.decode(tokens)
    model.train(training)
    return figures.save_png(figures.grid(images, columns=len(names), heading=heading), path)


# --- The rivals ---


def check_rival(config: Config, stage: Stage) -> None:
    """UserError for a shape that does not fit the images."""
    shape = getattr(config, stage)
    try:
        smallest_side(config.images.size, shape.patch, len(shape.multipliers))
    except ValueError as error:
        raise UserError(f"--{stage}: {error}; expected fewer --{stage}.multipliers, or another size") from None
    if stage == "diffusion" and shape.width % 8:
        raise UserError(f"--diffusion.width {shape.width}: expected a multiple of 8, the number of groups of its norms")


def train_rival(session: Session, stage: Stage) -> None:
    """A GAN or a diffusion model, straight on the pixels."""
    folder = session.folder / stage
    if not finished(session, folder):
        model, seconds = RIVALS[stage](session, folder)
        finish(session, model, folder, lambda: {"seconds": seconds})


# --- The command ---


def main(argv: Sequence[str] | None = None) -> None:
    """Read the options and train."""
    preset, out, config = starting_point(argv)
    default = Options(preset=preset, out=out, config=config)
    options = cli.parse(Options, "Train a tokenizer and transformers.", default, argv)
    config = options.config if options.max_steps is None else limit_steps(options.config, options.max_steps)
    stages = STAGES if options.stage == "all" else (options.stage,)
    train(config, out, stages, options.resume, options.device, estimate=True)
    everyone = PartialState()
    if options.max_steps is not None and everyone.is_main_process:
        print(whole_time(options.config, config, out, stages))
    everyone.print(f"done: {out}; next: python -m minimaskgit.generate --run {out}")
    everyone.destroy_process_group()


def starting_point(argv: Sequence[str] | None) -> tuple[str, Path, Config]:
    """Preset, run folder and default settings; they must be known before the other options can have defaults.

    With --resume the settings are those of the run in the folder.
    """
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--preset", choices=tuple(PRESETS), default="demo")
    early.add_argument("--full", dest="preset", action="store_const", const="full")
    early.add_argument("--out", type=Path)
    early.add_argument("--resume", action="store_true")
    known, _ = early.parse_known_args(argv)
    out = known.out or Path("runs") / known.preset
    saved = out / "config.json"
    return (
        known.preset,
        out,
        load_config(saved) if known.resume and saved.exists() else PRESETS[known.preset](),
    )


SETTINGS = {  # of each stage
    "classifier": "classifier",
    "tokenizer": "tokenizer_training",
    "transformer": "transformer_training",
    "autoregressive": "transformer_training",
    "gan": "gan_training",
    "diffusion": "diffusion_training",
}


def limit_steps(config: Config, steps: int) -> Config:
    """The same settings with at most `steps` training steps a stage, and no more images than those need."""
    if steps < 1:
        raise UserError(f"--max-steps {steps}: expected 1 or more")
    parts = {name: getattr(config, name) for name in SETTINGS.values()}
    parts = {name: replace(settings, steps=min(steps, settings.steps)) for name, settings in parts.items()}
    needed = max(settings.steps * settings.batch_size for settings in parts.values())
    count = needed if config.images.count is None else min(needed, config.images.count)
    return replace(config, **parts, images=replace(config.images, count=count))


def whole_time(whole: Config, limited: Config, folder: Path, stages: Sequence[Stage]) -> str:
    """How long the whole settings would take here, by what a run of fewer steps took, as text."""
    seconds = {}
    for stage in ("classifier", *stages):
        if not (folder / stage / "evaluation.json").exists():
            continue
        taken = json.loads((folder / stage / "evaluation.json").read_text("utf-8"))["seconds"]
        steps = getattr(limited, SETTINGS[stage]).steps
        seconds[stage] = getattr(whole, SETTINGS[stage]).steps * taken / steps
    told = ", ".join(f"{stage} {duration(value)}" for stage, value in seconds.items())
    return (
        f"by these {limited.transformer_training.steps} steps a stage, all of them would take"
        f" {duration(sum(seconds.values()))} here ({told}), and the images' tokens some more"
    )


if __name__ == "__main__":
    cli.run(main)
