"""Train the stages of MaskGIT: `python -m minimaskgit.train --preset demo` (lessons 2, 3 and 9).

images ──> classifier ──perceptual loss──> tokenizer ──frozen──> tokens ──> masked transformer
                                                                     └────> causal transformer (the baseline)
images ──> gan, diffusion (rivals/)
"""

import argparse
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
import tyro
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType, InitProcessGroupKwargs
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from minimaskgit import autoregressive, cli, figures
from minimaskgit.adversary import (
    PatchDiscriminator,
    adaptive_weight,
    discriminator_loss,
    hinge_g_loss,
    perceptual_loss,
)
from minimaskgit.checkpoint import checkpoints, delete_checkpoints, load_model, save_model
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
from minimaskgit.data import ImageData, flip, load_data, mirror, to_float
from minimaskgit.decoding import decode
from minimaskgit.errors import UserError
from minimaskgit.files import write_json, written_aside
from minimaskgit.masking import draw_masks, masked_loss
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
    mean_metrics,
    parts_of_batch,
    set_learning_rate,
    trapezoid,
)
from minimaskgit.transformer import Transformer

Stage = Literal["tokenizer", "transformer", "autoregressive", "gan", "diffusion"]
STAGES: tuple[Stage, ...] = ("tokenizer", "transformer", "autoregressive")  # of MaskGIT and its twin: --stage all
RIVALS = {"gan": train_gan, "diffusion": train_diffusion}
COPIES = (DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)  # each process has all weights (DDP)


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

    def numbers(self, count: int, batch_size: int, step: int) -> Tensor:
        """Which of `count` samples the step trains on, over all processes."""
        return batch_indices(count, batch_size, step, self.config.seed)

    def parts(self, step: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """As `images`, but this process's share of them, in parts to accumulate gradients over."""
        chosen = self.numbers(len(self.train), batch_size, step)
        mirrored = torch.rand(batch_size) < 0.5 if self.config.images.flip else None  # the whole batch's, then cut
        for part in parts_of_batch(batch_size, self.accelerator):
            images, labels = self.train.batch(chosen[part])
            images = images if mirrored is None else mirror(images, mirrored[part])
            yield to_float(images.to(self.device)), labels.to(self.device)

    def prepare(self, model: nn.Module) -> nn.Module:
        """The model as it is trained: its gradients are averaged over the processes where there are several.

        It shares its weights with the one given, which has the names, and is the one to save and to draw with.
        """
        return self.accelerator.prepare(model) if self.accelerator.num_processes > 1 else model

    def valid_images(self, count: int) -> tuple[Tensor, Tensor]:
        """The first `count` validation images and labels, as `images`."""
        images, labels = self.valid.batch(torch.arange(min(count, len(self.valid))))
        return to_float(images.to(self.device)), labels.to(self.device)

    def fit(self, folder: Path, steps: int, train_step, parts, picture=None, batch=None, best=None) -> float:
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
            batch=batch,
            best=best,
            keep=config.keep_checkpoints,
            accelerator=self.accelerator,
        )


def train(
    config: Config, folder: Path, stages: Sequence[Stage] = STAGES, resume: bool = False, device: str = "auto"
) -> None:
    """Train the stages one after another into a run folder."""
    check(config)
    for stage in set(stages) & set(RIVALS):
        check_rival(config, stage)
    check_folder(config, folder, stages, resume)
    session = start_session(config, folder, device, stages)
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
        if (folder / stage / "model.safetensors").exists() or checkpoints(folder / stage):
            raise UserError(f"{folder / stage} is there already; --resume goes on with it, or choose another --out")


def start_session(config: Config, folder: Path, device: str = "auto", stages: Sequence[Stage] = ()) -> Session:
    """Load the data and write down the settings; joins the processes if there are several."""
    place = pick_device(device)
    AcceleratorState._reset_state()  # an earlier session in this process may have had another precision
    accelerator = Accelerator(
        cpu=place.type == "cpu",
        mixed_precision="no" if config.precision == "fp32" else "bf16",
        gradient_accumulation_steps=config.accumulate,
        # While the main process encodes a large data set, the others wait.
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(hours=12))],
    )
    if accelerator.distributed_type not in (DistributedType.NO, *COPIES):
        raise UserError(f"{accelerator.distributed_type.value}: expected one copy of the model a process; use torchrun")
    check_shares(config, stages, accelerator)
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
    if accelerator.is_main_process:
        save_config(config, folder / "config.json")
        write_json(folder / "labels.json", train_data.label_names)
    return Session(config, folder, accelerator, train_data, valid_data)


def check_shares(config: Config, stages: Sequence[Stage], accelerator: Accelerator) -> None:
    """UserError if a batch cannot be shared evenly between the processes and their parts."""
    processes, parts = accelerator.num_processes, config.accumulate
    for stage in stages:
        if stage in RIVALS and processes * parts > 1:
            raise UserError(f"--stage {stage} with {processes} processes and --accumulate {parts}: expected 1 and 1")
        trained = {"tokenizer": ("classifier", "tokenizer_training")}.get(stage, ("transformer_training",))
        for name in () if stage in RIVALS else trained:
            if (batch_size := getattr(config, name).batch_size) % (processes * parts):
                raise UserError(
                    f"--{name.replace('_', '-')}.batch-size {batch_size} is over all processes: expected a multiple of"
                    f" {processes * parts}, for {processes} processes and --accumulate {parts}"
                )


