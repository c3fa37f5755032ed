"""Quality against passes, for every decoder: `python -m minimaskgit.passes --run runs/demo` (make lab-samplers).

options ──> measuring/passes.py ──> table, passes.json, passes.png
"""

from collections.abc import Sequence

from minimaskgit import figures
from minimaskgit.common import cli
from minimaskgit.common.errors import UserError
from minimaskgit.figures import passes as figure
from minimaskgit.measuring.passes import Options, curves, measure_passes, table
from minimaskgit.runs.checks import check_output_folder, checked
from minimaskgit.runs.run import chosen_work_folder, open_run


def main(argv: Sequence[str] | None = None) -> None:
    """Sample with every decoder and T, print the table, and write passes.json and passes.png."""
    options = checked(cli.parse(Options, "passes", argv=argv))
    if not options.seeds:
        raise UserError("--seeds: expected one or more seeds")
    work = chosen_work_folder(options.run, options.pretrained)
    folder = options.out or work / "passes"
    check_output_folder("--out", folder)
    result = measure_passes(open_run(work, options.device, options.precision), options, folder)
    print(table(result))
    floors = {"fd_tokens": result["real"]["through"]["fd_tokens"], "fd": result["real"]["second"]["fd"]}
    figures.save_png(figure.draw(curves(result), floors, "What a pass buys"), folder / "passes.png")
    print("look at:")
    for name in ("passes.png", "passes.json"):
        print(f"  {folder / name}")


if __name__ == "__main__":
    cli.run(main)
