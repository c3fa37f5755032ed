"""All training images as tokens, computed once, so that stage 2 never waits for images (lesson 9; paper section 4.1).

images and their mirror images ──frozen tokenizer──> tokens int32 (M, N), labels (M,) ──> RUN/tokens.safetensors
"""

import hashlib
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from minimaskgit.common.files import atomic_write
from minimaskgit.data.images import to_float
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.training.session import Session


@torch.no_grad()
def all_tokens(session: Session, tokenizer: Tokenizer) -> tuple[Tensor, Tensor]:
    """Tokens (M, N) and labels (M,) of all training images, and of their mirror images if the run flips images.

    Computed once per tokenizer and data set, and cached in the run folder.
    """
    path = session.folder / "tokens.safetensors"
    weights = (session.folder / "tokenizer" / "model.safetensors").read_bytes()
    uncropped = replace(session.config.images, crop=0)  # cropping does not change the tokens
    key = hashlib.sha256(weights + repr((session.config.data, uncropped)).encode()).hexdigest()
    with session.accelerator.main_process_first():  # the others then find its file
        cached = cached_tokens(path, key)
        if cached is None:
            cached = encode_all(session, tokenizer) | {"key": torch.tensor(list(key.encode()), dtype=torch.uint8)}
            with atomic_write(path) as temporary:
                save_file(cached, temporary)
    return cached["tokens"], cached["labels"]


def cached_tokens(path: Path, key: str) -> dict[str, Tensor] | None:
    """The tokens and labels that `all_tokens` cached under the same key; None if there are none."""
    try:
        cached = load_file(path)
        return cached if bytes(cached["key"].tolist()).decode() == key else None
    except (OSError, SafetensorError, KeyError, ValueError):  # missing or damaged
        return None


@torch.no_grad()
def encode_all(session: Session, tokenizer: Tokenizer) -> dict[str, Tensor]:
    """Encode all training images; returns their "tokens" and "labels"."""
    parts = []
    flips = (False, True) if session.config.images.flip else (False,)
    for mirrored in flips:
        for chosen in torch.arange(len(session.train)).split(256):
            images = to_float(session.train.batch(chosen)[0].to(session.device))
            with session.autocast():
                parts.append(tokenizer.encode(images.flip(-1) if mirrored else images).int().cpu())
    return {"tokens": torch.cat(parts), "labels": session.train.labels.repeat(len(flips))}