def finished(session: Session, folder: Path) -> bool:
    """Whether a stage's folder holds a finished model, which is then told and kept."""
    if (folder / "model.safetensors").exists():
        session.accelerator.print(f"{folder}: trained already, kept")
        if session.accelerator.is_main_process:
            delete_checkpoints(folder)  # a kill just after the model was saved leaves them
        return True
    return False


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
            with session.accelerator.autocast():
                loss = classification_loss(trained, images, labels)
            session.accelerator.backward(loss)
        return {"loss": loss}

    def step(step: int) -> dict[str, Tensor]:
        set_learning_rate(optimizer, settings.learning_rate * cosine_decay(step, settings.steps, settings.steps // 10))
        optimizer.zero_grad()
        metrics = mean_metrics([learn(*part) for part in session.parts(step, settings.batch_size)])
        optimizer.step()
        return metrics

    batch = partial(session.numbers, len(session.train), settings.batch_size)
    seconds = session.fit(folder, settings.steps, step, {"model": model, "optimizer": optimizer}, None, batch, "loss")

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
        with session.accelerator.autocast():
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
            with session.accelerator.autocast():
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

    def picture(done: int) -> Path:
        model.eval()
        images = session.valid_images(16)[0]
        with torch.no_grad(), session.accelerator.autocast():
            sheet = figures.reconstructions(images, model.decode(model.encode(images)), f"tokenizer, step {done}")
        model.train()
        return figures.save_png(sheet, folder / "pictures" / f"step_{done:06d}.png")

    batch = partial(session.numbers, len(session.train), settings.batch_size)
    seconds = session.fit(folder, settings.steps, step, parts, picture, batch, "l1")

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
    if finished(session, folder):
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
    trained = session.prepare(model)
    parts = {"model": model} | {name: optimizer for name, (optimizer, _) in optimizers.items()}
    ema = None
    if settings.ema_decay:
        ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay)).eval()
        parts["ema"] = ema
    final = ema.module if ema else model
    batch = partial(session.numbers, len(tokens), settings.batch_size)

    def learn(x: Tensor, y: Tensor, mask: Tensor | None, share: Tensor | float) -> dict[str, Tensor]:
        with session.accelerator.accumulate(trained):
            with session.accelerator.autocast():
                if causal:
                    loss = autoregressive.next_token_loss(trained, x, y, settings.label_smoothing)
                else:
                    loss = share * masked_loss(trained, x, y, mask, model.mask_id, settings.label_smoothing)
            session.accelerator.backward(loss)
        return {"loss": loss}

    def step(step: int) -> dict[str, Tensor]:
        # What is drawn is drawn for the whole batch and then cut into parts: it does not depend on how many there are.
        chosen = batch(step)
        x, y = tokens[chosen].to(session.device, torch.long), labels[chosen].to(session.device)
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

    def picture(done: int) -> Path:
        path = folder / "pictures" / f"step_{done:06d}.png"
        return sample_sheet(session, final, tokenizer, f"{folder.name}, step {done}", path)

    seconds = session.fit(folder, settings.steps, step, parts, picture, batch, "loss")

    def evaluate() -> dict:
        print(f"samples: {sample_sheet(session, final, tokenizer, folder.name, folder / 'samples.png')}")
        return {"seconds": seconds}

    return finish(session, final, folder, evaluate)


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
    with session.accelerator.main_process_first():  # the others then find what it has written
        cached = cached_tokens(path, key)
        if cached is None:
            cached = encode_all(session, tokenizer) | {"key": torch.tensor(list(key.encode()), dtype=torch.uint8)}
            with written_aside(path) as aside:
                save_file(cached, aside)
    return cached["tokens"], cached["labels"]


def cached_tokens(path: Path, key: str) -> dict[str, Tensor] | None:
    """What `all_tokens` kept under the same key."""
    try:
        cached = load_file(path)
        return cached if bytes(cached["key"].tolist()).decode() == key else None
    except (OSError, SafetensorError, KeyError, ValueError):  # none, or damaged
        return None


@torch.no_grad()
def encode_all(session: Session, tokenizer: Tokenizer) -> dict[str, Tensor]:
    """All training images as tokens, with their labels."""
    parts = []
    flips = (False, True) if session.config.images.flip else (False,)
    for mirrored in flips:
        for chosen in torch.arange(len(session.train)).split(256):
            images = to_float(session.train.batch(chosen)[0].to(session.device))
            with session.accelerator.autocast():
                parts.append(tokenizer.encode(images.flip(-1) if mirrored else images).int().cpu())
    return {"tokens": torch.cat(parts), "labels": session.train.labels.repeat(len(flips))}


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


def finish(session: Session, model: nn.Module, folder: Path, evaluate: Callable[[], dict]) -> nn.Module:
    """Save the finished model with what `evaluate` measures of it; the training state has served."""
    model.eval()
    if session.accelerator.is_main_process:
        evaluation = evaluate()
        write_json(folder / "evaluation.json", evaluation)
        print(f"{folder.name}: " + ", ".join(f"{name} {value:.4g}" for name, value in evaluation.items()))
        save_model(model, folder)
        delete_checkpoints(folder)
    session.accelerator.wait_for_everyone()
    return model


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
    train(config, out, stages, options.resume, options.device)
    everyone = PartialState()
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
