"""The comparison command: `python -m minimaskgit.compare --run runs/demo` (lessons 6 and 8).

options ──> measuring/race.py: the speed of MaskGIT and its autoregressive twin
        └─> with --showdown also measuring/showdown.py: speed and quality, with a GAN and a diffusion model
"""

from collections.abc import Sequence

from minimaskgit.common import cli
from minimaskgit.common.errors import UserError
from minimaskgit.measuring import showdown
from minimaskgit.measuring.race import Options, compare
from minimaskgit.runs.run import check_outside_of_package, chosen_work_folder, open_run


def main(argv: Sequence[str] | None = None) -> None:
    """Time both decoders, print the table, and write compare.json and the pictures."""
    options = cli.parse(Options, "compare", argv=argv)
    for name in ("repeats", "shown"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name} {getattr(options, name)}: expected 1 or more")
    if not options.batches or min(options.batches) < 1:
        raise UserError(f"--batches {options.batches}: expected one or more positive numbers")
    if options.out:
        check_outside_of_package("--out", options.out)
    folder = chosen_work_folder(options.run, options.pretrained)
    if options.showdown:
        showdown.check(options.samples, folder)
        showdown.train_missing(folder, options.device)
    compare(open_run(folder, options.device, options.precision), options)


if __name__ == "__main__":
    cli.run(main)
