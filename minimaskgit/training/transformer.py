"""Stage 2: the masked transformer and its autoregressive twin, on the frozen tokenizer's tokens (lesson 3).

tokens (B, N), labels (B,) ──draw_masks──> mvtm_loss (paper equation 1), or next_token_loss for the twin
"""

from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from minimaskgit import autoregressive
from minimaskgit.masking import draw_masks, masked_cross_entropy, mvtm_loss
from minimaskgit.runs.choices import decoding_loop
from minimaskgit.runs.config import DecodingConfig
from minimaskgit.runs.models import load_model
from minimaskgit.schedules import RATIOS
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.training.batches import micro_batches
from minimaskgit.training.estimate import transformer_flops
from minimaskgit.training.initial import begin
from minimaskgit.training.log import mean_metrics
from minimaskgit.training.optimizers import averaged, clip_gradient, make_optimizers, set_learning_rate, trapezoid
from minimaskgit.training.processes import main_decides
from minimaskgit.training.session import Session, finish, finished
from minimaskgit.training.sharding import split, whole_model
from minimaskgit.training.sheet import show
from minimaskgit.training.tokens import all_tokens, check_source
from minimaskgit.transformer import Transformer


def train_transformer(session: Session, causal: bool, folder: Path | None = None) -> Transformer:
    """Masked visual token modelling on the frozen tokenizer's tokens, or next-token prediction on the same.

    folder: of the stage, by default in the run's folder; its name seeds the steps.
    """
    folder = folder or session.folder / ("autoregressive" if causal else "transformer")
    settings, seed = session.config.transformer_training, session.config.seed
    check_source(session, folder, session.folder / "tokenizer")
    if finished(session, folder):
        return load_model(Transformer, folder).to(session.device)
    tokenizer = load_model(Tokenizer, session.folder / "tokenizer").to(session.device)
    tokens, labels = (x.to(session.device) for x in all_tokens(session, tokenizer))  # small enough to stay there
    torch.manual_seed(seed)
    num_classes = session.train.num_classes
    shape = asdict(session.config.transformer)
    make = partial(Transformer, tokenizer.num_codes, num_classes, tokenizer.num_tokens, causal=causal, **shape)
    model = make()
    begin(session, folder.name, model)
    model = model.to(session.device)
    model.recompute = session.config.recompute
    ema = averaged(model, settings.ema_decay) if settings.ema_decay else None
    final = ema.module if ema else model
    if session.splits:
        split(model)
        if ema:
            split(final)
    trained = session.prepare(model, session.config.compile)
    optimizers = make_optimizers(settings, model, session.config.precision)
    schedule = RATIOS[settings.schedule]
    parts = {"model": model} | {name: optimizer for name, (optimizer, _) in optimizers.items()}
    parts |= {"ema": ema} if ema else {}
    batch = partial(session.indices, len(tokens), settings.batch_size)

    def objective(x: Tensor, y: Tensor, masks: Tensor | None, rows: slice) -> Tensor:
        """The loss of one micro-batch, weighted so that the mean over micro-batches is that of the whole batch."""
        if causal:
            return autoregressive.next_token_loss(trained, x[rows], y[rows], settings.label_smoothing)
        if settings.loss_mean == "images":
            return mean_of_images(trained, model.mask_id, x[rows], y[rows], masks[rows], settings.label_smoothing)
        # The loss is a mean over the batch's masked tokens. Each part counts by its share of them, times the number of
        # parts, because the gradient is the mean of the parts' gradients.
        share, parts = masks[rows].sum() / masks.sum(), len(masks) / len(masks[rows])
        return share * parts * mvtm_loss(trained, x[rows], y[rows], masks[rows], settings.label_smoothing)

    def step(step: int) -> dict[str, Tensor]:
        # Random numbers are drawn for the whole batch, so the number of micro-batches changes nothing.
        chosen = batch(step).to(session.device)
        x, y = tokens[chosen].long(), labels[chosen]
        y = torch.where(torch.rand(len(y), device=y.device) < settings.class_dropout, num_classes, y)
        masks = None if causal else draw_masks(*x.shape, schedule, x.device)
        scale = trapezoid(step, settings.steps, settings.warmup, settings.cooldown)
        for optimizer, peak in optimizers.values():
            set_learning_rate(optimizer, peak * scale)
            optimizer.zero_grad()
        losses, step_seed = [], torch.initial_seed()
        for rows in micro_batches(len(x), session.accelerator):
            if rows.start:
                torch.manual_seed(step_seed + rows.start)  # each micro-batch has its own dropout
            with session.accelerator.accumulate(trained):
                with session.autocast():
                    loss = objective(x, y, masks, rows)
                session.accelerator.backward(loss)
            losses.append({"loss": loss})
        norm = clip_gradient(model, settings.clip)
        for optimizer, _ in optimizers.values():
            optimizer.step()
        if ema:
            ema.update_parameters(model)
        return mean_metrics(losses) | {"grad_norm": norm}

    def current() -> Transformer:
        """The model to draw with and to keep: whole, and averaged if asked for."""
        main = session.accelerator.is_main_process
        return whole_model(final, make, main) if session.splits else final

    def shown(model: Transformer, heading: str, path: Path) -> dict[str, float]:
        return show(session, partial(drawn, model, tokenizer, session.config.decoding), heading, path)

    def picture(done: int) -> dict[str, float]:
        model = current()  # all processes put split weights together, and the main one draws
        path = folder / "pictures" / f"step_{done:06d}.png"
        return main_decides(session.accelerator, lambda: shown(model, f"{folder.name}, step {done}", path))

    speed = session.speed(settings.batch_size, transformer_flops(model, settings.batch_size))
    seconds = session.fit(folder, settings.steps, step, parts, picture, batch=batch, speed=speed)
    result = current()

    def evaluate() -> dict:
        found = shown(result, folder.name, folder / "samples.png")
        print(f"samples: {folder / 'samples.png'}")
        return {"seconds": seconds} | found

    return finish(session, result, folder, evaluate)


def mean_of_images(
    model: nn.Module, mask_id: int, tokens: Tensor, labels: Tensor, mask: Tensor, label_smoothing: float
) -> Tensor:
    """As `mvtm_loss`, but each image counts the same, however many of its tokens are masked."""
    logits = model(tokens.masked_fill(mask, mask_id), labels)  # (B, N, K)
    return masked_cross_entropy(logits, tokens, mask / mask.sum(1, keepdim=True), label_smoothing)


def drawn(
    model: Transformer, tokenizer: Tokenizer, settings: DecodingConfig, labels: Tensor, generator: torch.Generator
) -> Tensor:
    """Images (B, 3, H, W) of classes (B,) from a model in training, which stays in training mode."""
    training = model.training
    model.eval()
    if model.causal:
        tokens = autoregressive.generate(model, labels, generator=generator)
    else:
        steps = decoding_loop(settings)(model, labels, generator=generator)
        *_, last = tqdm(steps, "drawing samples", settings.steps, delay=2, leave=False)
        tokens = last.tokens
    model.train(training)
    return tokenizer.decode(tokens)
