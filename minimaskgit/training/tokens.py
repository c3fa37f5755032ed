"""All training images as tokens, computed once, so that stage 2 never waits for images (lesson 9; paper section 4.1).

images and their mirror images ──frozen tokenizer──> tokens int32 (M, N), labels (M,) ──> RUN/tokens.safetensors
"""

import hashlib
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from tqdm.auto import tqdm

from minimaskgit.common.errors import UserError
from minimaskgit.common.files import atomic_write
from minimaskgit.data.images import to_float
from minimaskgit.runs.models import digest, is_finished, load_cache, other_source, record_source
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.training.checkpoint import checkpoints
from minimaskgit.training.processes import main_decides
from minimaskgit.training.session import Session


def check_source(session: Session, folder: Path, source: Path) -> None:
    """Record in a stage's folder which model it is trained on; UserError if it was trained on another one.

    source: the folder of a finished model.
    """

    def check_and_record() -> None:
        done = is_finished(folder)
        if (done or checkpoints(folder)) and (complaint := other_source(folder, source)):
            raise UserError(f"{complaint}; bring that one back, or delete {folder} to train it again")
        if not done and is_finished(source):
            record_source(folder, source)

    main_decides(session.accelerator, check_and_record)


@torch.no_grad()
def all_tokens(session: Session, tokenizer: Tokenizer) -> tuple[Tensor, Tensor]:
    """Tokens (M, N) and labels (M,) of all training images, and of their mirror images if the run flips images.

    Computed once per tokenizer and data set, and cached in the run folder.
    """
    path, key = session.folder / "tokens.safetensors", key_of(session)
    with session.accelerator.main_process_first():  # the others then find its file
        cached = cached_tokens(path, key)
        if cached is None:
            if path.exists():
                print(f"note: {path} is not of these images and this tokenizer, or damaged: all are encoded again")
            cached = encode_all(session, tokenizer) | {"key": torch.tensor(list(key.encode()), dtype=torch.uint8)}
            with atomic_write(path) as temporary:
                save_file(cached, temporary)
    return cached["tokens"], cached["labels"]


def key_of(session: Session) -> str:
    """A hash of all that the tokens depend on: the tokenizer's weights, the images, their labels and their order."""
    data, config = session.train, session.config
    facts = (
        digest(session.folder / "tokenizer"),
        data.fingerprint,
        data.label_names,
        (config.images.size, config.images.image_column, config.images.flip, config.seed, config.precision),
    )
    key = hashlib.sha256(repr(facts).encode())
    key.update(data.labels.numpy())
    if data.images is not None:  # in memory, where their pixels are read faster than encoded
        key.update(data.images.numpy())
    return key.hexdigest()


def cached_tokens(path: Path, key: str) -> dict[str, Tensor] | None:
    """The tokens and labels that `all_tokens` cached under the same key; None if there are none."""
    cached = load_cache(path) or {}
    return cached if "key" in cached and bytes(cached["key"].tolist()) == key.encode() else None


@torch.no_grad()
def encode_all(session: Session, tokenizer: Tokenizer) -> dict[str, Tensor]:
    """Encode all training images; returns their "tokens" and "labels"."""
    plain, mirrored = [], []
    batches = torch.arange(len(session.train)).split(256)
    for chosen in tqdm(batches, "encoding", unit="batch", dynamic_ncols=True, leave=False, delay=2):
        images = to_float(session.train.batch(chosen)[0].to(session.device))
        with session.autocast():
            plain.append(tokenizer.encode(images).int().cpu())
            if session.config.images.flip:
                mirrored.append(tokenizer.encode(images.flip(-1)).int().cpu())
    tokens = torch.cat(plain + mirrored)
    return {"tokens": tokens, "labels": session.train.labels.repeat(len(tokens) // len(session.train))}
