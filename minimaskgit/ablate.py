"""Which mask schedule? The paper's table 3, small: `python -m minimaskgit.ablate --run runs/demo` (lesson 3).

    the run's tokens ──> a transformer trained with each gamma ──> decoded with the same gamma, T = 1, 2, 4, ... N
                                            └──> NLL of held-out tokens          └──> FD, class accuracy; the best T

FD is in the judge's features and from real images through the tokenizer, so that it blames the transformer alone.
Everything but the schedule is equal: tokenizer, first weights, batches, number of steps, seeds and counts of samples.
BERT's constant 15 % is a way to train, not to decode: a ratio that never falls would never end. Its transformer is
decoded with the cosine, and does badly, having seen canvases with few holes only: decoding starts from a blank one.
"""

from collections.abc import Sequence
from dataclasses import replace

from minimaskgit import figures
from minimaskgit.common import cli
from minimaskgit.common.errors import UserError
from minimaskgit.common.files import write_json
from minimaskgit.figures import ablation
from minimaskgit.measuring.ablation import ablate
from minimaskgit.measuring.findings import table
from minimaskgit.measuring.yardstick import PAPER, QUICK_SAMPLES, QUICK_STEPS, QUICK_TRAINING, SAMPLES, STEPS, Options
from minimaskgit.runs.choices import check_steps
from minimaskgit.runs.run import Run, check_outside_of_package, open_run


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is not trained yet, measure, print the table, write ablation.json and ablation.png."""
    options = cli.parse(Options, "Compare mask schedules, each trained and decoded with (table 3).", argv=argv)
    check_outside_of_package("--run", options.run, "copy the folder")  # the judge and its reference are kept there
    run = open_run(options.run, options.device, options.precision)
    options = settled(run, options)
    result = ablate(run, options)
    print(table(result))
    write_json(options.out / "ablation.json", result)
    figures.save_png(ablation.draw(result), options.out / "ablation.png")
    print("look at:")
    for name in ("ablation.png", "ablation.json"):
        print(f"  {options.out / name}")


def settled(run: Run, options: Options) -> Options:
    """The options with nothing left open, T and schedules in order; UserError for what cannot be measured."""
    tokens, trained = run.tokenizer().num_tokens, run.config.transformer_training.steps
    quick = options.quick
    defaults = {
        "train_steps": min(QUICK_TRAINING, trained) if quick else trained,
        "samples": QUICK_SAMPLES if quick else SAMPLES,
        "out": run.folder / ("ablation-quick" if quick else "ablation"),
    }
    options = replace(options, **{name: value for name, value in defaults.items() if getattr(options, name) is None})
    check_options(options, tokens, len(run.label_names))
    steps = options.steps or [min(T, tokens) for T in (QUICK_STEPS if quick else STEPS)]
    schedules = tuple(name for name in PAPER if name in (options.schedules or PAPER))
    return replace(options, steps=tuple(sorted(set(steps))), schedules=schedules)


def check_options(options: Options, num_tokens: int, num_classes: int) -> None:
    """UserError for what cannot be measured."""
    for name in options.schedules:
        if name not in PAPER:
            raise UserError(f"--schedules {name}: expected some of {', '.join(PAPER)}")
    for steps in options.steps:
        check_steps(steps, num_tokens)
    if options.train_steps < 1:
        raise UserError(f"--train-steps {options.train_steps}: expected 1 or more")
    if options.samples < 2 * num_classes:
        raise UserError(
            f"--samples {options.samples}: expected {2 * num_classes} or more, two for each of {num_classes} classes"
        )
    if options.reference < 2:
        raise UserError(f"--reference {options.reference}: expected 2 or more")
    if options.out.exists() and not options.out.is_dir():
        raise UserError(f"--out {options.out} is a file; expected a folder, or a name that is free")
    check_outside_of_package("--out", options.out)


if __name__ == "__main__":
    cli.run(main)
