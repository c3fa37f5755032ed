"""The evaluation command: `python -m minimaskgit.evaluate --run runs/demo --json quality.json` (lesson 8).

    options ──> measuring/evaluation.py ──> table, JSON file, samples beside the training images nearest to them

measuring/evaluation.py measures the run and explains the numbers.
"""

from collections.abc import Sequence

from minimaskgit.common import cli
from minimaskgit.common.files import write_json
from minimaskgit.measuring.evaluation import Options, are_of_samples, chosen_name, chosen_settings, evaluate, table
from minimaskgit.runs.checks import check_outputs, checked
from minimaskgit.runs.run import chosen_work_folder, open_run


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print the table, and write the JSON file."""
    options = checked(cli.parse(Options, "evaluate", argv=argv))
    check_outputs({"--json": options.json})
    run = open_run(chosen_work_folder(options.run, options.pretrained), options.device, options.precision)
    settings = chosen_settings(run, options)
    name = chosen_name(options, settings) if are_of_samples(options.metrics) else "tokenizer"
    own = run.folder / "evaluation" / f"{name}.json"
    path, sheet = options.json or own, own.with_name(f"{own.stem}-memory.png")
    kept = [*run.folder.rglob("config.json"), run.folder / "labels.json"]
    taken = {f"the run's {file.relative_to(run.folder)}": file for file in kept}
    check_outputs({"--json": path}, taken | {"the sheet of samples beside training images": sheet})
    result = evaluate(run, options, settings, sheet)
    write_json(path, result)  # before printing: whoever reads the output may have left
    print(table(result))
    print(path)
    if result["memory"]:
        print(f"{sheet}: samples beside training images, which may not be yours to publish")


if __name__ == "__main__":
    cli.run(main)
