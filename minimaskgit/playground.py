"""The playground: `python -m minimaskgit.playground --run runs/demo --out playground.html` (lesson 0).

run ──weights and settings──> web/build.py ──> one HTML file, in which the models run in JavaScript
"""

import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from minimaskgit.common import cli
from minimaskgit.common.errors import UserError
from minimaskgit.common.files import write_text
from minimaskgit.runs.checks import check_outputs, checked
from minimaskgit.runs.run import chosen_run
from minimaskgit.web.build import LIMIT, build


@dataclass(frozen=True)
class Options:
    """Whose models to put into a page, and where."""

    run: Path | None = None  # run folder, made by python -m minimaskgit.train
    pretrained: str | None = None  # instead of --run: weights that come with the package (default: glyphs)
    out: Path = Path("playground.html")  # page to write
    open: bool = False  # open it in the default browser


def main(argv: Sequence[str] | None = None) -> None:
    """Write the page, and say what it lacks."""
    options = checked(cli.parse(Options, "playground", argv=argv))
    if options.out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--out {options.out}: expected a name that ends in .html, which browsers open")
    check_outputs({"--out": options.out})
    pretrained = "glyphs" if (options.run, options.pretrained) == (None, None) else options.pretrained
    page = build(chosen_run(options.run, pretrained, "cpu"), LIMIT)
    for note in page.notes:
        print(note)
    write_text(options.out, page.html)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB; open it in a browser")
    if options.open:
        webbrowser.open(options.out.resolve().as_uri())


if __name__ == "__main__":
    cli.run(main)
