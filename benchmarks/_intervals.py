"""Confidence intervals of means over seeds."""

from collections.abc import Sequence

import numpy as np
from scipy import stats


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Returns the mean and half the width of its interval by Student's t."""
    array = np.asarray(values, np.float64)
    if len(array) < 2:
        return float(array.mean()), float("inf")
    quantile = stats.t.ppf((1 + level) / 2, len(array) - 1)
    return float(array.mean()), float(quantile * stats.sem(array))
