"""How sure a figure is: bootstrap intervals, and two models compared on the same images."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from noref.errors import DataError
from noref.evaluate.correlation import as_pair, srcc

Statistic = Callable[[ArrayLike, ArrayLike], float]


@dataclass(frozen=True)
class Difference:
    """How much better a first model follows the human scores than a second one, on the same images.

    Args:
        value: statistic of the first less that of the second.
        low: lower end of the bootstrap interval.
        high: upper end.
        p: two-sided p value of "no difference"; small where the interval keeps clear of 0.
    """

    value: float
    low: float
    high: float
    p: float


def bootstrap_interval(
    predicted: ArrayLike,
    actual: ArrayLike,
    statistic: Statistic = srcc,
    *,
    seed: int = 0,
    repeats: int = 2000,
    level: float = 0.95,
) -> tuple[float, float]:
    """The interval in which the statistic lies for other images of the same kind: images are drawn with replacement.

    Bias-corrected and accelerated, by scipy.

    Args:
        predicted: (M,) scores of a model.
        actual: (M,) human scores.
        statistic: `srcc`, `plcc`, `krcc`, `rmse` or any function of the two.
        seed: the same seed gives the same interval.
        repeats: number of draws.
        level: share of the draws inside.

    Returns:
        (low, high).

    Raises:
        DataError: (a ValueError) what `srcc` refuses, or too few different values to draw from.
    """
    x, y = as_pair(predicted, actual)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns where the interval is NaN; that is an error below
        result = stats.bootstrap(
            (x, y),
            statistic,
            paired=True,
            vectorized=False,
            n_resamples=repeats,
            confidence_level=level,
            method="BCa",
            rng=np.random.default_rng(seed),
        )
    low, high = float(result.confidence_interval.low), float(result.confidence_interval.high)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError(f"no bootstrap interval: the statistic does not vary over draws from {len(x)} values")
    return low, high


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    actual: ArrayLike,
    statistic: Statistic = srcc,
    *,
    seed: int = 0,
    repeats: int = 2000,
    level: float = 0.95,
) -> Difference:
    """Compare two models on the same images: each draw with replacement takes the same images for both.

    The p value is twice the smaller share of draws on either side of 0, one draw counted for the result itself.

    Args:
        first: (M,) scores of the first model.
        second: (M,) scores of the second model, same images.
        actual: (M,) human scores.
        statistic: as in `bootstrap_interval`.
        seed: the same seed gives the same answer.
        repeats: number of draws; p is never below 2 / (repeats + 1).
        level: share of the draws inside the interval (percentiles).

    Raises:
        DataError: (a ValueError) what `srcc` refuses.
    """
    a, y = as_pair(first, actual)
    b, _ = as_pair(second, actual)
    rng = np.random.default_rng(seed)
    draws = np.empty(repeats)
    for repeat in range(repeats):
        rows = rng.integers(len(y), size=len(y))
        draws[repeat] = statistic(a[rows], y[rows]) - statistic(b[rows], y[rows])
    below, above = int((draws <= 0).sum()), int((draws >= 0).sum())
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    p = min(1.0, 2 * (min(below, above) + 1) / (repeats + 1))
    return Difference(statistic(a, y) - statistic(b, y), float(low), float(high), p)
