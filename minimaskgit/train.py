"""Train the stages of MaskGIT: `python -m minimaskgit.train --preset demo` (lessons 2, 3 and 9).

images ──> classifier ──perceptual loss──> tokenizer ──frozen──> tokens ──> masked transformer
                                                                     └────> causal transformer (the baseline)
images ──> gan, diffusion (rivals/)
"""

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
import tyro
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from minimaskgit import autoregressive, cli, figures
from minimaskgit.adversary import (
    PatchDiscriminator,
    adaptive_weight,
    discriminator_loss,
    hinge_g_loss,
    perceptual_loss,
)
from minimaskgit.checkpoint import load_model, save_model
from minimaskgit.classifier import Classifier, class_accuracy, classification_loss
from minimaskgit.config import (
    PRESETS,
    Config,
    TransformerTraining,
    check,
    first_difference,
    load_config,
    save_config,
)
from minimaskgit.data import ImageData, flip, load_data, to_float
from minimaskgit.decoding import decode
from minimaskgit.errors import UserError
from minimaskgit.masking import mvtm_loss
from minimaskgit.rivals.diffusion import train_diffusion
from minimaskgit.rivals.gan import smallest_side, train_gan
from minimaskgit.runs import pick_device
from minimaskgit.schedules import SCHEDULES
from minimaskgit.tokenizer import Tokenizer, code_perplexity
from minimaskgit.training import (
    batch_indices,
    cosine_decay,
    fit,
    gradient_norm,
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

    preset: Literal["demo", "glyphs", "demo-real", "full", "paper"] = "demo"  # where all other settings start from
    full: bool = False  # short for --preset full
    # Which model to train; all: the first three, without the rivals.
    stage: Literal["tokenizer", "transformer", "autoregressive", "gan", "diffusion", "all"] = "all"
    out: Path | None = None  # run folder; default runs/PRESET
    resume: bool = False  # go on with the run in that folder, with its settings
    max_steps: int | None = None  # stop each stage after so many steps, as if they were all
    device: str = "auto"  # auto, cpu, cuda or mps
    config: Annotated[Config, tyro.conf.arg(name="")] = field(default_factory=Config)


@dataclass(frozen=True)
class Session:
    """What the stages of one training session share."""

    config: Config
    folder: Path
    accelerator: Accelerator
    train: ImageData
    valid: ImageData

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    def images(self, step: int, batch_size: int, seed: int) -> tuple[Tensor, Tensor]:
        """The step's training images, floats (B, 3, S, S) in [0, 1], and labels (B,), on the device."""
        images, labels = self.train.batch(batch_indices(len(self.train), batch_size, step, seed))
        images = flip(images) if self.config.images.flip else images
        return to_float(images.to(self.device)), labels.to(self.device)

    def valid_images(self, count: int) -> tuple[Tensor, Tensor]:
        """The first `count` validation images and labels, as `images`."""
        images, labels = self.valid.batch(torch.arange(min(count, len(self.valid))))
        return to_float(images.to(self.device)), labels.to(self.device)

    def fit(self, folder: Path, steps: int, train_step, parts, picture=None) -> float:
        """`training.fit` with the run's settings; gives the seconds spent on the stage."""
        config = self.config
        return fit(
            folder,
            steps,
            train_step,
            parts,
            seed=config.seed,
            report_every=config.report_every,
            save_every=config.save_every,
            picture_every=config.picture_every,
            picture=picture,
        )


def train(
    config: Config, folder: Path, stages: Sequence[Stage] = STAGES, resume: bool = False, device: str = "auto"
) -> None:
    """Train the stages one after another into a run folder."""
    check(config)
    for stage in set(stages) & set(RIVALS):
        check_rival(config, stage)
    check_folder(config, folder, stages, resume)
    session = start_session(config, folder, device)
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
    if difference := first_difference(load_config(folder / "config.json"), config):
        raise UserError(
            f"{folder} holds another run ({difference}); --resume takes that run's settings, or choose another --out"
        )
    for stage in stages:
        if any((folder / stage / name).exists() for name in ("model.safetensors", "checkpoint.safetensors")):
            raise UserError(f"{folder / stage} is there already; --resume goes on with it, or choose another --out")


def start_session(config: Config, folder: Path, device: str = "auto") -> Session:
    """Load the data and write down the settings."""
    place = pick_device(device)
    AcceleratorState._reset_state()  # an earlier session in this process may have had another precision
    accelerator = Accelerator(cpu=place.type == "cpu", mixed_precision="no" if config.precision == "fp32" else "bf16")
    images = config.images
    columns = {"image_column": images.image_column, "label_column": images.label_column}
    train_data, valid_data = (
        load_data(
            config.data,
            split,
            image_size=images.size,
            num_images=count,
            classes=images.classes,
            seed=config.seed,
            **columns,
        )
        for split, count in (("train", images.count), ("valid", 2000))
    )
    folder.mkdir(parents=True, exist_ok=True)
    save_config(config, folder / "config.json")
    (folder / "labels.json").write_text(json.dumps(train_data.label_names, indent=1) + "\n")
    return Session(config, folder, accelerator, train_data, valid_data)


def finished(folder: Path) -> bool:
    """Whether a stage's folder holds a finished model, which is then told and kept."""
    if (folder / "model.safetensors").exists():
        print(f"{folder}: trained already, kept")
        return True
    return False


# --- Stage 1: the tokenizer ---


def train_classifier(session: Session) -> Classifier:
    """The perceptual network: a small classifier of the training images."""
    folder, settings = session.folder / "classifier", session.config.classifier
    if finished(folder):
        return load_model(Classifier, folder).to(session.device)
    torch.manual_seed(session.config.seed)
    model = Classifier(session.train.num_classes, settings.width).to(session.device)
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, weight_decay=0.01)

    def step(step: int) -> dict[str, Tensor]:
        images, labels = session.images(step, settings.batch_size, session.config.seed)
        with session.accelerator.autocast():
            loss = classification_loss(model, images, labels)
        set_learning_rate(optimizer, settings.learning_rate * cosine_decay(step, settings.steps, settings.steps // 10))
        optimizer.zero_grad()
        session.accelerator.backward(loss)
        optimizer.step()
        return {"loss": loss}

    seconds = session.fit(folder, settings.steps, step, {"model": model, "optimizer": optimizer})
    model.eval()
    evaluation = {"seconds": seconds, "valid_accuracy": class_accuracy(model, *session.valid_images(1000))}
    return finish(model, folder, evaluation)


def train_tokenizer(session: Session) -> Tokenizer:
    """The VQ-GAN: pixels, codebook and commitment, perceptual, and after a while adversarial losses."""
    folder, settings = session.folder / "tokenizer", session.config.tokenizer_training
    if finished(folder):
        return load_model(Tokenizer, folder).to(session.device)
    perceptual = train_classifier(session).requires_grad_(False) if settings.perceptual_weight else None
    torch.manual_seed(session.config.seed)
    model = Tokenizer(session.config.images.size, **asdict(session.config.tokenizer)).to(session.device)
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, betas=(0.9, 0.99), weight_decay=1e-4)
    parts = {"model": model, "optimizer": optimizer}
    if settings.gan_weight:
        discriminator = PatchDiscriminator(settings.gan_width, settings.gan_layers).to(session.device)
        d_optimizer = torch.optim.AdamW(discriminator.parameters(), settings.gan_learning_rate, betas=(0.5, 0.9))
        parts |= {"discriminator": discriminator, "d_optimizer": d_optimizer}

    def step(step: int) -> dict[str, Tensor]:
        rate = cosine_decay(step, settings.steps, settings.warmup)
        adversarial = settings.gan_weight and step >= settings.gan_start * settings.steps
        images, _ = session.images(step, settings.batch_size, session.config.seed)
        with session.accelerator.autocast():
            reconstruction, quantized = model(images)
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
                        torch.autograd.grad(term, model.decoder.last_layer, retain_graph=True)[0]
                        for term in (reconstruction_loss, metrics["adversarial"])
                    )
                )
                loss = loss + settings.gan_weight * metrics["adaptive"] * metrics["adversarial"]
        set_learning_rate(optimizer, settings.learning_rate * rate)
        optimizer.zero_grad()
        session.accelerator.backward(loss)
        metrics["grad_norm"] = gradient_norm(model, settings.clip)
        optimizer.step()
        if adversarial:
            discriminator.requires_grad_(True)
            with session.accelerator.autocast():
                metrics["discriminator"] = discriminator_loss(discriminator, images, reconstruction)
            set_learning_rate(d_optimizer, settings.gan_learning_rate * rate)
            d_optimizer.zero_grad()
            session.accelerator.backward(metrics["discriminator"])
            d_optimizer.step()
        return metrics | code_use(quantized.codes, model.num_codes)

    def picture(done: int) -> Path:
        model.eval()
        images = session.valid_images(16)[0]
        with torch.no_grad(), session.accelerator.autocast():
            sheet = figures.reconstructions(images, model.decode(model.encode(images)), f"tokenizer, step {done}")
        model.train()
        return figures.save_png(sheet, folder / "pictures" / f"step_{done:06d}.png")

    seconds = session.fit(folder, settings.steps, step, parts, picture)
    model.eval()
    evaluation = {"seconds": seconds} | evaluate_tokenizer(session, model)
    sheet = figures.reconstructions(session.valid_images(16)[0], evaluation.pop("pictures"), "validation images")
    print(f"reconstructions: {figures.save_png(sheet, folder / 'reconstructions.png')}")
    return finish(model, folder, evaluation)


