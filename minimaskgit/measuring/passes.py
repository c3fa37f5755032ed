"""Quality against the number of passes: every decoder, the autoregressive twin and diffusion (make lab-samplers).

    decoder x T x seed ──> images ──judge──> FD from real images, and from real images through the tokenizer
    the seeds ──> mean and interval of each point ──> the plot

One pass is one evaluation of the main network for an image: the price of quality. A step with guidance takes two. The
first FD is what a viewer sees; the second leaves out what the tokenizer loses, which is the same for all decoders of
its tokens.
"""

import json
import statistics
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import get_args

from tqdm.auto import tqdm

from minimaskgit.common.errors import UserError
from minimaskgit.common.files import read_kept, write_json
from minimaskgit.common.machine import machine
from minimaskgit.common.precision import AnyPrecision
from minimaskgit.common.tables import text_table
from minimaskgit.decoders.named import DecoderName
from minimaskgit.decoders.policy import Policy
from minimaskgit.measuring.evaluation import check_neighbours
from minimaskgit.measuring.intervals import half_width
from minimaskgit.measuring.networks import Seen, cached_reference, feature_names, judge_network, look
from minimaskgit.measuring.pictures import Pictures, compared, sample, through_tokenizer
from minimaskgit.measuring.samplers import Sampler, autoregressive_sampler, diffusion_sampler, maskgit_sampler
from minimaskgit.measuring.scores import fd, feature_scores, without_strays
from minimaskgit.runs.choices import (
    AnyDecoderName,
    SearchedConfig,
    check_guidance,
    check_steps,
    choose_labels,
    count_passes,
    recorded,
)
from minimaskgit.runs.config import Positive, Samples, Seed
from minimaskgit.runs.models import digest
from minimaskgit.runs.run import Run
from minimaskgit.runs.searched import read_searched
from minimaskgit.training.judge import load_judge

STEPS = (1, 2, 4, 8, 16, 32, 64)
TITLES = {  # of the tables, by score
    "fd_tokens": "FD from real images through the tokenizer (diffusion: from real images)",
    "precision": "precision, compared with real images through the tokenizer",
    "recall": "recall, compared with real images through the tokenizer",
    "without_strays": "fraction without strays",
}
MODELS = ("tokenizer", "transformer", "critic", "autoregressive", "diffusion")


@dataclass(frozen=True)
class Options:
    """What to measure."""

    run: Path | None = None  # run folder; or give --pretrained
    pretrained: str | None = None  # instead of --run: packaged weights; results go to runs/pretrained/NAME
    # decoders to measure (default: all); the twin and diffusion are always measured
    decoders: tuple[AnyDecoderName, ...] = ()
    steps: tuple[Positive, ...] = ()  # numbers of passes T (default: 1 2 4 8 16 32 64, as far as there are tokens)
    samples: Samples = 200  # images per decoder, T and seed
    reference: Samples = 5000  # held-out real images to compare with, at most half of all held-out images
    seeds: tuple[Seed, ...] = (0, 1, 2)  # seeds of the generated images
    out: Path | None = None  # folder for the results; what is finished there is kept (default: RUN/passes)
    device: str = "auto"  # device to run on: auto, cpu, cuda or mps
    precision: AnyPrecision = "auto"  # precision of matrix products; auto: the faster of bf16 and fp32 here


def measure_passes(run: Run, options: Options, folder: Path) -> dict:
    """Measure every point that is not there yet; return the contents of passes.json."""
    policies = {T: found.policy for T, found in read_searched(run.folder).policies.items()}
    everyone = contestants(run, options, policies)
    labels = choose_labels(run, options.samples)
    reference, second = compared(run, options.reference, labels)
    check_neighbours(min(options.samples, len(reference.labels), len(second.labels)))
    network = judge_network(load_judge(run))
    targets = {
        "fd": cached_reference(run, network, "classifier", reference),
        "fd_tokens": look(run, network, through_tokenizer(run, reference)[1]),
    }
    kept = read(folder / "passes.json", facts_of(run, options, policies))
    total = sum(passes for passes, _ in everyone.values()) * len(options.seeds) * options.samples
    with tqdm(total=total, desc="sampling", unit="pass", unit_scale=True, dynamic_ncols=True) as bar:
        for name, (passes, make) in everyone.items():
            sampler = make()
            for seed in options.seeds:
                bar.set_postfix_str(name)
                if (key := f"{name}/{seed}") not in kept["points"]:
                    pictures = sample(run, sampler.draw, labels, seed, quiet=True)
                    found = scores(look(run, network, pictures.images), targets) | of_glyphs(run, pictures)
                    kept["points"][key] = {"passes": sampler.passes} | found
                    write_json(folder / "passes.json", kept)
                bar.update(passes * options.samples)
    real = scores(look(run, network, second.images), targets)
    through = scores(look(run, network, through_tokenizer(run, second)[1]), targets)
    result = kept | {
        "run": str(run.folder),
        "samples": options.samples,
        "real": {
            "data": run.config.data,
            "reference": len(reference.labels),
            "count": len(second.labels),
            "second": real,
            "through": through,
        },
        "features": feature_names(run, "classifier"),
        "left_out": left_out(run),
        "machine": machine(run.device),
    }
    write_json(folder / "passes.json", result)
    return result


