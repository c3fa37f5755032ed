"""What the ablation of mask schedules found, in words and as a table (lesson 3; paper table 3)."""

from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise

from minimaskgit.common.tables import text_table
from minimaskgit.measuring.networks import feature_names
from minimaskgit.measuring.yardstick import COMMON_STEPS, PAPER, SAMPLES, Options, Yardstick
from minimaskgit.runs.run import Run


def findings(rows: Sequence[dict], key: str) -> dict:
    """Check the paper's claims by each schedule's lowest `key`; BERT's constant is left out."""
    fds = {row["schedule"]: min(p[key] for p in row["by_steps"]) for row in rows if row["schedule"] != "bert"}
    shapes = {
        shape: [fd for name, fd in fds.items() if PAPER[name][0] == shape] for shape in ("concave", "linear", "convex")
    }
    means = {shape: sum(values) / len(values) for shape, values in shapes.items() if values}
    theirs = {name: PAPER[name][2] for name in fds if PAPER[name][2] is not None}
    agreeing, pairs = pairs_in_order({name: fds[name] for name in theirs}, theirs)
    ranges = [values for values in shapes.values() if values]
    return {
        "order": sorted(fds, key=fds.get),
        "mean_fd_by_shape": means,
        "concave_linear_convex_on_average": list(means.values()) == sorted(means.values()),
        "concave_linear_convex_each": all(max(a) < min(b) for a, b in pairwise(ranges)),
        "pairs_in_the_papers_order": agreeing,
        "pairs": pairs,
    }


def pairs_in_order(ours: Mapping[str, float], theirs: Mapping[str, float]) -> tuple[int, int]:
    """The number of pairs of names that `ours` and `theirs` put in the same order, and the number of all pairs."""
    pairs = list(combinations(ours, 2))
    return sum((ours[a] < ours[b]) == (theirs[a] < theirs[b]) for a, b in pairs), len(pairs)


def notes(run: Run, options: Options, yardstick: Yardstick) -> list[str]:
    """What a reader must know to interpret the numbers."""
    trained = run.config.transformer_training.steps
    training = (
        f"each transformer: {options.train_steps} training steps of {run.config.transformer_training.batch_size}"
        " images, the same first weights and batches"
        if options.train_steps
        else f"one transformer for all, trained with the {spaced(run.config.transformer_training.schedule)}"
    )
    lines = [
        f"{training}; {options.samples} images for each T from seed {options.seed}",
        f"{feature_names(run, 'classifier')['comparable']}; lower is better, and fewer samples give a higher FD",
        "FD is from held-out real images through the tokenizer, whose loss all share; real: from the images themselves",
        f"NLL: nats per masked token of {len(yardstick.tokens)} held-out images, no label smoothing; one set of masks"
        " for all, of the cosine's ratios; own: masks of the schedule's own ratios, as in the paper, so no common task",
    ]
    if "bert" in options.schedules:
        lines.append(
            "bert: trained with a constant 15 percent masked, decoded with the cosine, for a constant cannot decode"
        )
    once = "one training and one seed" if options.train_steps else "one seed"
    lines.append(f"{once} per schedule: small differences are chance")
    if options.quick:
        shorter = f"{options.train_steps} of the run's {trained} training steps, " if options.train_steps else ""
        T = ", ".join(map(str, options.steps))
        lines.insert(1, f"quick: {shorter}{options.samples} samples for {SAMPLES}, T only {T}")
    return lines


def spaced(name: str) -> str:
    """A schedule's name in words."""
    return name.replace("_", " ")


def table(result: dict) -> str:
    """The result as text: one line per schedule with our numbers and the paper's, the verdict, and how to read it."""
    heads = ["schedule", "shape", "best T", "FD", "real", "class", f"FD T={COMMON_STEPS}", "NLL", "own"]
    rows = []
    for row in result["rows"]:
        point, common, paper = row["best"], row["common"], row["paper"]
        cells = [spaced(row["schedule"]), row["shape"], point["steps"]]
        cells += [f"{point['fd']:.3f}", f"{point['fd_real']:.3f}", f"{point['class_accuracy']:.1%}"]
        cells += [_number(common and common["fd"], 3), f"{row['nll']:.2f}", f"{row['nll_own']:.2f}"]
        cells += [_number(paper["best_steps"], 0), _number(paper["fid"], 2), _number(paper["nll"], 2)]
        rows.append(cells)
    real = result["real"]
    rows.append(["real, through tokenizer", "", "", f"{real['fd']:.3f}", f"{real['reconstruction_fd_real']:.3f}"])
    rows.append(["real, untouched", "", "", "", f"{real['fd_real']:.3f}"])
    lines = [text_table([*heads, "paper: best T", "FID", "NLL"], rows, left=(0, 1)), "", *verdict(result), ""]
    return "\n".join([*lines, *(f"- {note}" for note in result["notes"])])


def verdict(result: dict) -> list[str]:
    """Whether the paper's claims hold here, in words."""
    names, lines = {"fd": "FD", "fd_real": "FD from real images"}, []
    for key, found in result["findings"].items():
        if len(found["mean_fd_by_shape"]) < 3:
            continue
        means = ", ".join(f"{shape} {value:.3f}" for shape, value in found["mean_fd_by_shape"].items())
        holds = "does not hold here"
        if found["concave_linear_convex_on_average"]:
            holds = "holds for each" if found["concave_linear_convex_each"] else "holds on average, not for each"
        lines += [
            f"{names[key]} at its best T, best first: " + ", ".join(map(spaced, found["order"])),
            f"  concave before linear before convex: {holds} (means: {means});"
            f" {found['pairs_in_the_papers_order']} of {found['pairs']} pairs in the paper's order",
        ]
    rows = {row["schedule"]: row for row in result["rows"]}
    if {"bert", "cosine"} <= set(rows):
        lines.append(bert_line(rows["bert"], rows["cosine"]))
    return lines


def bert_line(bert: dict, good: dict) -> str:
    """BERT's constant compared with the cosine, and the NLL that explains its failure."""
    point = bert["common"] or bert["best"]
    other = next(each for each in good["by_steps"] if each["steps"] == point["steps"])
    return (
        f"bert beside the cosine, T = {point['steps']}: FD {point['fd']:.3f} and {other['fd']:.3f}, class right"
        f" {point['class_accuracy']:.0%} and {other['class_accuracy']:.0%}; NLL with 15 percent masked"
        f" {at(bert, 0.15):.2f} and {at(good, 0.15):.2f}, with 85 percent {at(bert, 0.85):.2f} and"
        f" {at(good, 0.85):.2f}, of a blank canvas {at(bert, 1.0):.2f} and {at(good, 1.0):.2f}"
    )


def at(row: dict, fraction: float) -> float:
    """A row's NLL with a given fraction masked."""
    return dict(map(tuple, row["nll_by_masked"]))[fraction]


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
