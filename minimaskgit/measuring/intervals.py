"""Intervals of a mean over seeds, by which the results say what can be told and what cannot."""

import statistics
from collections.abc import Sequence

from scipy.special import stdtrit  # the quantile of Student's t; scipy.stats takes a second to import


def half_width(values: Sequence[float]) -> float | None:
    """Half the width of the 95 % interval of the mean, by Student's t; None for a single value."""
    if len(values) < 2:
        return None
    return float(stdtrit(len(values) - 1, 0.975)) * statistics.stdev(values) / len(values) ** 0.5


def side(values: Sequence[float]) -> int:
    """The side of zero on which the mean is beyond chance, -1 or 1; 0 if its 95 % interval contains zero."""
    mean, room = statistics.fmean(values), half_width(values)
    return 0 if room is None else (mean > room) - (mean < -room)
