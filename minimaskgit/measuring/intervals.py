"""Intervals of a mean over seeds, by which the results say what can be told and what cannot."""

import statistics
from collections.abc import Sequence

from scipy.stats import t as student


def half_width(values: Sequence[float]) -> float | None:
    """Half the width of the 95 % interval of the mean, by Student's t; None for a single value."""
    if len(values) < 2:
        return None
    return float(student.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
