"""The ablation of mask schedules as one figure: the schedules, their quality, and why BERT's constant fails (lesson 3).

    ablation.json ──> gamma(r) │ FD against T, the best T ringed │ NLL against the fraction masked ──> ablation.png

Each schedule has its own colour, line style and marker: solid lines are concave, dash-dotted linear, dashed convex.
"""

import textwrap

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator, PercentFormatter
from PIL import Image

from minimaskgit.figures.plots import floor_line, plain, rendered
from minimaskgit.figures.style import AUTOREGRESSIVE, BLACK, GREEN, GREY, INK, MASKGIT, MUTED, ORANGE, PAPER, PINK, SKY
from minimaskgit.schedules import SCHEDULES

STYLES = {  # colour, line, marker
    "exponential": (SKY, "-", "v"),
    "cubic": (GREEN, "-", "^"),
    "square": (BLACK, "-", "s"),
    "cosine": (MASKGIT, "-", "o"),
    "linear": (GREY, "-.", "D"),
    "square_root": (ORANGE, "--", "P"),
    "logarithmic": (PINK, "--", "h"),
    "bert": (AUTOREGRESSIVE, ":", "X"),
}
BOLD = ("cosine", "bert")  # the paper's choice, and the one that fails


def draw(result: dict) -> Image.Image:
    """Draw the result of `measuring.ablation.ablate`."""
    figure = Figure(figsize=(13, 6.4), dpi=100, facecolor=PAPER)
    panels = figure.subplots(
        1, 3, width_ratios=(1, 1.7, 1.3), gridspec_kw={"left": 0.05, "right": 0.985, "wspace": 0.22}
    )
    figure.subplots_adjust(top=0.81, bottom=0.265)
    bert, one = any(row["schedule"] == "bert" for row in result["rows"]), not result["training"]["steps"]
    knows = "Why BERT's 15 % fails" if bert else "What it knows" if one else "What they know"
    titles = ("The schedules", "What they draw", knows)
    for panel, title, fill in zip(panels, titles, (gammas, qualities, likelihoods)):
        plain(panel)
        panel.set_title(title, loc="left", weight="bold", color=INK, fontsize=12)
        fill(panel, result)
    figure.suptitle(
        f"Which mask schedule? One transformer {'' if one else 'trained and '}decoded with each",
        x=0.012,
        y=0.98,
        ha="left",
        weight="bold",
        fontsize=16,
        color=INK,
    )
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper left", bbox_to_anchor=(0.005, 0.94), ncols=8, frameon=False, fontsize=11)
    figure.text(0.012, 0.165, caption(result), va="top", fontsize=10.5, color=INK, linespacing=1.45)
    return rendered(figure)


def line_style(name: str) -> dict:
    """Matplotlib's settings for a schedule's line."""
    colour, line, marker = STYLES.get(name, (MUTED, "-", "."))
    bold = name in BOLD
    style = {"color": colour, "linestyle": line, "marker": marker, "linewidth": 2.8 if bold else 1.6}
    return style | {"markersize": 7 if bold else 5, "zorder": 3 if bold else 2}


def label(name: str) -> str:
    """A schedule's name in the legend."""
    return "BERT's 15 %" if name == "bert" else name.replace("_", " ")


def gammas(panel: Axes, result: dict) -> None:
    """Plot gamma(r) of each schedule; its labels serve as the legend of all three panels."""
    r = torch.linspace(0, 1, 201, dtype=torch.double)
    for row in result["rows"]:
        name = row["schedule"]
        panel.plot(r, SCHEDULES[name](r, result["tokens"]), label=label(name), markevery=40, **line_style(name))
    panel.set(xlabel="progress r", ylabel="fraction masked γ(r)", xlim=(0, 1), ylim=(0, 1.02))


