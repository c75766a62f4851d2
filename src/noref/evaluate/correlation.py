"""How well predicted scores follow human ones: correlation and error.

Every function takes (M,) predictions and (M,) human scores in the same order. All check them in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.optimize import least_squares
from scipy.special import expit

from noref.errors import DataError, OptionError

Mapping = Literal["logistic4"]
Array = NDArray[np.float64]


def srcc(predicted: ArrayLike, actual: ArrayLike, *, mapping: Mapping | None = None) -> float:
    """Spearman's rank correlation in [-1, 1]; 1 is the same order, -1 the reverse. Ties take their mean rank.

    Args:
        predicted: (M,) scores of a model.
        actual: (M,) human scores.
        mapping: changes nothing, as a monotone curve moves no rank; a reversed model stays negative.

    Raises:
        DataError: (a ValueError) unequal lengths, fewer than 3 values, NaN or infinity, or all values the same.
        OptionError: (a ValueError) unknown mapping.

    Example:
        >>> round(srcc([1, 2, 3, 4], [10, 20, 40, 30]), 4)
        0.8
    """
    return float(stats.spearmanr(*_checked(predicted, actual, mapping)).statistic)


def krcc(predicted: ArrayLike, actual: ArrayLike, *, mapping: Mapping | None = None) -> float:
    """Kendall's tau-b: the share of pairs in the same order less that in the reverse, corrected for ties.

    Arguments, range and errors are those of `srcc`.

    Example:
        >>> round(krcc([1, 2, 3, 4], [10, 20, 40, 30]), 4)
        0.6667
    """
    return float(stats.kendalltau(*_checked(predicted, actual, mapping)).statistic)


def plcc(predicted: ArrayLike, actual: ArrayLike, *, mapping: Mapping | None = None) -> float:
    """Pearson's linear correlation in [-1, 1]; 1 is a rising line. Plain, or after the 4-parameter logistic.

    Args:
        predicted: (M,) scores of a model.
        actual: (M,) human scores.
        mapping: None as in most papers, "logistic4" as in VQEG's reports. That curve may fall, so with it PLCC is
            positive for a reversed model too: read it beside SRCC. Reports must say which one they give.

    Raises:
        DataError: (a ValueError) as `srcc`; with a mapping, also fewer than 4 values.
        OptionError: (a ValueError) unknown mapping.

    Example:
        >>> round(plcc([1, 2, 3, 4], [10, 20, 30, 40]), 4)
        1.0
    """
    x, y = _mapped(predicted, actual, mapping)
    return float(stats.pearsonr(_unit(x), _unit(y)).statistic)


def rmse(predicted: ArrayLike, actual: ArrayLike, *, mapping: Mapping | None = None) -> float:
    """Root mean squared error in the units of `actual`; 0 is best.

    Arguments and errors are those of `plcc`. Without a mapping both sides must be on the same scale; "logistic4" brings
    `predicted` there.

    Example:
        >>> rmse([1, 2, 3], [4, 5, 6])
        3.0
    """
    x, y = _mapped(predicted, actual, mapping)
    return float(np.sqrt(np.mean((x - y) ** 2)))


@dataclass(frozen=True)
class Logistic4:
    """The curve `bottom + (top - bottom) / (1 + exp(-(x - centre) / width))`; rising where top > bottom.

    Source:
        VQEG, Final report on the validation of objective models of video quality assessment, phase I, 2000.
    """

    top: float  # the value far right
    bottom: float  # the value far left
    centre: float  # where the curve is half-way
    width: float  # > 0, in units of x; smaller is steeper

    def __call__(self, x: ArrayLike) -> Array:
        """The curve at each x, same shape."""
        share = expit((np.asarray(x, dtype=np.float64) - self.centre) / self.width)
        return np.asarray(self.bottom + (self.top - self.bottom) * share)


def fit_logistic4(predicted: ArrayLike, actual: ArrayLike) -> Logistic4:
    """The least-squares `Logistic4` from predictions to human scores.

    For each centre and width the best top and bottom are a linear regression, so the search has two dimensions
    only; it starts from the best of a grid. The widest start is a straight line to 0.1 %.

    Raises:
        DataError: (a ValueError) as `srcc`, or fewer than 4 values.

    Example:
        >>> curve = fit_logistic4([1, 2, 3, 4, 5], [1.2, 2.7, 5.0, 7.3, 8.8])
        >>> round(float(curve(3.0)), 2)
        5.0
    """
    x, y = as_pair(predicted, actual)
    if len(x) < 4:
        raise DataError(f"a curve of four parameters needs 4 values or more, got {len(x)}")
    middle, quarters = float(np.median(x)), float(np.subtract(*np.quantile(x, [0.75, 0.25]))) / 1.35
    unit = quarters if quarters > 1e-6 * np.ptp(x) else float(x.std())  # a few far predictions do not stretch it
    z = (x - middle) / unit
    reach = float(np.abs(z).max())
    widths = np.log(np.geomspace(0.002, 30 * reach, 16))
    starts = [(float(centre), float(w)) for centre in np.quantile(z, np.linspace(0.02, 0.98, 17)) for w in widths]
    start = min(starts, key=lambda at: float(np.sum(_residual(at, z, y) ** 2)))
    bounds = ([-reach - 1, np.log(1e-4)], [reach + 1, np.log(100 * reach)])
    found = least_squares(_residual, start, bounds=bounds, args=(z, y)).x
    bottom, rise = _regress(expit((z - found[0]) / np.exp(found[1])), y)
    centre, width = found[0] * unit + middle, np.exp(found[1]) * unit
    return Logistic4(bottom + rise, bottom, float(centre), float(width))


def _residual(at: Array | tuple[float, float], z: Array, y: Array, /) -> Array:
    """Distance of each score from the best curve with this centre and log width, in deviations of `y`."""
    step = expit((z - at[0]) / np.exp(at[1]))
    bottom, rise = _regress(step, y)
    return np.asarray((bottom + rise * step - y) / y.std())


def _regress(step: Array, y: Array) -> tuple[float, float]:
    """Offset and slope of the least-squares line from step to y; a flat line where the step does not rise."""
    spread = step - step.mean()
    power = float(spread @ spread)
    rise = float(spread @ (y - y.mean())) / power if power > 1e-20 else 0.0
    return float(y.mean()) - rise * float(step.mean()), rise


def as_pair(predicted: ArrayLike, actual: ArrayLike) -> tuple[Array, Array]:
    """Both as (M,) float64, after the checks that `srcc` lists."""
    try:
        x, y = np.asarray(predicted, dtype=np.float64), np.asarray(actual, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"scores must be plain lists of numbers: {error}") from error
    if x.ndim != 1 or y.ndim != 1 or x.shape != y.shape:
        raise DataError(f"predicted and actual scores must be lists of one length, got shapes {x.shape} and {y.shape}")
    if len(x) < 3:
        raise DataError(f"a correlation needs 3 values or more, got {len(x)}")
    for name, values in (("predicted", x), ("actual", y)):
        if not np.isfinite(values).all():
            where = int(np.flatnonzero(~np.isfinite(values))[0])
            raise DataError(f"{name} score {where} is {values[where]}")
        if values.min() == values.max():
            raise DataError(f"all {name} scores are {values[0]:g}: a correlation is not defined")
    return x, y


def _checked(predicted: ArrayLike, actual: ArrayLike, mapping: str | None) -> tuple[Array, Array]:
    """Both as `as_pair` gives them, once the name of the mapping is known to be one."""
    if mapping not in (None, "logistic4"):
        raise OptionError(f"unknown mapping {mapping!r}: known are None and 'logistic4'")
    return as_pair(predicted, actual)


def _mapped(predicted: ArrayLike, actual: ArrayLike, mapping: str | None) -> tuple[Array, Array]:
    """The same, with the predictions after the fitted curve where a mapping is asked for."""
    x, y = _checked(predicted, actual, mapping)
    return as_pair(fit_logistic4(x, y)(x), y) if mapping else (x, y)


def _unit(values: Array) -> Array:
    """Shifted and scaled to 0..1, so that a tiny range on a large offset keeps its digits."""
    return np.asarray((values - values.min()) / (values.max() - values.min()))
