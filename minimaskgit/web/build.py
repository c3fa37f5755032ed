"""The page: template, style, engine, settings and weights in one HTML file.

page.html ── {{style}} {{settings}} {{weights}} {{engine}} {{page}} ──> HTML of at most LIMIT bytes
"""

import html
import json
import re
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np

from minimaskgit.common.errors import UserError
from minimaskgit.decoders.named import UNUSED, DecoderName
from minimaskgit.runs.choices import check_guidance
from minimaskgit.runs.run import Run
from minimaskgit.runs.searched import read_searched
from minimaskgit.web.pack import as_text, models_of, packed, planes_of, rounded

HERE = Path(__file__).parent
ENGINE = (
    *("tensors", "schedules", "transformer", "tokenizer", "decoding", "autoregressive", "decoders", "editing"),
    *("weights", "worker"),
)
PAGE = ("client", "pictures", "controls", "curve", "play", "race", "edit", "draw", "inside", "save", "page")
LIMIT = 24_000_000  # bytes of the page; the photographs' models take 18 million
BYTES = 1.8  # that a weight in bfloat16, the coarsest, takes as text


class Page(NamedTuple):
    html: str
    bits: int  # of each weight, of 32
    exact: bool  # whether every weight is what it is in the run
    missing: tuple[str, ...]  # models that the run does not have

    @property
    def notes(self) -> list[str]:
        """What it lacks of the run, a line each."""
        notes = []
        if self.missing:
            notes.append(f"left out, not trained in this run: {', '.join(self.missing)}")
        if not self.exact:
            rounded = f"rounded to {self.bits} of their 32 bits, so that they fit"
            notes.append(f"weights: {rounded}; some tokens can differ")
        return notes


def script(names: tuple[str, ...]) -> str:
    """JavaScript files, one after another."""
    return "\n".join((HERE / f"{name}.js").read_text("utf-8") for name in names)


def build(run: Run, limit: int = LIMIT) -> Page:
    """The playground of a run; UserError if it would have more than `limit` bytes with the coarsest weights.

    It goes to public hosts, so it names the run's folder, and no path of the machine that built it.
    """
    check_guidance(run, run.config.decoding)
    models = models_of(run)
    tensors = [value for _, named in models.values() for _, value in named]
    count = sum(value.numel() for value in tensors)
    if count > limit:  # each takes a byte or more
        raise too_large(run, count, BYTES * count, limit)
    numbers = np.concatenate([value.float().numpy().ravel() for value in tensors])
    about = settings(run, models)
    for bits in range(32, 15, -1):
        page = filled(run, about | {"bytes": planes_of(bits)}, as_text(packed(numbers, bits)))
        if (size := len(page.encode("utf-8", "backslashreplace"))) <= limit:
            missing = tuple(name for name in ("autoregressive", "critic") if name not in models)
            return Page(page, bits, np.array_equal(rounded(numbers, bits), numbers), missing)
    raise too_large(run, count, size, limit)


def too_large(run: Run, count: int, size: float, limit: int) -> UserError:
    return UserError(
        f"{run.folder}: its models have {count:,} parameters, a page of {size / 1e6:.1f} MB; expected"
        f" {limit / 1e6:g} MB or less, enough for about {limit / BYTES / 1e6:.0f} million parameters"
    )


def settings(run: Run, models: dict) -> dict[str, Any]:
    """What the page must know of the run; worker.js uses it."""
    return {
        "labels": run.label_names,
        "decoding": vars(run.config.decoding),
        "class_dropout": run.config.transformer_training.class_dropout,
        "decoders": [name for name in get_args(DecoderName) if name != "critic" or "critic" in models],
        "unused": UNUSED,
        "policies": {steps: vars(found.policy) for steps, found in read_searched(run.folder).policies.items()},
        "models": {
            name: {"settings": arguments, "tensors": [(tensor, list(value.shape)) for tensor, value in tensors]}
            for name, (arguments, tensors) in models.items()
        },
    }


def filled(run: Run, about: dict[str, Any], weights: str) -> str:
    """The template with everything in its place."""
    parts = {
        "title": html.escape(run.folder.resolve().name),
        "style": (HERE / "page.css").read_text("utf-8"),
        "settings": json.dumps(about).replace("<", "\\u003c"),  # a class may be called </script>
        "weights": weights,
        "engine": script(ENGINE),
        "page": script(PAGE),
    }
    template = (HERE / "page.html").read_text("utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], template)
