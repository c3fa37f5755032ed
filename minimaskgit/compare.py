"""The race: MaskGIT against its autoregressive twin, `python -m minimaskgit.compare --run runs/demo` (lesson 6).

Same backbone, same tokens, same training; one fills the canvas in T passes of all tokens, the other in N passes of one
new token each, with a key-value cache or, as in naive code, without. What is timed is the making of tokens (the
paper's figure 4); turning them into pixels costs both sides the same and is left out. With --showdown the rivals join,
and quality is measured too: showdown.py.
"""

from collections.abc import Sequence

from minimaskgit.common import cli
from minimaskgit.common.errors import UserError
from minimaskgit.measuring import showdown
from minimaskgit.measuring.race import Options, compare
from minimaskgit.runs.run import check_outside_of_package, chosen_work_folder, open_run


def main(argv: Sequence[str] | None = None) -> None:
    """Time both decoders, print the table, write compare.json and the pictures."""
    options = cli.parse(Options, "Compare parallel with autoregressive decoding.", argv=argv)
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