@torch.no_grad()
def evaluate_tokenizer(session: Session, model: Tokenizer) -> dict:
    """PSNR, code usage and perplexity on at most 1000 validation images, and the first 16 reconstructions."""
    images, _ = session.valid_images(1000)
    with session.accelerator.autocast():
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
    if finished(folder):
        return load_model(Transformer, folder).to(session.device)
    tokenizer = load_model(Tokenizer, session.folder / "tokenizer").to(session.device)
    tokens, labels = all_tokens(session, tokenizer)
    torch.manual_seed(seed)
    num_classes = session.train.num_classes
    model = Transformer(
        tokenizer.num_codes,
        num_classes,
        tokenizer.num_tokens,
        causal=causal,
        **asdict(session.config.transformer),
    ).to(session.device)
    optimizers = make_optimizers(settings, model)
    schedule = SCHEDULES[settings.schedule]

    def step(step: int) -> dict[str, Tensor]:
        chosen = batch_indices(len(tokens), settings.batch_size, step, seed)
        x, y = tokens[chosen].to(session.device, torch.long), labels[chosen].to(session.device)
        y = torch.where(torch.rand(len(y), device=y.device) < settings.class_dropout, num_classes, y)
        with session.accelerator.autocast():
            if causal:
                loss = autoregressive.next_token_loss(model, x, y, settings.label_smoothing)
            else:
                loss = mvtm_loss(model, x, y, schedule, settings.label_smoothing)
        scale = trapezoid(step, settings.steps, settings.warmup, settings.cooldown)
        for optimizer, peak in optimizers.values():
            set_learning_rate(optimizer, peak * scale)
            optimizer.zero_grad()
        session.accelerator.backward(loss)
        norm = gradient_norm(model, settings.clip)
        for optimizer, _ in optimizers.values():
            optimizer.step()
        return {"loss": loss, "grad_norm": norm}

    def picture(done: int) -> Path:
        path = folder / "pictures" / f"step_{done:06d}.png"
        return sample_sheet(session, model, tokenizer, f"{folder.name}, step {done}", path)

    parts = {"model": model} | {name: optimizer for name, (optimizer, _) in optimizers.items()}
    seconds = session.fit(folder, settings.steps, step, parts, picture)
    model.eval()
    print(f"samples: {sample_sheet(session, model, tokenizer, folder.name, folder / 'samples.png')}")
    return finish(model, folder, {"seconds": seconds})


