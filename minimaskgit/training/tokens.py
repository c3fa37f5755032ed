"""All training images as tokens, computed once: stage 2 never waits for a picture (lesson 9; paper section 4.1).

images and their mirror images ──frozen tokenizer──> tokens int32 (M, N), labels (M,) ──> RUN/tokens.safetensors
"""

import hashlib
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from minimaskgit.common.files import written_aside
from minimaskgit.data.images import to_float
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.training.session import Session


@torch.no_grad()
def all_tokens(session: Session, tokenizer: Tokenizer) -> tuple[Tensor, Tensor]:
    """Tokens (M, N) and labels (M,) of all training images, mirrored ones too where images are flipped.

    Computed once a tokenizer and data set, and kept in the run folder.
    """
    path = session.folder / "tokens.safetensors"
    weights = (session.folder / "tokenizer" / "model.safetensors").read_bytes()
    whole = replace(session.config.images, crop=0)  # tokens are those of uncropped images
    key = hashlib.sha256(weights + repr((session.config.data, whole)).encode()).hexdigest()
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
            with session.autocast():
                parts.append(tokenizer.encode(images.flip(-1) if mirrored else images).int().cpu())
    return {"tokens": torch.cat(parts), "labels": session.train.labels.repeat(len(flips))}
