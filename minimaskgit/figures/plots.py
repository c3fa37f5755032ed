"""Plots of numbers: training curves, scatter plots, mask schedules, distributions."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.text import Text
from PIL import Image
from torch import Tensor

from minimaskgit.decoders.policy import Policy
from minimaskgit.decoding import mask_plan
from minimaskgit.figures.fonts import REGULAR, font_for, spelled
from minimaskgit.figures.style import AUTOREGRESSIVE, INK, MASKGIT, MUTED, OTHERS, PAPER, TRACK, colours_of, family_of
from minimaskgit.schedules import Schedule


def curves(series: dict[str, Sequence[tuple[float, float]]], xlabel: str, ylabel: str) -> Image.Image:
    """Plot a line for each key, such as a loss over training: sequences of (step, value)."""
    figure, (axes,) = _figure(1)
    for (name, points), colour in zip(series.items(), colours_of(series).values()):
        axes.plot(*zip(*points), label=name, color=colour, linewidth=1.8)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    if series:
        axes.legend(frameon=False)
    return rendered(figure)


def scatter(
    points: dict[str, tuple[float, float]], xlabel: str, ylabel: str, heading: str | None = None
) -> Image.Image:
    """Plot a named point (x, y) for each key on logarithmic axes.

    Names that agree up to their first comma or colon form a family, such as one model at several numbers of steps. Its
    points share a colour, are joined by a line, and are labelled with the rest of their names.
    """
    figure, (axes,) = _figure(1, heading)
    colours, families = colours_of(points), {}
    for name in points:
        families.setdefault(family_of(name), []).append(name)
    for family, names in families.items():
        colour, line = colours[names[0]], sorted(points[name] for name in names)
        axes.plot(*zip(*line), color=colour, linewidth=1, alpha=0.5, marker="o", markersize=7)
        beside = {"textcoords": "offset points", "ha": "center", "color": colour}
        axes.annotate(family, line[0], (0, 9), weight="bold", **beside)
        for name in names:
            member = name.removeprefix(family).strip(":, ")
            axes.annotate(member, points[name], (0, -18), fontsize=9, **beside)
    axes.set(xlabel=xlabel, ylabel=ylabel, xscale="log", yscale="log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.margins(x=0.15, y=0.25)
    return rendered(figure)


def schedule_plot(schedules: dict[str, Schedule], num_tokens: int, steps: int) -> Image.Image:
    """Plot mask schedules by name and, next to them, how many of N tokens each of T decoding steps fixes."""
    figure, (masked, fixed) = _figure(2)
    r = torch.linspace(0, 1, 201, dtype=torch.double)
    unknown = torch.tensor([num_tokens])
    for (name, gamma), colour in zip(schedules.items(), colours_of(schedules).values()):
        masked.plot(r, gamma(r, num_tokens), color=colour, label=name.replace("_", " "))
        left = torch.cat([unknown, mask_plan(unknown, steps, gamma)[:, 0]])  # (T + 1,) tokens still masked
        fixed.plot(range(1, steps + 1), -left.diff(), color=colour, marker="o", markersize=4)
    masked.set(xlabel="progress r", ylabel="fraction masked γ(r)", xlim=(0, 1), ylim=(0, 1.02))
    fixed.set(xlabel=f"step, of {steps}", ylabel=f"tokens newly fixed, of {num_tokens}", ylim=0)
    fixed.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(loc="outside right center", frameon=False)
    return rendered(figure)


def policies(found: dict[str, tuple[Policy, Policy]], start: str, end: str) -> Image.Image:
    """Plot pairs of decoding policies, such as those before and after a search (dotted and solid lines), by progress.

    start, end: what the two are called in the caption.
    """
    figure, panels = _figure(3, f"dotted: {start}; solid: {end}")
    values = {
        "fraction masked γ(r)": lambda policy: policy.masked,
        "choice temperature": lambda policy: policy.choice,
        "sampling temperature": lambda policy: policy.sampling,
    }
    for (title, of), panel in zip(values.items(), panels):
        for (name, pair), colour in zip(found.items(), colours_of(found).values()):
            r = [(t + 1) / pair[0].steps for t in range(pair[0].steps)]
            for policy, style in zip(pair, ({"linestyle": ":"}, {"marker": "o", "markersize": 4, "label": name})):
                panel.plot(r, of(policy), color=colour, **style)
        panel.set(xlabel="progress r after the step", ylabel=title, xlim=(0, 1.02))
    panels[0].set(ylim=(0, 1.02))
    panels[0].legend(frameon=False)
    return rendered(figure)


def stacked(rows: dict[str, dict[str, int]], xlabel: str, heading: str) -> Image.Image:
    """Plot a bar for each row, made of its counts one after another, such as students by how they did."""
    figure, (axes,) = _figure(1, heading)
    figure.set_figheight(1.6 + 0.32 * len(rows))
    plain(axes, "x")
    axes.grid(False, axis="y")
    left = np.zeros(len(rows))
    for part, colour in zip(next(iter(rows.values())), (MASKGIT, AUTOREGRESSIVE, TRACK)):
        counts = np.array([row[part] for row in rows.values()])
        axes.barh(list(rows), counts, left=left, color=colour, label=part)
        left += counts
    axes.invert_yaxis()
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel=xlabel)
    axes.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    return rendered(figure)


def planes(panels: dict[str, tuple[Tensor, Tensor, Tensor]]) -> Image.Image:
    """Plot a panel for each key: vectors (M, 2), their codes (M,) as colours, and the codebook (K, 2) as crosses.

    Unused codebook entries are grey.
    """
    figure, axes = _figure(len(panels))
    figure.set_size_inches(3 * len(panels), 3.2)
    palette = [MASKGIT, AUTOREGRESSIVE, *OTHERS[:4]]
    for panel, (title, (vectors, codes, codebook)) in zip(axes, panels.items()):
        in_use = set(codes.tolist())
        panel.scatter(*vectors.T, s=5, c=[palette[code % len(palette)] for code in codes.tolist()], alpha=0.6)
        ink = [INK if code in in_use else OTHERS[4] for code in range(len(codebook))]
        panel.scatter(*codebook.T, s=90, c=ink, marker="X", edgecolors=PAPER, linewidths=0.8)
        panel.set_title(title, size=10, color=INK)
        panel.set(xticks=[], yticks=[], aspect="equal")
        panel.spines[:].set_visible(False)
    for panel in axes[1:]:
        panel.sharex(axes[0])
        panel.sharey(axes[0])
    return rendered(figure)


def _figure(panels: int, heading: str | None = None) -> tuple[Figure, list[Axes]]:
    # A plain Figure, without pyplot, which would register and keep it.
    figure = Figure(figsize=(9, 3.8), dpi=100, layout="constrained", facecolor=PAPER)
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    for panel in axes:
        plain(panel, "y")
    if heading:
        figure.suptitle(heading, x=0.01, ha="left", weight="bold", color=INK)
    return figure, axes


def plain(panel: Axes, grid: Literal["x", "y", "both"] = "both") -> None:
    """Leave out the frame's upper and right edge, and draw a pale grid behind the data."""
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(axis=grid, color=TRACK)
    panel.set_axisbelow(True)