def contestants(
    run: Run, options: Options, policies: Mapping[int, Policy]
) -> dict[str, tuple[int, Callable[[], Sampler]]]:
    """Who is measured, as "NAME, T = 8": passes, and a function that makes the sampler."""
    tokens = run.tokenizer().num_tokens
    for steps in options.steps:
        check_steps(steps, tokens)
    settings = run.config.decoding
    check_guidance(run, settings)
    own = [T for T in policies if not options.steps or T in options.steps]
    if "searched" in options.decoders and not own:
        raise UserError(
            f"--decoders searched: {run.folder} has no policy for such steps; run python -m minimaskgit.search first"
        )
    if "critic" in options.decoders:
        run.critic()  # fails now rather than after the other decoders
    able = [name for name in get_args(DecoderName) if name != "critic" or run.has("critic")]
    every = options.steps or [T for T in STEPS if tokens >= T]
    found: dict[str, tuple[int, Callable[[], Sampler]]] = {}
    for name in options.decoders or (*able, "searched"):
        for steps in every if name != "searched" else own:
            if name == "searched":
                chosen = SearchedConfig(**vars(replace(settings, steps=steps)), policy=policies[steps])
            else:
                chosen = replace(settings, steps=steps, decoder=name)
            found[f"{name}, T = {steps}"] = count_passes(chosen), partial(maskgit_sampler, run, chosen)
    if run.has("autoregressive"):
        found["autoregressive"] = tokens, partial(autoregressive_sampler, run)
    if run.has("diffusion"):
        for steps in options.steps or STEPS:
            found[f"diffusion, T = {steps}"] = steps, partial(diffusion_sampler, run, steps)
    return found


def left_out(run: Run) -> list[str]:
    """The models that the run does not have."""
    return [stage for stage in ("critic", "autoregressive", "diffusion") if not run.has(stage)]


def scores(seen: Seen, targets: Mapping[str, Seen]) -> dict[str, float]:
    """FD from each target, and precision and recall against the tokenizer's reconstructions."""
    distances = {name: fd(seen, target) for name, target in targets.items()}
    return distances | feature_scores(("precision-recall",), seen, targets["fd_tokens"])


def of_glyphs(run: Run, pictures: Pictures) -> dict[str, float]:
    """The fraction of glyphs without strays; nothing for other data."""
    return {"without_strays": without_strays(run, pictures)} if run.config.data == "glyphs" else {}


def facts_of(run: Run, options: Options, policies: Mapping[int, Policy]) -> dict:
    """What a kept point depends on, beside its decoder, T and seed."""
    models = [stage for stage in MODELS if run.has(stage)]
    facts: dict = {stage: digest(run.folder / stage) for stage in (*models, "judge/classifier")}
    facts["policies"] = {str(T): asdict(policy) for T, policy in policies.items()}
    decoding = {
        name: value for name, value in recorded(run.config.decoding).items() if name not in ("steps", "decoder")
    }
    facts |= {"samples": options.samples, "reference": options.reference, "decoding": decoding}
    return json.loads(json.dumps(facts))  # as it will be read


def read(path: Path, facts: dict) -> dict:
    """The points of an earlier call with the same models and settings."""
    kept = read_kept(path, "measure again")
    same = kept.get("measured_with") == facts
    if kept and not same:
        print(f"note: {path} was measured with other models or settings, so every point is measured again")
    return {"measured_with": facts, "points": kept["points"] if same else {}}


def curves(result: Mapping) -> dict[str, list[dict]]:
    """By decoder, its points from few passes to many: passes, and mean and interval of each score over the seeds."""
    by_point: dict[str, list[dict]] = {}
    for key, point in result["points"].items():
        by_point.setdefault(key.rpartition("/")[0], []).append(point)
    found: dict[str, list[dict]] = {}
    for name, points in by_point.items():
        values = {key: [point[key] for point in points] for key in points[0] if key != "passes"}
        means = {key: {"mean": statistics.mean(each), "interval": half_width(each)} for key, each in values.items()}
        found.setdefault(name.partition(",")[0], []).append({"passes": points[0]["passes"]} | means)
    return {name: sorted(points, key=lambda point: point["passes"]) for name, points in found.items()}


def table(result: Mapping) -> str:
    """A table for each score: a line per decoder, a column per T."""
    lines = curves(result)
    columns = sorted({point["passes"] for points in lines.values() for point in points})
    measured = {name for points in lines.values() for point in points for name in point}
    tables = []
    for score in (name for name in TITLES if name in measured):
        rows = []
        for name, points in lines.items():
            key = "fd" if name == "diffusion" and score == "fd_tokens" else score
            cells: dict[int, list[str]] = {}  # two T may take equally many passes, one of them with guidance
            for point in points:
                cells.setdefault(point["passes"], []).append(shown(point[key]))
            rows.append([name, *(", ".join(cells.get(passes, [])) for passes in columns)])
        tables.append(f"{TITLES[score]}\n{text_table(['passes', *map(str, columns)], rows)}\n")
    seeds = sorted({key.rpartition("/")[2] for key in result["points"]}, key=int)
    fewest = min(Counter(key.rpartition("/")[0] for key in result["points"]).values())  # other calls had other seeds
    some = f"; some points have only {fewest} of them" if fewest < len(seeds) else ""
    real, through = (result["real"][key] for key in ("second", "through"))
    number = result["real"].get("count", result["samples"])
    number = f"only {number}" if number < result["samples"] else "as many"
    notes = [
        f"{result['samples']} images each, mean of seeds {', '.join(seeds)} ± half the 95 % interval{some}",
        f"{number} real images: FD {through['fd_tokens']:.3g} through the tokenizer, {real['fd']:.3g} untouched;"
        f" the tokenizer alone costs {through['fd']:.3g}",
        result["features"]["comparable"],
        *(f"no {stage} model in this run: left out" for stage in result["left_out"]),
    ]
    return "\n".join([*tables, *(f"- {note}" for note in notes)])


def shown(score: Mapping) -> str:
    """A mean with its interval."""
    return f"{score['mean']:.3g}" + ("" if score["interval"] is None else f" ±{score['interval']:.2g}")
