"""How sure a metric is: bootstrap intervals, and two models compared on the same images, over one split or several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noref.errors import DataError
from noref.evaluate.correlation import as_pair, srcc

Statistic = Callable[[ArrayLike, ArrayLike], float]
Array = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Difference:
    """How much better a first model follows the human scores than a second one, on the same images.

    p is the two-sided p value of "no difference": twice the smaller share of draws on either side of 0, one draw
    counted for the result itself.
    """

    value: float  # statistic of the first less that of the second
    low: float  # lower end of the bootstrap interval
    high: float
    p: float


@dataclass(frozen=True)
class Part:
    """Scores of one test part."""

    units: Sequence[str]  # (M,) what is drawn: an image's name; or its reference, if all its images are one case
    predicted: ArrayLike  # (M,) scores of a model
    actual: ArrayLike  # (M,) human scores


def mean_interval(
    parts: Sequence[Part], statistic: Statistic = srcc, *, seed: int = 0, repeats: int = 1000, level: float = 0.95
) -> tuple[float, float]:
    """(low, high): the bootstrap interval of the mean statistic over splits, whose test parts may share images.

    A draw takes units with replacement from all of them at once, and every split uses those drawn that are its own.
    Splits of one data set are no independent repeats, so the spread over splits alone would be too narrow.

    Args:
        parts: one or more test parts.
        statistic: `srcc`, `plcc`, `krcc`, `rmse`, or any function of predicted and human scores that raises a
            DataError where it has no answer.
        seed: the same seed gives the same interval.
        repeats: number of draws.
        level: share of the draws inside (percentiles).

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

    Both models' test parts hold the same units, though one may have more parts, as with two seeds of training. A draw
    takes the same units for both; p is never below 2 / (repeats + 1). Other arguments are those of `mean_interval`.

    Raises:
        DataError: (a ValueError) other units in one model's parts than in the other's, and as `mean_interval`.
    """
    seen = [{unit for part in parts for unit in part.units} for parts in (first, second)]
    if seen[0] != seen[1]:
        stranger = sorted(seen[0] ^ seen[1])[0]
        raise DataError(f"not the same images: {stranger} is in one model's test parts only")
    ours, theirs = _draws([first, second], statistic, seed, repeats)
    draws = ours - theirs
    found = [float(np.mean([statistic(p.predicted, p.actual) for p in parts])) for parts in (first, second)]
    below, above = int((draws <= 0).sum()), int((draws >= 0).sum())
    return Difference(found[0] - found[1], *_ends(draws, level), min(1.0, 2 * (min(below, above) + 1) / (repeats + 1)))


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
