"""Where the authors' ImageNet weights are, and from there to a run: `python -m minimaskgit.imagenet` (make imagenet).

two published files ──--download──> FILES ──import_weights──> RUN ──generate, edit, evaluate──> pictures
"""

import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from minimaskgit.common import cli
from minimaskgit.common.errors import UserError
from minimaskgit.common.files import check_absent
from minimaskgit.runs.checks import check_output_folder, checked
from minimaskgit.runs.published import ADDRESS, FILES, PAGE, Published, fetch, is_whole


@dataclass(frozen=True)
class Options:
    """Without --download, this command only says where the files are and what to type."""

    download: bool = False  # ask, then fetch the two files and import them as a run
    yes: bool = False  # with --download: do not ask
    files: Path = Path("runs/released")  # folder for the two files
    out: Path = Path("runs/imagenet256")  # run folder to write; it must not exist yet
    address: str = ADDRESS  # where to fetch the files from


def main(argv: Sequence[str] | None = None) -> None:
    """Say where the files are, or fetch and import them."""
    options = checked(cli.parse(Options, "imagenet", argv=argv))
    if not options.download:
        print(directions(options))
        return
    check_output_folder("--files", options.files)
    check_output_folder("--out", options.out)
    check_absent("--out", options.out)
    missing = [file for file in FILES.values() if not is_whole(file, options.files)]
    if missing and not options.yes:
        ask(f"Fetch {amount(missing)} from {options.address} into {options.files}? [y/N] ")
    for file in missing:
        fetch(file, options.files, options.address)
    # A process of its own, because no command imports another.
    command, *given = import_command(options.files, options.out)
    code = subprocess.run([sys.executable, "-m", f"minimaskgit.{command}", *given]).returncode
    if code:
        sys.exit(code)
    print(f"the files {' and '.join(file.name for file in FILES.values())} in {options.files} are no longer needed")


def directions(options: Options) -> str:
    """Where the files are, how large, and what to type."""
    width = max(len(kind) for kind in FILES)
    rows = [f"  {kind:{width}}  {file.size:>11,} bytes  {options.address}/{file.name}" for kind, file in FILES.items()]
    return "\n".join([
        f"MaskGIT's authors published its ImageNet weights, for 256 x 256 pixels, on {PAGE}:",
        *rows,
        f"To fetch both ({amount(FILES.values())}) and make them the run {options.out}:",
        f"  {cli.typed('imagenet', '--download', *chosen(options))}",
        f"Or fetch them yourself into {options.files}, and type:",
        f"  {cli.typed(*import_command(options.files, options.out))}",
        "Then:",
        f"  {cli.typed('generate', '--run', options.out, '--label', 'goldfish', '--count', 4)}",
    ])  # fmt: skip


def chosen(options: Options) -> list[str]:
    """The folders and the address as the user gave them, where they are not the defaults."""
    default = Options()
    names = [name for name in ("files", "out", "address") if getattr(options, name) != getattr(default, name)]
    return [word for name in names for word in (f"--{name}", str(getattr(options, name)))]


def import_command(files: Path, out: Path) -> list[str]:
    """The command and the arguments that make a run of the files."""
    given = [word for kind, file in FILES.items() for word in (f"--{kind}", str(files / file.name))]
    return ["import_weights", *given, "--out", str(out)]


def amount(files: Iterable[Published]) -> str:
    """The size of files together."""
    return f"{sum(file.size for file in files) / 1e6:,.0f} MB"


def ask(question: str) -> None:
    """Return if the user agrees; UserError if not, or if nobody can answer."""
    try:
        answer = input(question)
    except (EOFError, OSError, RuntimeError):  # the last two without a stdin
        print()
        raise UserError("nobody answered; add --yes to fetch without being asked") from None
    if answer.strip().lower() not in ("y", "yes"):
        raise UserError(
            "nothing was fetched; answer y, or fetch the files yourself; without --download, the command says how"
        )


if __name__ == "__main__":
    cli.run(main)
