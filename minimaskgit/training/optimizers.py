"""Optimizers, learning rate schedules, gradient clipping and moving averages (lesson 9; paper section 4.1).

settings, model ──make_optimizers──> Muon + AdamW        step ──trapezoid or cosine_decay──> learning rate
"""

import math

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from minimaskgit.common.precision import DTYPES, Precision
from minimaskgit.runs.config import TokenizerTraining, TransformerTraining
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.training.muon import Muon
from minimaskgit.training.sharding import whole
from minimaskgit.transformer import Transformer

Optimizers = dict[str, tuple[torch.optim.Optimizer, float]]  # by name, each with its peak learning rate


def make_optimizers(settings: TransformerTraining, model: Transformer, precision: Precision) -> Optimizers:
    """The transformers' optimizers: AdamW, and Muon for the blocks' matrices if set.

    precision: the precision of Muon's iteration.
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


def tokenizer_optimizers(settings: TokenizerTraining, model: Tokenizer, precision: Precision) -> Optimizers:
    """The tokenizer's optimizers: AdamW, and Muon for the convolutions' kernels if set."""
    kernels = [p for p in model.parameters() if p.ndim == 4 and settings.optimizer == "muon"]
    chosen = {id(p) for p in kernels}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    adamw = torch.optim.AdamW(rest, settings.learning_rate, betas=(0.9, 0.99), weight_decay=1e-4)
    found = {"optimizer": (adamw, settings.learning_rate)}
    if kernels:
        muon = Muon(kernels, settings.muon_learning_rate, weight_decay=1e-4, dtype=DTYPES[precision])
        found["muon"] = (muon, settings.muon_learning_rate)
    return found


def cosine_decay(step: int, steps: int, warmup: int) -> float:
    """Learning rate as a fraction of its peak: a linear rise over `warmup` steps, then half a cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def trapezoid(step: int, steps: int, warmup: int, cooldown: float) -> float:
    """Learning rate as a fraction of its peak: a linear rise, a plateau, a linear fall over the last `cooldown`."""
    rise = min(1.0, (step + 1) / max(1, warmup))
    fall = min(1.0, (steps - step) / max(1, cooldown * steps))
    return rise * fall


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def clip_gradient(model: nn.Module, largest: float) -> Tensor:
    """Clip the gradient to the norm `largest`, and return the norm it had before."""
    return whole(nn.utils.clip_grad_norm_(model.parameters(), largest))


def averaged(model: nn.Module, decay: float, buffers: bool = False) -> AveragedModel:
    """The moving average of a model's weights, in eval mode; `decay` rises to its value over the first steps.

    It is min(decay, (1 + n) / (10 + n)) after n updates. If it were 0.999 from the start, the first weights would make
    up 61 % of the average after 500 steps. buffers: average them too.
    """

    def update(means: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        get_ema_multi_avg_fn(min(decay, (1 + count.item()) / (10 + count.item())))(means, current, count)

    return AveragedModel(model, multi_avg_fn=update, use_buffers=buffers).eval()