def floor_line(panel: Axes, floor: float, text: str) -> None:
    """Draw a horizontal line at the best value to expect, with a note above its left end."""
    panel.axhline(floor, color=MUTED, linewidth=1)
    note = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "color": MUTED, "fontsize": 9.5}
    panel.annotate(text, (0.01, floor), (0, 4), **note)


def rendered(figure: Figure) -> Image.Image:
    """Render a matplotlib figure to a PIL image, each text in a font that has its glyphs."""
    for text in figure.findobj(Text):
        text.set_text(spelled(text.get_text()))
        font = font_for(text.get_text())
        if font not in (None, REGULAR):
            properties = text.get_fontproperties().copy()
            properties.set_file(font)
            text.set_fontproperties(properties)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def clouds(panels: dict[str, dict[str, Tensor]], balls: dict[str, tuple[Tensor, Tensor]] | None = None) -> Image.Image:
    """Plot named clouds of points (N, 2), one panel per key, all panels on the same scale.

    balls: by panel, the centres (N, 2) and radii (N,) of circles to draw behind the points.
    """
    figure, axes = _figure(len(panels))
    colours = colours_of(name for panel in panels.values() for name in panel)
    points = torch.cat([cloud for panel in panels.values() for cloud in panel.values()])
    low, high = points.amin(0), points.amax(0)
    room = 0.08 * (high - low)
    for (title, panel), place in zip(panels.items(), axes):
        for centre, radius in zip(*(balls or {}).get(title, ((), ()))):
            place.add_patch(Circle(centre.tolist(), float(radius), facecolor=TRACK, alpha=0.5, linewidth=0))
        for name, cloud in panel.items():
            place.plot(*cloud.T.tolist(), ".", color=colours[name], markersize=4, label=name)
        (x0, y0), (x1, y1) = (low - room).tolist(), (high + room).tolist()
        place.set(title=title, xlim=(x0, x1), ylim=(y0, y1), xticks=[], yticks=[])
        place.grid(False)
        place.legend(frameon=False, loc="upper right")
    return rendered(figure)