def make_optimizers(
    settings: TransformerTraining, model: Transformer
) -> dict[str, tuple[torch.optim.Optimizer, float]]:
    """Optimizers by name, each with its peak learning rate: Muon for the blocks' matrices if asked, AdamW otherwise."""
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
    muon = torch.optim.Muon(
        matrices,
        settings.muon_learning_rate,
        weight_decay=settings.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )
    adamw = torch.optim.AdamW(rest, settings.learning_rate, weight_decay=0.0, **adam)
    return {"muon": (muon, settings.muon_learning_rate), "adamw": (adamw, settings.learning_rate)}


@torch.no_grad()
def all_tokens(session: Session, tokenizer: Tokenizer) -> tuple[Tensor, Tensor]:
    """Tokens (M, N) and labels (M,) of all training images, mirrored ones too where images are flipped.

    Computed once a tokenizer and data set, and kept in the run folder.
    """
    path = session.folder / "tokens.safetensors"
    weights = (session.folder / "tokenizer" / "model.safetensors").read_bytes()
    key = hashlib.sha256(weights + repr((session.config.data, session.config.images)).encode()).hexdigest()
    if path.exists():
        cached = load_file(path)
        if bytes(cached["key"].tolist()).decode() == key:
            return cached["tokens"], cached["labels"]
    parts = []
    flips = (False, True) if session.config.images.flip else (False,)
    for mirrored in flips:
        for chosen in torch.arange(len(session.train)).split(256):
            images = to_float(session.train.batch(chosen)[0].to(session.device))
            with session.accelerator.autocast():
                parts.append(tokenizer.encode(images.flip(-1) if mirrored else images).int().cpu())
    cached = {
        "tokens": torch.cat(parts),
        "labels": session.train.labels.repeat(len(flips)),
        "key": torch.tensor(list(key.encode()), dtype=torch.uint8),
    }
    save_file(cached, path)
    return cached["tokens"], cached["labels"]


