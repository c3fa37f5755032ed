"""Export trained weights: `python -m minimaskgit.export --run runs/glyphs --out data/pretrained/glyphs` (lesson 0).

    run folder ──weights to bfloat16, training state left out──> folder of a few megabytes, itself a run ──> model card
    run folder ──--to flax──> tokenizer_checkpoint and maskgit_checkpoint, as the authors' code reads them

Quality is measured with the exported (rounded) weights and written to the card.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from minimaskgit.classifier import Classifier
from minimaskgit.common import cli
from minimaskgit.common.errors import UserError
from minimaskgit.common.files import check_absent, check_output_folder, removed_on_failure, write_json, write_text
from minimaskgit.common.machine import described
from minimaskgit.measuring.evaluation import Options as EvaluateOptions
from minimaskgit.measuring.evaluation import check_options, chosen_settings, evaluate, table
from minimaskgit.runs.checks import checked
from minimaskgit.runs.config import Samples, first_difference
from minimaskgit.runs.flax import write_arrays
from minimaskgit.runs.models import load_model, save_model
from minimaskgit.runs.presets import PRESETS
from minimaskgit.runs.released import check_released, released_tree
from minimaskgit.runs.run import Run, open_run
from minimaskgit.runs.searched import read_searched, write_searched
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.training.judge import load_judge
from minimaskgit.transformer import Transformer

MODELS = {
    "tokenizer": Tokenizer,
    "transformer": Transformer,
    "autoregressive": Transformer,
    "classifier": Classifier,
}
OPTIONAL = ("autoregressive", "classifier")  # the twin and the perceptual network, which imported runs lack
DECODERS = (None, "autoregressive")  # the run's own decoder of the masked transformer, and its twin


@dataclass(frozen=True)
class Options:
    """What to export, and the folder to write."""

    run: Path  # run folder with tokenizer and transformer trained; what else it lacks is left out
    out: Path  # folder to write; it must not exist yet
    to: Literal["run", "flax"] = "run"  # a smaller run with a card, or the format of the authors' checkpoints
    samples: Samples | None = None  # images generated to measure the quality of a run (default: 2000)
    metrics: tuple[str, ...] = ()  # metrics of evaluate (default: all); on photographs cas takes a CPU an hour
    device: str = "auto"  # device to run on: auto, cpu, cuda or mps


def main(argv: Sequence[str] | None = None) -> None:
    """Export a run, measure what was exported, and write its card."""
    options = checked(cli.parse(Options, "export", argv=argv))
    check_output_folder("--out", options.out)
    check_absent("--out", options.out)
    run = open_run(options.run, options.device)
    asked = {name: getattr(options, name) for name in ("samples", "metrics") if getattr(options, name)}
    if asked and options.to == "flax":
        raise UserError(f"--{next(iter(asked))} is for measuring the quality of a run; leave it out with --to flax")
    with removed_on_failure(options.out):
        if options.to == "flax":
            export_to_flax(run, options.out)
        else:
            export_run(run, options, asked)


def export_run(run: Run, options: Options, asked: dict) -> None:
    """Write the rounded weights, measure them as `asked`, and write the card."""
    decoders = [name for name in DECODERS if name is None or run.has(name)]
    measured = [EvaluateOptions(options.out, decoder=name, **asked) for name in decoders]
    for how in measured:
        check_options(run, how)
    searched = read_searched(run.folder)
    missing = [name for name in OPTIONAL if not run.has(name)]
    if missing:
        print(f"left out: {', '.join(missing)}, which {run.folder} does not have")
    models = {name: load_model(kind, run.folder / name) for name, kind in MODELS.items() if name not in missing}
    if run.has("critic"):
        models["critic"] = run.critic()
    models["judge/classifier"] = load_judge(run)  # trains the judge if the run has none yet
    for name, model in models.items():
        save_model(model.to(torch.bfloat16), options.out / name)
        if (evaluation := run.folder / name / "evaluation.json").exists():  # not of imported weights
            shutil.copy(evaluation, options.out / name)
    for name in ("config.json", "labels.json", "data.json"):
        if (run.folder / name).exists():
            shutil.copy(run.folder / name, options.out)
    write_searched(options.out, dict(searched.policies))
    exported = open_run(options.out, options.device)
    results = [evaluate(exported, how, chosen_settings(exported, how)) for how in measured]
    (options.out / "data.json").unlink(missing_ok=True)  # where the data are here, which is of no use elsewhere
    shutil.rmtree(options.out / "evaluation", ignore_errors=True)  # the cached reference, which not all metrics need
    write_json(options.out / "evaluation.json", results)
    write_text(options.out / "README.md", card(options, run, list(models), results, list(searched.policies)))
    size = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file())
    print(f"{options.out}: {size / 1e6:.1f} MB; look at {options.out / 'README.md'}")


def export_to_flax(run: Run, out: Path) -> None:
    """Write the tokenizer and the masked transformer as the authors' files hold theirs, in float32."""
    models = {"tokenizer": run.tokenizer(), "maskgit": run.transformer()}
    for line in check_released(run.folder):
        print(line)
    for name, model in models.items():
        write_arrays(out / f"{name}_checkpoint", released_tree(model))
        print(out / f"{name}_checkpoint")


