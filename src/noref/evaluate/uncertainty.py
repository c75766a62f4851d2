"""How sure a figure is: bootstrap intervals, and two models compared on the same images, over one split or several."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from noref.errors import DataError
from noref.evaluate.correlation import as_pair, srcc

Statistic = Callable[[ArrayLike, ArrayLike], float]
Array = NDArray[np.float64]
Places = NDArray[np.int64]


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
    return Difference(statistic(a, y) - statistic(b, y), *_ends(draws, level), _two_sided(draws))


@dataclass(frozen=True)
class Part:
    """Scores of one test part.

    Args:
        units: (M,) what is drawn: an image's name; or its reference, where all images of a reference are one case.
        predicted: (M,) scores of a model.
        actual: (M,) human scores.
    """

    units: Sequence[str]
    predicted: ArrayLike
    actual: ArrayLike


def mean_interval(
    parts: Sequence[Part], statistic: Statistic = srcc, *, seed: int = 0, repeats: int = 1000, level: float = 0.95
) -> tuple[float, float]:
    """The interval of the mean statistic over several splits, whose test parts may share images.

    A draw takes units with replacement from all of them at once, and every split sees the units drawn of its own.
    Splits of one data set are no independent repeats, so the spread over splits alone would be too narrow.

    Args:
        parts: one or more test parts.
        statistic: as in `bootstrap_interval`.
        seed: the same seed gives the same interval.
        repeats: number of draws.
        level: share of the draws inside (percentiles).

    Returns:
        (low, high).

    Raises:
        DataError: (a ValueError) no parts, what `srcc` refuses, or too few different units to draw from.
    """
    return _ends(_draws([parts], statistic, seed, repeats)[0], level)


def mean_paired_difference(
    first: Sequence[Part],
    second: Sequence[Part],
    statistic: Statistic = srcc,
    *,
    seed: int = 0,
    repeats: int = 1000,
    level: float = 0.95,
) -> Difference:
    """Compare two models over the same splits: mean statistic of the first less that of the second.

    Args:
        first: the first model's test parts.
        second: the second model's, of the same units in the same order; there may be more of them, as with two
            seeds of training.
        statistic: as in `bootstrap_interval`.
        seed: the same seed gives the same answer.
        repeats: number of draws; each takes the same units for both models. p is never below 2 / (repeats + 1).
        level: share of the draws inside the interval (percentiles).

    Raises:
        DataError: (a ValueError) no parts, other units in one model's parts than in the other's, what `srcc` refuses,
            or too few different units.
    """
    seen = [{unit for part in parts for unit in part.units} for parts in (first, second)]
    if seen[0] != seen[1]:
        stranger = sorted(seen[0] ^ seen[1])[0]
        raise DataError(f"not the same images: {stranger} is in one model's test parts only")
    ours, theirs = _draws([first, second], statistic, seed, repeats)
    found = [float(np.mean([statistic(p.predicted, p.actual) for p in parts])) for parts in (first, second)]
    low, high = _ends(ours - theirs, level)
    return Difference(found[0] - found[1], low, high, _two_sided(ours - theirs))


def _draws(models: Sequence[Sequence[Part]], statistic: Statistic, seed: int, repeats: int) -> Array:
    """(models, repeats): the mean statistic of each model's parts in each draw of units."""
    for part in (part for parts in models for part in parts):
        if len(as_pair(part.predicted, part.actual)[0]) != len(part.units):
            raise DataError(f"{len(part.units)} units for {len(np.asarray(part.actual))} scores")
    units = sorted({unit for parts in models for part in parts for unit in part.units})
    if not units:
        raise DataError("no test part to draw from")
    place = {unit: index for index, unit in enumerate(units)}
    ready = [
        [(np.array([place[u] for u in p.units]), *as_pair(p.predicted, p.actual)) for p in parts] for parts in models
    ]
    rng, found, failed = np.random.default_rng(seed), list[list[float]](), 0
    while len(found) < repeats:
        counts = np.bincount(rng.integers(len(units), size=len(units)), minlength=len(units))
        try:
            found.append([_mean_of(parts, counts, statistic) for parts in ready])
        except DataError as error:  # a draw without two different scores
            failed += 1
            if failed > repeats:
                raise DataError(f"no bootstrap interval from {len(units)} units: {error}") from error
    return np.array(found).T


def _mean_of(parts: Sequence[tuple[Places, Array, Array]], counts: Places, statistic: Statistic) -> float:
    values = []
    for places, predicted, actual in parts:
        rows = np.repeat(np.arange(len(places)), counts[places])
        values.append(statistic(predicted[rows], actual[rows]))
    return float(np.mean(values))


def _ends(draws: Array, level: float) -> tuple[float, float]:
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _two_sided(draws: Array) -> float:
    """Twice the smaller share of draws on either side of 0, one draw counted for the result itself."""
    below, above = int((draws <= 0).sum()), int((draws >= 0).sum())
    return min(1.0, 2 * (min(below, above) + 1) / (len(draws) + 1))
