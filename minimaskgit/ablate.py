"""The ablation command, a small version of the paper's table 3: `python -m minimaskgit.ablate --run runs/demo`.

    options ──defaults filled in, checked──> measuring/ablation.py ──> table, ablation.json, ablation.png

It compares mask schedules (lesson 3); measuring/ablation.py trains and measures. `--train-steps 0` trains nothing, and
decodes the run's own transformer with each schedule.
"""

from collections.abc import Sequence
from dataclasses import replace

from minimaskgit import figures
from minimaskgit.common import cli
from minimaskgit.common.errors import UserError
from minimaskgit.common.files import write_json
from minimaskgit.figures import ablation
from minimaskgit.measuring.ablation import ablate, critics, decoding_of
from minimaskgit.measuring.evaluation import check_samples
from minimaskgit.measuring.findings import table
from minimaskgit.measuring.yardstick import PAPER, QUICK_SAMPLES, QUICK_STEPS, QUICK_TRAINING, SAMPLES, STEPS, Options
from minimaskgit.runs.checks import check_output_folder, checked
from minimaskgit.runs.choices import check_steps, chosen_decoder, note_decoder
from minimaskgit.runs.run import Run, check_outside_of_package, open_run


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is missing, measure, print the table, and write ablation.json and ablation.png."""
    options = checked(cli.parse(Options, "ablate", argv=argv))
    check_outside_of_package("--run", options.run, "copy the folder")  # the judge and its reference are kept there
    run = open_run(options.run, options.device, options.precision)
    options = resolve(run, options)
    result = ablate(run, options)
    write_json(options.out / "ablation.json", result)
    figures.save_png(ablation.draw(result), options.out / "ablation.png")
    print(table(result))
    print("look at:")
    for name in ("ablation.png", "ablation.json"):
        print(f"  {options.out / name}")


def resolve(run: Run, options: Options) -> Options:
    """Fill in the defaults that depend on the run, and sort T and schedules; UserError for invalid options."""
    tokens, trained = run.tokenizer().num_tokens, run.config.transformer_training.steps
    quick = options.quick
    folder = "ablation-decoding" if options.train_steps == 0 else "ablation-quick" if quick else "ablation"
    defaults = {
        "train_steps": min(QUICK_TRAINING, trained) if quick else trained,
        "samples": QUICK_SAMPLES if quick else SAMPLES,
        "out": run.folder / folder,
    }
    options = replace(options, **{name: value for name, value in defaults.items() if getattr(options, name) is None})
    check_options(options, tokens, len(run.label_names))
    if not options.train_steps:
        run.transformer()  # fails now rather than after the yardstick
    decoding = decoding_of(run, options)
    chosen_decoder(decoding, critics(run, options))  # fails now if it needs a critic that there is not
    note_decoder(decoding)
    steps = options.steps or [min(T, tokens) for T in (QUICK_STEPS if quick else STEPS)]
    able = [name for name in PAPER if options.train_steps or name != "bert"]
    schedules = tuple(name for name in able if name in (options.schedules or able))
    return replace(options, steps=tuple(sorted(set(steps))), schedules=schedules)


def check_options(options: Options, num_tokens: int, num_classes: int) -> None:
    """Raise UserError for invalid options."""
    for name in options.schedules:
        if name not in PAPER:
            raise UserError(f"--schedules {name}: expected one or more of {', '.join(PAPER)}")
        if name == "bert" and not options.train_steps:
            raise UserError("--schedules bert: a constant trains but cannot decode, and --train-steps 0 trains nothing")
    for steps in options.steps:
        check_steps(steps, num_tokens)
    check_samples(options.samples, num_classes)
    check_output_folder("--out", options.out)


if __name__ == "__main__":
    cli.run(main)
