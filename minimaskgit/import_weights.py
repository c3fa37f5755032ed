"""The authors' published weights as a run: `python -m minimaskgit.import_weights --out runs/imagenet256`.

    tokenizer_imagenet256_checkpoint ─┐
    maskgit_imagenet256_checkpoint ───┴─> sizes read, every array used once ──> RUN: config.json, labels.json, models

Everything is checked before anything is written. runs/flax.py reads the format, runs/released.py has the map of names.
"""

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from minimaskgit.common import cli
from minimaskgit.common.errors import UserError
from minimaskgit.common.files import check_absent, removed_on_failure, write_json
from minimaskgit.data.imagenet import imagenet_names
from minimaskgit.runs.checks import check_output_folder, checked, home
from minimaskgit.runs.config import Config, save_config
from minimaskgit.runs.models import record_source, save_model
from minimaskgit.runs.released import Weights, build, check_finite, config_of, fill, open_weights


@dataclass(frozen=True)
class Options:
    """The two files, and the folder to write."""

    tokenizer: Path  # the authors' tokenizer, such as tokenizer_imagenet256_checkpoint
    transformer: Path  # the authors' masked transformer, such as maskgit_imagenet256_checkpoint
    out: Path  # run folder to write; it must not exist yet
    data: str = "imagenet-1k"  # real images of its classes, to edit and to measure with; a folder or a hub id


def main(argv: Sequence[str] | None = None) -> None:
    """Read both files, check them, and write a run that the other commands take."""
    options, start = checked(cli.parse(Options, "import_weights", argv=argv)), time.perf_counter()
    check_output_folder("--out", options.out)
    check_absent("--out", options.out)
    if options.data == "glyphs":
        raise UserError("--data glyphs: these weights never saw glyphs; expected images of their classes")
    files = [open_weights(getattr(options, kind), kind) for kind in ("tokenizer", "transformer")]
    config = config_of(*files, data=located(options.data))
    check_names(files, config.images.size)
    models = {weights.kind: build(config, weights) for weights in files}
    labels = class_names(models["transformer"].num_classes)
    print(description(config, len(labels)))
    print(f"data: {config.data} (not opened; edit without --image and evaluate will read it)", flush=True)
    for weights in files:
        print(f"checking {weights.path}", flush=True)
        check_finite(weights)
    with removed_on_failure(options.out):
        for weights in files:
            print(f"converting {weights.path}", flush=True)
            model = models.pop(weights.kind)
            fill(model, weights)
            save_model(model, options.out / weights.kind)
        record_source(options.out / "transformer", options.out / "tokenizer")
        write_json(options.out / "labels.json", labels)
        save_config(config, options.out / "config.json")
    print(f"{options.out}: written in {time.perf_counter() - start:.0f} s; try it:")
    label = labels[min(1, len(labels) - 1)]
    print(cli.typed("generate", "--run", options.out, "--label", label, "--count", 4))


def located(data: str) -> str:
    """The data as an absolute path if it is on this disk: the run must find it from any folder."""
    path = home(data)
    return str(path.resolve()) if data and os.path.exists(path) else data


def check_names(files: Sequence[Weights], size: int) -> None:
    """UserError if a file's name says another image size: tokenizers of 256 and 512 pixels have the same arrays."""
    for weights in files:
        said = re.search(r"imagenet_?(\d+)", weights.path.name)
        if said and int(said[1]) != size:
            raise UserError(
                f"--{weights.kind} {weights.path} is for {said[1]} x {said[1]} pixels by its name, but the"
                f" transformer's positions are those of {size} x {size}; expected files of the same size, or rename it"
            )


def class_names(count: int) -> list[str]:
    """ImageNet's names for 1000 classes; of others nothing is known but their numbers."""
    return list(imagenet_names()) if count == 1000 else [f"class {number}" for number in range(count)]


def description(config: Config, classes: int) -> str:
    """What was read from the arrays and what is assumed, in two lines."""
    image, tokenizer, transformer = config.images.size, config.tokenizer, config.transformer
    f = tokenizer.patch * 2 ** (len(tokenizer.multipliers) - 1)
    names = "ImageNet's" if classes == 1000 else "without names"
    return (
        f"{image} x {image} pixels in {(image // f) ** 2} tokens of {tokenizer.num_codes} codes; {classes} classes,"
        f" {names}; {transformer.depth} layers, {transformer.width} wide, {transformer.heads} heads\n"
        f"assumed, as in the released code: gelu {transformer.gelu}, norm_eps {transformer.norm_eps:g}, l2_norm"
        f" {tokenizer.l2_norm}, released_shortcut {tokenizer.released_shortcut}; never trained without a class"
    )


if __name__ == "__main__":
    cli.run(main)
