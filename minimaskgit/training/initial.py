"""Weights to start from: another run's, or the pretrained ones (`train --init-from`; for one's own pictures).

    SOURCE ──tokenizer, transformers, class names──> RUN/initial, a copy, so that SOURCE is not needed again
    RUN/initial/tokenizer ──as it is, or trained on──> RUN/tokenizer
    RUN/initial/transformer ──all weights, the embeddings of classes by their names──> trained on──> RUN/transformer

A class that the source does not know has no embedding there: it starts anew.
"""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from minimaskgit.common.errors import UserError
from minimaskgit.common.files import atomic_write
from minimaskgit.data.imagenet import as_imagenet
from minimaskgit.runs.config import Config, ImagesConfig, first_difference, load_config
from minimaskgit.runs.models import is_finished, load_model, other_source
from minimaskgit.runs.run import label_names, run_or_pretrained
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.training.session import Session
from minimaskgit.transformer import Transformer

NAME = "initial"  # folder of the copy; itself a run, whose config.json is written last
KINDS = {"tokenizer": Tokenizer, "transformer": Transformer, "autoregressive": Transformer}


def lacks_source(config: Config, folder: Path, stages: Sequence[str]) -> bool:
    """Whether a run still has to take the weights that its untrained stages start from."""
    untrained = [stage for stage in KINDS if stage in stages and not is_finished(folder / stage)]
    return bool(config.init_from and untrained) and not (folder / NAME / "config.json").exists()


def checked_source(config: Config) -> Path:
    """The folder of the source, whose models can be loaded; UserError if the run cannot start from it."""
    source, given = run_or_pretrained(config.init_from), f"--init-from {config.init_from}"
    if difference := first_difference(shapes(load_config(source / "config.json")), shapes(config)):
        raise UserError(f"{given} brings weights of other settings: {difference}; leave that setting out")
    for stage, kind in KINDS.items():
        if stage != "autoregressive" or is_finished(source / stage):  # some have no twin
            load_model(kind, source / stage)
    label_names(source)
    if complaint := other_source(source / "transformer", source / "tokenizer"):
        raise UserError(f"{given}: {complaint}; expected a transformer and its own tokenizer")
    return source


def shapes(config: Config) -> Config:
    """The settings that weights depend on, with defaults for all others."""
    transformer = replace(config.transformer, dropout=0.0)
    return Config(images=ImagesConfig(config.images.size), tokenizer=config.tokenizer, transformer=transformer)


def take(session: Session) -> None:
    """Copy the source's models and class names into the run, and print what will start from them, and what anew."""
    config, start = session.config, session.folder / NAME
    source = run_or_pretrained(config.init_from)
    stages = [stage for stage in KINDS if is_finished(source / stage)]
    models = (f"{stage}/{name}" for stage in stages for name in ("config.json", "model.safetensors"))
    for name in (*models, "labels.json", "config.json"):
        with atomic_write(start / name) as aside:
            shutil.copyfile(source / name, aside)
    known, names = as_imagenet(label_names(start)), as_imagenet(session.train.label_names)
    new = [name for name in names if name not in known]
    anew = [stage for stage in KINDS if stage not in stages]
    anew += [f"the embeddings of {len(new)} of {len(names)} classes"] if new else []
    kept = "" if config.tokenizer_training.steps else " (kept as it is)"
    taken = ", ".join(stages).replace("tokenizer", f"tokenizer{kept}")
    print(f"from {config.init_from}: {taken}; anew: {', '.join(anew) or 'nothing'}")


def initial(session: Session, stage: str) -> nn.Module | None:
    """The model that a stage starts from; None if it starts anew."""
    folder = session.folder / NAME / stage
    return load_model(KINDS[stage], folder) if folder.exists() else None


def begin(session: Session, stage: str, model: Transformer) -> None:
    """Give a new transformer the weights that its stage starts from, if there are any."""
    if theirs := initial(session, stage):
        known, names = as_imagenet(label_names(session.folder / NAME)), as_imagenet(session.train.label_names)
        transfer(theirs, model, known_rows(known, names, model.num_codes))


def known_rows(known: Sequence[str], names: Sequence[str], num_codes: int) -> Tensor:
    """The rows of an old embedding table (K codes, classes `known`, [MASK]) to copy into a new one for classes `names`.

    int64 (K + C + 1,), one entry for each row of the new table; -1 for a class that the old one lacks.
    """
    classes = [num_codes + known.index(name) if name in known else -1 for name in names]
    return torch.tensor([*range(num_codes), *classes, num_codes + len(known)])


@torch.no_grad()
def transfer(theirs: Transformer, model: Transformer, rows: Tensor) -> None:
    """Copy all weights to a model that differs in its classes only; rows: from `known_rows`, int64 (K + C + 1,)."""
    own, known = model.state_dict(), rows >= 0
    for name, weights in theirs.state_dict().items():
        if name in ("embedding.weight", "bias"):
            own[name][known] = weights[rows[known]]
        else:
            own[name].copy_(weights)
