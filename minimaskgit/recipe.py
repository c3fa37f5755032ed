"""The ablation of the recipe: `python -m minimaskgit.recipe`, one change of a preset's training at a time.

options ──> measuring/recipe.py, which trains and measures ──> table, recipe.json, recipe.png
"""

from collections.abc import Sequence
from dataclasses import replace

from minimaskgit import figures
from minimaskgit.common import cli
from minimaskgit.common.errors import UserError
from minimaskgit.figures import differences
from minimaskgit.measuring.changes import changed, differing
from minimaskgit.measuring.evaluation import check_neighbours
from minimaskgit.measuring.recipe import Options, ablate_recipe, table
from minimaskgit.measuring.recipe import differences as rows_of
from minimaskgit.runs.checks import check, check_output_folder, checked
from minimaskgit.runs.presets import starting_point


def main(argv: Sequence[str] | None = None) -> None:
    """Train and measure what is missing; after each model, write recipe.json and recipe.png anew."""
    preset, _, config = starting_point(argv)
    config = replace(config, fd_samples=0)  # the finished models are measured
    options = checked(cli.parse(Options, "recipe", Options(preset, config=config), argv))
    check(options.config)
    for variants in differing(options.config, options.variants).values():
        for changes in variants.values():
            check(changed(options.config, changes))
    if options.config.seed != config.seed:
        raise UserError(f"--seed {options.config.seed}: each model has a seed of its own; give --seeds")
    check_neighbours(min(options.samples, options.reference))
    if options.config.images.count is None:
        raise UserError("--images.count: expected a number, so that some images are left to measure with")
    if not options.seeds:
        raise UserError("--seeds: expected one or more seeds")
    check_output_folder("--out", options.out)
    picture = options.out / "recipe.png"
    report = lambda result: figures.save_png(differences.draw(rows_of(result)), picture)
    result = ablate_recipe(options, report)
    if result["models"]:
        report(result)
        print(table(result))
    print("look at:")
    for path in (picture, options.out / "recipe.json"):
        if path.exists():
            print(f"  {path}")


if __name__ == "__main__":
    cli.run(main)
