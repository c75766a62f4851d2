"""How well predicted scores follow human ones: correlation and error.

Every function takes (M,) predictions and (M,) human scores in the same order and refuses what has no answer:
unequal lengths, fewer than 3 values, NaN or infinity, values that are all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.optimize import curve_fit
from scipy.special import expit

from noref.errors import DataError, OptionError

Mapping = Literal["logistic4"]
Array = NDArray[np.float64]


def srcc(predicted: ArrayLike, actual: ArrayLike, *, mapping: Mapping | None = None) -> float:
    """Spearman's rank correlation; ties take their mean rank.

    Args:
        predicted: (M,) scores of a model.
        actual: (M,) human scores.
        mapping: changes nothing, as a monotone curve moves no rank; a reversed model stays negative.

    Returns:
        In [-1, 1]; 1 is the same order, -1 the reverse.

    Raises:
        DataError: (a ValueError) what this module refuses, see above.
        OptionError: (a ValueError) unknown mapping.

    Example:
        >>> round(srcc([1, 2, 3, 4], [10, 20, 40, 30]), 4)
        0.8
    """
    _check_mapping(mapping)
    x, y = as_pair(predicted, actual)
    return float(stats.spearmanr(x, y).statistic)


def krcc(predicted: ArrayLike, actual: ArrayLike, *, mapping: Mapping | None = None) -> float:
    """Kendall's tau-b: the share of pairs in the same order less that in the reverse, corrected for ties.

    Arguments, range and errors are those of `srcc`.

    Example:
        >>> round(krcc([1, 2, 3, 4], [10, 20, 40, 30]), 4)
        0.6667
    """
    _check_mapping(mapping)
    x, y = as_pair(predicted, actual)
    return float(stats.kendalltau(x, y).statistic)


def plcc(predicted: ArrayLike, actual: ArrayLike, *, mapping: Mapping | None = None) -> float:
    """Pearson's linear correlation, plain or after the 4-parameter logistic.

    Args:
        predicted: (M,) scores of a model.
        actual: (M,) human scores.
        mapping: None as most papers report it; "logistic4" as VQEG does. The curve may fall, so the second is
            positive for a reversed model too: read it beside SRCC. Reports must say which one they give.

    Returns:
        In [-1, 1]; 1 is a rising line.

    Raises:
        DataError: (a ValueError) what this module refuses, or a logistic that does not fit.
        OptionError: (a ValueError) unknown mapping.

    Example:
        >>> round(plcc([1, 2, 3, 4], [10, 20, 30, 40]), 4)
        1.0
    """
    x, y = as_pair(*_mapped(predicted, actual, mapping))
    return float(stats.pearsonr(_unit(x), _unit(y)).statistic)


def rmse(predicted: ArrayLike, actual: ArrayLike, *, mapping: Mapping | None = None) -> float:
    """Root mean squared error in the units of `actual`; 0 is best.

    Without a mapping both sides must be on the same scale; "logistic4" brings `predicted` there.
    Arguments and errors are those of `plcc`.

    Example:
        >>> rmse([1, 2, 3], [4, 5, 6])
        3.0
    """
    x, y = as_pair(*_mapped(predicted, actual, mapping))
    return float(np.sqrt(np.mean((x - y) ** 2)))


@dataclass(frozen=True)
class Logistic4:
    """The curve `bottom + (top - bottom) / (1 + exp(-(x - centre) / width))`; rising where top > bottom.

    Args:
        top: the value far right.
        bottom: the value far left.
        centre: where the curve is half-way.
        width: > 0, in units of x; smaller is steeper.

    Source:
        VQEG, Final report on the validation of objective models of video quality assessment, phase I, 2000.
    """

    top: float
    bottom: float
    centre: float
    width: float

    def __call__(self, x: ArrayLike) -> Array:
        """The curve at each x, same shape."""
        return _curve(np.asarray(x, dtype=np.float64), self.top, self.bottom, self.centre, self.width)


def fit_logistic4(predicted: ArrayLike, actual: ArrayLike) -> Logistic4:
    """The least-squares `Logistic4` from predictions to human scores.

    The search starts from the best of a grid of centres and widths (top and bottom of each follow in closed form);
    the widest is a straight line to 0.1 %, so a fit is hardly ever worse than a line.

    Raises:
        DataError: (a ValueError) what this module refuses, fewer than 4 values, or no fit is found.

    Example:
        >>> curve = fit_logistic4([1, 2, 3, 4, 5], [1.2, 2.7, 5.0, 7.3, 8.8])
        >>> round(float(curve(3.0)), 2)
        5.0
    """
    x, y = as_pair(predicted, actual)
    if len(x) < 4:
        raise DataError(f"a curve of four parameters needs 4 values or more, got {len(x)}")
    x_mean, x_unit, y_mean, y_unit = x.mean(), x.std(), y.mean(), y.std()
    z, v = (x - x_mean) / x_unit, (y - y_mean) / y_unit
    try:
        found = curve_fit(
            _curve, z, v, _start(z, v), bounds=([-np.inf, -np.inf, -20, 1e-3], [np.inf, np.inf, 20, 100]), max_nfev=2000
        )[0]
    except RuntimeError as error:
        raise DataError(f"the logistic does not fit: {error}") from error
    top, bottom, centre, width = (float(value) for value in found)
    return Logistic4(top * y_unit + y_mean, bottom * y_unit + y_mean, centre * x_unit + x_mean, width * x_unit)


def _curve(x: Array, top: float, bottom: float, centre: float, width: float) -> Array:
    return np.asarray(bottom + (top - bottom) * expit((x - centre) / width), dtype=np.float64)


def _start(z: Array, v: Array) -> tuple[float, float, float, float]:
    """Top, bottom, centre, width of the best curve on a grid; z and v have mean 0 and deviation 1."""
    best: tuple[float, tuple[float, float, float, float]] = (np.inf, (1.0, -1.0, 0.0, 1.0))
    for centre in np.quantile(z, [0.05, 0.25, 0.5, 0.75, 0.95]):
        for width in (0.05, 0.2, 0.5, 1.0, 2.0, 5.0, 30.0):
            step = expit((z - centre) / width)
            if np.ptp(step) < 1e-9:
                continue
            slope = float(np.cov(step, v, bias=True)[0, 1] / step.var())
            bottom = -slope * float(step.mean())
            error = float(((bottom + slope * step - v) ** 2).sum())
            best = min(best, (error, (bottom + slope, bottom, float(centre), width)))
    return best[1]


def as_pair(predicted: ArrayLike, actual: ArrayLike) -> tuple[Array, Array]:
    """Both as (M,) float64, after all checks of this module.

    Raises:
        DataError: (a ValueError) what this module refuses, see its head.
    """
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


def _check_mapping(mapping: str | None) -> None:
    if mapping not in (None, "logistic4"):
        raise OptionError(f"unknown mapping {mapping!r}: known are None and 'logistic4'")


def _mapped(predicted: ArrayLike, actual: ArrayLike, mapping: str | None) -> tuple[ArrayLike, ArrayLike]:
    _check_mapping(mapping)
    return (fit_logistic4(predicted, actual)(predicted) if mapping else predicted), actual


def _unit(values: Array) -> Array:
    """Shifted and scaled to 0..1, so that a tiny range on a large offset keeps its digits."""
    return np.asarray((values - values.min()) / (values.max() - values.min()))
