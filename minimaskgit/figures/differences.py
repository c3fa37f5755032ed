"""What each change of the recipe does to the Fréchet distance: mean differences and intervals, a panel per stage."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from minimaskgit.figures.plots import plain, rendered
from minimaskgit.figures.style import AUTOREGRESSIVE, INK, MASKGIT, MUTED, PAPER


def draw(rows: Sequence[Mapping[str, Any]]) -> Image.Image:
    """Draw the rows of `measuring.recipe.differences`: a dot for the mean over the seeds, a bar for its interval."""
    stages: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["name"] != "base":
            stages.setdefault(row["stage"], []).append(row)
    size = max(6.4, 5.2 * len(stages)), 1.6 + 0.3 * most(stages)  # at least as wide as the title
    figure = Figure(figsize=size, dpi=100, facecolor=PAPER, layout="constrained")
    figure.suptitle(
        "One change at a time, in the same training time", x=0.01, ha="left", weight="bold", fontsize=15, color=INK
    )
    for panel, (stage, ours) in zip(figure.subplots(1, max(1, len(stages)), squeeze=False)[0], stages.items()):
        ours = sorted(ours, key=lambda row: -row["difference"])
        panel.axvline(0, color=INK, linewidth=1)
        for place, row in enumerate(ours):
            colour = {"better": MASKGIT, "worse": AUTOREGRESSIVE}.get(row["verdict"], MUTED)
            panel.errorbar(row["difference"], place, xerr=row["interval"] or 0, fmt="o", color=colour, capsize=3)
        panel.set_yticks(range(len(ours)), [row["name"] for row in ours])
        panel.set_title(stage, loc="left", weight="bold", color=INK, fontsize=12)
        panel.set_xlabel("FD minus the base's (left is better), 95 % interval")
        plain(panel, "x")
        panel.spines["left"].set_visible(False)
    return rendered(figure)


def most(stages: Mapping[str, Sequence]) -> int:
    """The number of rows of the longest panel."""
    return max(map(len, stages.values()), default=1)
