"""All figures that the project draws, from a sheet of samples to the animated race.

images in [0, 1], tokens, numbers ──sheets, animations, plots──> PIL images ──formats──> files
"""

from minimaskgit.figures.animations import animation, race, race_frame
from minimaskgit.figures.fonts import class_titles
from minimaskgit.figures.formats import check_formats, save_picture, save_png
from minimaskgit.figures.plots import clouds, curves, planes, policies, rendered, scatter, schedule_plot
from minimaskgit.figures.sheets import (
    comparison,
    decoding_strip,
    grid,
    labelled_rows,
    masked_canvas,
    reconstructions,
    to_uint8,
)
from minimaskgit.figures.style import AUTOREGRESSIVE, INK, MASKED, MASKED_EDGE, MASKGIT, MUTED, PAPER

__all__ = [
    "AUTOREGRESSIVE",
    "INK",
    "MASKED",
    "MASKED_EDGE",
    "MASKGIT",
    "MUTED",
    "PAPER",
    "animation",
    "check_formats",
    "class_titles",
    "clouds",
    "comparison",
    "curves",
    "decoding_strip",
    "grid",
    "labelled_rows",
    "masked_canvas",
    "planes",
    "policies",
    "race",
    "race_frame",
    "reconstructions",
    "rendered",
    "save_picture",
    "save_png",
    "scatter",
    "schedule_plot",
    "to_uint8",
]
