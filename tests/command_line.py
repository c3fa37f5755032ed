"""Helpers that call the commands and look at what they left.

Options for a run of seconds, a reader who left, a refused command's error line, a folder's files, other weights.
"""

import io
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from minimaskgit.common import cli

# A run of all stages in seconds.
TINY_RUN = [
    *("--images.count", "64", "--report-every", "2", "--save-every", "2", "--picture-every", "3"),
    *("--classifier.steps", "3", "--classifier.width", "8", "--classifier.batch-size", "8"),
    *("--tokenizer.width", "16", "--tokenizer.num-codes", "32", "--tokenizer.code-dim", "4"),
    *("--tokenizer-training.steps", "6", "--tokenizer-training.batch-size", "4"),
    *("--tokenizer-training.gan-start", "0.5", "--tokenizer-training.gan-width", "8"),
    *("--transformer.width", "16", "--transformer.depth", "1", "--transformer.heads", "2"),
    *("--transformer.mlp-width", "32", "--transformer-training.steps", "5"),
    *("--transformer-training.batch-size", "4", "--transformer-training.class-dropout", "0.1"),
    *("--critic-training.steps", "5", "--critic-training.batch-size", "4"),
    *("--gan.width", "8", "--gan.latent", "4", "--gan-training.steps", "5", "--gan-training.batch-size", "4"),
    *("--diffusion.width", "8", "--diffusion-training.steps", "5", "--diffusion-training.batch-size", "4"),
]


class Left(io.StringIO):
    """Standard output after its reader has left, as in a pipe into `head`."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def error_line(capsys, command, *arguments: str) -> str:
    """The error line of a command that refuses its arguments; checks that it is a single line with exit code 2."""
    with pytest.raises(SystemExit) as stop:
        cli.run(lambda: command.main(list(arguments)))
    assert stop.value.code == 2
    *progress, printed = capsys.readouterr().err.strip().splitlines()
    assert printed.startswith("error: ") and not any("Traceback" in line for line in progress)
    return printed


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file of a folder, by its path in it."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def spoil(path: Path) -> None:
    """Replace a model's weights by others."""
    save_file({name: value.clone().neg_() for name, value in load_file(path).items()}, path)
