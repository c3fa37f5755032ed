"""The picture of what decoding costs: Fréchet distance against passes, a line for each decoder and rival."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator
from PIL import Image

from minimaskgit.figures.plots import floor_line, plain, rendered
from minimaskgit.figures.style import AUTOREGRESSIVE, BLACK, GREEN, GREY, INK, MASKGIT, MUTED, ORANGE, PAPER, PINK, SKY

STYLES = {  # colour, line, marker: colour by what the decoder changes
    "maskgit": (MASKGIT, "-", "o"),
    "searched": (BLACK, "-", "*"),
    "critic": (GREEN, "-", "P"),
    "remdm-cap": (GREEN, "--", "^"),
    "remdm-rescale": (GREEN, ":", "v"),
    "remdm-conf": (GREEN, "-.", "<"),
    "remdm-loop": (GREEN, (0, (5, 1)), ">"),
    "moment": (SKY, "-", "s"),
    "halton": (ORANGE, "-", "D"),
    "random": (GREY, "-", "x"),
    "margin": (PINK, "-", "h"),
    "entropy": (PINK, "--", "p"),
    "entropy-bound": (PINK, ":", "d"),
    "autoregressive": (AUTOREGRESSIVE, "", "X"),
    "diffusion": (AUTOREGRESSIVE, "--", "+"),
}
BOLD = ("maskgit", "searched", "autoregressive")


def draw(curves: Mapping[str, Sequence[Mapping]], floors: Mapping[str, float], heading: str) -> Image.Image:
    """Draw `measuring.passes.curves` twice: FD from reconstructions, and from real images; bars are 95 % intervals.

    floors: by score, the FD of as many real images.
    """
    figure = Figure(figsize=(13, 6.6), dpi=100, facecolor=PAPER)
    panels = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.055, right=0.985, top=0.8, bottom=0.1, wspace=0.14)
    figure.suptitle(heading, x=0.012, y=0.98, ha="left", weight="bold", fontsize=16, color=INK)
    titles = {"fd_tokens": "FD from real images through the tokenizer", "fd": "FD from real images"}
    for panel, (score, title) in zip(panels, titles.items()):
        chosen = {name: points for name, points in curves.items() if score == "fd" or name != "diffusion"}
        fill(panel, chosen, score, floors[score])
        panel.set_title(title, loc="left", weight="bold", color=INK, fontsize=12)
    handles, labels = panels[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper left", bbox_to_anchor=(0.005, 0.94), ncols=8, frameon=False)
    return rendered(figure)


def fill(panel: Axes, curves: Mapping[str, Sequence[Mapping]], score: str, floor: float) -> None:
    """Plot one score of every curve on logarithmic axes, above the floor."""
    for name, points in curves.items():
        colour, line, marker = STYLES.get(name, (MUTED, "-", "."))
        bold = name in BOLD
        panel.errorbar(
            [point["passes"] for point in points],
            [point[score]["mean"] for point in points],
            yerr=[point[score]["interval"] or 0 for point in points],
            color=colour, linestyle=line, marker=marker, label=name, capsize=2,
            linewidth=2.6 if bold else 1.3, markersize=8 if bold else 5, zorder=3 if bold else 2,
        )  # fmt: skip
    floor_line(panel, floor, "real images")
    ticks = sorted({point["passes"] for points in curves.values() for point in points})
    means = [floor, *(point[score]["mean"] for points in curves.values() for point in points)]
    limits = (min(means) / 1.6, max(means) * 1.6)  # the bars of few seeds may be longer than the axis
    panel.set(xscale="log", yscale="log", ylim=limits, xlabel="passes of the main network per image")
    panel.set_xticks(ticks, ticks)
    panel.xaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter("{x:g}")
    panel.yaxis.set_minor_formatter(NullFormatter())
    plain(panel)