@torch.no_grad()
def sample_sheet(session: Session, model: Transformer, tokenizer: Tokenizer, heading: str, path: Path) -> Path:
    """A picture of generated images, one column a class (at most ten), with a seed of its own."""
    names = session.train.label_names[:10]
    labels = torch.arange(len(names), device=session.device).repeat(4)
    generator = torch.Generator(session.device).manual_seed(session.config.seed)
    settings = session.config.decoding
    training = model.training
    model.eval()
    with session.accelerator.autocast():
        if model.causal:
            tokens = autoregressive.generate(model, labels, generator=generator)
        else:
            tokens = decode(
                model,
                labels,
                steps=settings.steps,
                schedule=SCHEDULES[settings.schedule],
                temperature=settings.temperature,
                guidance=settings.guidance,
                generator=generator,
            )
        images = tokenizer.decode(tokens)
    model.train(training)
    return figures.save_png(figures.grid(images, columns=len(names), heading=heading), path)


def finish(model: nn.Module, folder: Path, evaluation: dict) -> nn.Module:
    """Save the finished model with what was measured of it; the training state has served."""
    (folder / "evaluation.json").write_text(json.dumps(evaluation, indent=2) + "\n")
    print(f"{folder.name}: " + ", ".join(f"{name} {value:.4g}" for name, value in evaluation.items()))
    save_model(model, folder)
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    return model.eval()


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
    if not finished(folder):
        model, seconds = RIVALS[stage](session, folder)
        finish(model.eval(), folder, {"seconds": seconds})


# --- The command ---


def main(argv: Sequence[str] | None = None) -> None:
    """Read the options and train."""
    preset, out, config = starting_point(argv)
    default = Options(preset=preset, out=out, config=config)
    options = cli.parse(Options, "Train a tokenizer and transformers.", default, argv)
    config = options.config if options.max_steps is None else limit_steps(options.config, options.max_steps)
    stages = STAGES if options.stage == "all" else (options.stage,)
    train(config, out, stages, options.resume, options.device)
    print(f"done: {out}; next: python -m minimaskgit.generate --run {out}")


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


def limit_steps(config: Config, steps: int) -> Config:
    """The same settings with at most `steps` training steps a stage."""
    if steps < 1:
        raise UserError(f"--max-steps {steps}: expected 1 or more")
    parts = {
        name: replace(getattr(config, name), steps=min(steps, getattr(config, name).steps))
        for name in ("classifier", "tokenizer_training", "transformer_training", "gan_training", "diffusion_training")
    }
    return replace(config, **parts)


if __name__ == "__main__":
    cli.run(main)