def qualities(panel: Axes, result: dict) -> None:
    """Plot FD against T on logarithmic axes; each best T is ringed, and the floor is reconstructed real images."""
    for row in result["rows"]:
        style, points = line_style(row["schedule"]), row["by_steps"]
        panel.plot([p["steps"] for p in points], [p["fd"] for p in points], **style)
        ring = {"markersize": 13, "markerfacecolor": "none", "markeredgecolor": style["color"], "zorder": 4}
        panel.plot(row["best"]["steps"], row["best"]["fd"], marker="o", markeredgewidth=1.6, **ring)
    floor, steps = result["real"]["fd"], result["decoding"]["steps"]
    floor_line(panel, floor, "real images through the tokenizer")
    panel.set(xscale="log", yscale="log", xlabel="decoding steps T (ring: the best)", ylabel="Frechet distance (FD)")
    panel.set_xticks(steps, steps)
    panel.xaxis.set_minor_locator(NullLocator())
    low, high = panel.get_ylim()
    ticks = [tick * 10**power for power in range(-3, 4) for tick in (1, 2, 5) if low <= tick * 10**power <= high]
    panel.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    panel.yaxis.set_minor_formatter(NullFormatter())


def likelihoods(panel: Axes, result: dict) -> None:
    """Plot NLL against the fraction masked, from a few holes to the blank canvas from which decoding starts."""
    one = not result["training"]["steps"]  # a single transformer, so a single line
    for row in result["rows"][:1] if one else result["rows"]:
        style = {"color": INK, "marker": "o"} if one else line_style(row["schedule"])
        panel.plot(*zip(*row["nll_by_masked"]), **style)
        if row["schedule"] == "bert":
            note_at(panel, 0.15, "all that BERT's\ntraining covers", AUTOREGRESSIVE)
    note_at(panel, 1, "where decoding\nstarts: a blank canvas", MUTED, left=True)
    low, high = panel.get_ylim()
    panel.set(xlim=(0, 1.02), ylim=(low, high + 0.2 * (high - low)))  # room for the notes
    panel.set(xlabel="tokens masked", ylabel="NLL of held-out tokens, nats per masked token")
    panel.xaxis.set_major_formatter(PercentFormatter(1))


def note_at(panel: Axes, x: float, text: str, colour: str, left: bool = False) -> None:
    """Draw a vertical line with a note beside its top."""
    panel.axvline(x, color=colour, linewidth=1)
    place = {"xy": (x, 0.98), "xycoords": ("data", "axes fraction"), "xytext": (-5 if left else 5, 0)}
    align = {"textcoords": "offset points", "ha": "right" if left else "left", "va": "top"}
    panel.annotate(text, **place, **align, color=colour, fontsize=9.5)


def caption(result: dict) -> str:
    """The caption, wrapped to the figure's width: what it shows and why BERT's constant fails."""
    rows, training = {row["schedule"]: row for row in result["rows"]}, result["training"]
    trained = (
        f"Each transformer trained {training['steps']} steps with its schedule and decoded with the same one"
        if training["steps"]
        else f"One transformer, trained with the {label(training['schedule'])} and decoded with each schedule"
    )
    lines = [
        f"{trained}; {result['samples']} images for every T, temperature {result['decoding']['temperature']:g}."
        " FD from real images through the tokenizer,"
        f" {result['features']['comparable'].removeprefix('FD ')}."
    ]
    if "bert" in rows:
        lines.append(
            "BERT's constant 15 % only teaches its transformer to fill a few holes in a nearly complete picture."
            " A blank canvas is 100 % masked: the transformer never saw one, or anything close, so it guesses badly"
            f" exactly when the picture is decided{score(rows)}. A constant cannot decode, so its transformer decodes"
            " with the cosine."
        )
    return "\n".join(textwrap.fill(line, 150) for line in lines)


def score(rows: dict[str, dict]) -> str:
    """The class accuracies of the cosine and of BERT's constant, at the same T for both."""
    points = {label(name): rows[name]["common"] or rows[name]["best"] for name in BOLD if name in rows}
    text = ", ".join(f"{name} {point['class_accuracy']:.0%} at T = {point['steps']}" for name, point in points.items())
    return f" (class accuracy: {text})"
