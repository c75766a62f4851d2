"""Coordinates of a report's plots, in pixels of a view box, y downwards. Templates draw them as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from noref.card import Scale
from noref.errors import DataError
from noref.evaluate.correlation import fit_logistic4
from noref.report.cell_metrics import Group, Spread
from noref.report.formatting import decimals, percent
from noref.report.results import Array

POINTS = 3000  # more are thinned: a page must open on a phone
LEFT, TOP, SIDE = 46.0, 8.0, 360.0  # of the plot inside its view box
BAR = 200.0  # width of the bar in a row of the published table
Tick = tuple[float, str]  # a mark on an axis: where, and what is written there


class Scatter(NamedTuple):
    """Prediction across, human score up, both on the raw scale of the test set."""

    points: list[tuple[float, float, str]]  # thinned: centres, and the text that a dot shows when pointed at
    total: int  # dots before thinning
    curve: str  # path of the fitted logistic; empty where none can be fitted
    diagonal: str  # path of perfect prediction
    ticks: tuple[Tick, ...]  # of either axis, counted along it from its beginning


class Line(NamedTuple):
    """One model over fractions of the training part: (x, y, low, high) for each, and the path through all."""

    label: str
    points: tuple[tuple[float, float, float | None, float | None], ...]
    path: str


class Curves(NamedTuple):
    """SRCC over the fraction of the training part that was used."""

    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers inside [low, high], no more than `most` + 1.

    Example:
        >>> ticks(0, 100), ticks(0.71, 0.94)
        ([0.0, 20.0, 40.0, 60.0, 80.0, 100.0], [0.75, 0.8, 0.85, 0.9])
    """
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step for step in (power, 2 * power, 2.5 * power, 5 * power, 10 * power) if step >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def scatter(group: Group, scale: Scale, limit: int = POINTS) -> Scatter:
    """Every prediction of a model, over all its splits; which dots stay where there are more is a fixed draw."""
    predicted = np.concatenate([cell.predicted for cell in group.cells])
    score = np.concatenate([cell.score for cell in group.cells])
    names = [path for cell in group.cells for path in cell.paths]
    low = min(scale.low, float(predicted.min()), float(score.min()))
    high = max(scale.high, float(predicted.max()), float(score.max()))
    across, up = _axis(low, high, LEFT, SIDE), _axis(low, high, TOP + SIDE, -SIDE)
    digits, kept = decimals(scale), np.arange(len(names))
    if len(kept) > limit:
        kept = np.sort(np.random.default_rng(0).choice(len(kept), limit, replace=False))
    points = []
    for i in kept:
        text = f"{names[i]}: predicted {predicted[i]:.{digits}f}, human {score[i]:.{digits}f}"
        points.append((across(predicted[i]), up(score[i]), text))
    marks = tuple((_axis(low, high, 0, SIDE)(value), f"{value:g}") for value in ticks(low, high))
    diagonal = _path([(across(value), up(value)) for value in (low, high)])
    return Scatter(points, len(names), _curve(predicted, score, across, up), diagonal, marks)


def _curve(predicted: Array, score: Array, across: Callable[[float], float], up: Callable[[float], float]) -> str:
    try:
        fitted = fit_logistic4(predicted, score)
    except DataError:
        return ""
    xs = np.linspace(predicted.min(), predicted.max(), 60)
    return _path([(across(x), up(y)) for x, y in zip(xs, fitted(xs), strict=True)])


def curves(lines: Sequence[tuple[str, Sequence[tuple[float, Spread]]]]) -> Curves:
    """SRCC over fractions: for each line a label, and (fraction, SRCC) in rising order."""
    spreads = [spread for _, points in lines for _, spread in points]
    values = [value for one in spreads for value in (one.mean, one.low, one.high) if value is not None]
    margin = 0.08 * (max(values) - min(values)) or 0.02
    low, high = min(values) - margin, max(values) + margin
    across, up = _axis(0, 1.04, LEFT, SIDE), _axis(low, high, TOP + SIDE, -SIDE)
    drawn = []
    for place, (label, points) in enumerate(lines):
        aside = 5.0 * (place - (len(lines) - 1) / 2)  # whiskers of several models do not hide one another
        at = []
        for fraction, one in points:
            ends = [None if end is None else up(end) for end in (one.low, one.high)]
            at.append((across(fraction) + aside, up(one.mean), ends[0], ends[1]))
        drawn.append(Line(label, tuple(at), _path([(x, y) for x, y, *_ in at])))
    fractions = sorted({fraction for _, points in lines for fraction, _ in points})
    x_ticks = [(across(fraction), percent(fraction)) for fraction in fractions]
    return Curves(drawn, x_ticks, [(up(value), f"{value:g}") for value in ticks(low, high)])


def bar_axis(values: Sequence[float]) -> Callable[[float | None], float | None]:
    """Places values of SRCC on the axis of a table's bars, which ends at 1 and begins below the smallest value."""
    low = math.floor(10 * (min(values, default=0.0) - 0.02)) / 10
    place = _axis(low, 1.0, 4.0, BAR - 8.0)
    return lambda value: None if value is None else place(value)


def _axis(low: float, high: float, start: float, length: float) -> Callable[[float], float]:
    return lambda value: round(start + (float(value) - low) / (high - low) * length, 1)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