CONTENTS = {
    "tokenizer": "the tokenizer",
    "transformer": "the masked transformer",
    "autoregressive": "its causal twin",
    "critic": "the critic",
    "classifier": "the classifier of the perceptual loss",
    "judge/classifier": "the judge",
}


def shown(place: str) -> str:
    """A path without the folders in which it was here."""
    return Path(place).name if Path(place).is_absolute() else place


def card(options: Options, run: Run, models: Sequence[str], results: Sequence[dict], searched: Sequence[int]) -> str:
    """The model card: contents, training command, usage and quality."""
    config, policies = run.config, ""
    preset = next((name for name, make in PRESETS.items() if first_difference(make(), config) is None), None)
    place, how = shown(config.init_from), f" --preset {preset}" if preset else ""
    how = f" --init-from {place}{how}" if place else how
    began = f"Trained from the weights of {place}, whose terms hold for these too.\n\n" if place else ""
    commands = [f"train{how} --out {options.run}{'' if preset else '   # with the settings of config.json'}"]
    if run.imported:
        commands = [f"import_weights --tokenizer FILE --transformer FILE --out {options.run}"]
    if "critic" in models:
        commands.append(f"train --resume --stage critic --out {options.run}")
    contents = ", ".join(CONTENTS[name] for name in CONTENTS if name in models)
    if searched:
        commands.append(f"search --run {options.run} --steps {' '.join(map(str, searched))}")
        *most, last = map(str, searched)
        steps = f"{', '.join(most)} or {last}" if most else last
        policies = f"Decoding in {steps} steps uses decoding.json, a policy searched for these weights.\n\n"
    samples = f" --samples {options.samples}" if options.samples else ""
    metrics = f" --metrics {' '.join(options.metrics)}" if options.metrics else ""
    commands.append(f"export --run {options.run} --out {options.out}{samples}{metrics}")
    made_with = "\n".join(f"python -m minimaskgit.{command}" for command in commands)
    data, terms = shown(config.data), ""
    if run.imported:
        licence = "apache-2.0"
    elif config.data == "glyphs":
        licence = "mit"
    else:
        licence, terms = "other", f"Check the terms of {data} before you share weights that learned from it.\n\n"
    measured = "\n\n".join(f"```\n{table(result)}\n```" for result in results).replace(config.data, data)
    return f"""---
library_name: minimaskgit
license: {licence}
tags: [maskgit, image-generation]
---

# MaskGIT on {data}, {config.images.size} x {config.images.size} pixels

As bfloat16 safetensors, each with its config.json: {contents}. Made with

```
{made_with}
```

Use them with `python -m minimaskgit.generate --run {options.out} --out grid.png`, or in Python:

```python
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.transformer import Transformer

tokenizer = Tokenizer.from_pretrained("{options.out}/tokenizer").eval()
transformer = Transformer.from_pretrained("{options.out}/transformer").eval()
```

{terms}{began}{policies}`python -m minimaskgit.evaluate` with these weights, on {described(results[0]["machine"])}:

{measured}
"""


if __name__ == "__main__":
    cli.run(main)
