"""From cells to the figures of a report: spread over splits, intervals, comparisons, distortions and levels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from noref.errors import DataError, OptionError, unknown
from noref.evaluate.correlation import krcc, plcc, rmse, srcc
from noref.evaluate.uncertainty import Difference, Part, mean_interval, mean_paired_difference
from noref.report.results import Array, Cell, Model

METRICS: dict[str, Callable[[Cell], float]] = {
    "srcc": lambda cell: srcc(cell.quality, cell.human),
    "plcc": lambda cell: plcc(cell.quality, cell.human),
    "plcc_logistic4": lambda cell: plcc(cell.quality, cell.human, mapping="logistic4"),
    "krcc": lambda cell: krcc(cell.quality, cell.human),
    "rmse": lambda cell: rmse(cell.predicted, cell.score),
}


@dataclass(frozen=True)
class Spread:
    """One figure over the cells of a model.

    Attributes:
        values: cell's name -> its figure.
        mean: over cells.
        median: over cells.
        std: standard deviation over cells, n - 1; None where there is one only.
        low: lower end of the bootstrap 95 % interval of the mean; None where none was asked for or none is defined.
        high: the upper end.
    """

    values: Mapping[str, float]
    mean: float
    median: float
    std: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Group:
    """A model's cells and what came of them.

    Attributes:
        model: what the cells share.
        cells: those that have figures.
        without: those that have none.
        images: distinct images in `cells`.
        figures: metric -> spread, for the metrics that are defined; empty where no cell has figures.
    """

    model: Model
    cells: tuple[Cell, ...]
    without: tuple[Cell, ...]
    images: int
    figures: Mapping[str, Spread]

    @property
    def splits(self) -> tuple[int, ...]:
        """The splits that have figures, sorted."""
        return tuple(sorted({cell.split for cell in self.cells}))


@dataclass(frozen=True)
class Comparison:
    """Two models on the same images of the same splits.

    Attributes:
        first: the one that is judged.
        second: what it is compared with.
        splits: those that both have.
        srcc: mean of the first less mean of the second.
        plcc: likewise, raw.
        trouble: why there is no comparison; empty where there is one.
    """

    first: Model
    second: Model
    splits: tuple[int, ...]
    srcc: Difference | None
    plcc: Difference | None
    trouble: str = ""


@dataclass(frozen=True)
class Share:
    """What a model does on images of one kind, within each test part, and on average over them.

    Attributes:
        label: the distortion, or the level.
        images: distinct ones.
        srcc: mean over the cells in which it is defined, of correlations within the kind; None: in none.
        residual: mean of predicted less human quality, in shares of the scale; positive: judged too good.
    """

    label: str
    images: int
    srcc: float | None
    residual: float


def groups(cells: Iterable[Cell], *, draws: int = 1000, tick: Callable[[], None] = lambda: None) -> list[Group]:
    """Put cells of one model together, in the order in which models first appear.

    Args:
        cells: of a table.
        draws: of the bootstrap.
        tick: called once a model is done.
    """
    members: dict[Model, list[Cell]] = {}
    for cell in cells:
        members.setdefault(cell.model, []).append(cell)
    found = []
    for model, own in members.items():
        found.append(_group(model, own, draws))
        tick()
    return found


def _group(model: Model, own: Sequence[Cell], draws: int) -> Group:
    good = tuple(cell for cell in own if not cell.trouble)
    bad = tuple(cell for cell in own if cell.trouble)
    figures = {}
    for name, metric in METRICS.items():
        usable = [cell for cell in good if len(cell.paths) > 3 or name != "plcc_logistic4"]
        if usable:
            figures[name] = _spread({cell.name: metric(cell) for cell in usable})
    for name, statistic in (("srcc", quick_srcc), ("plcc", quick_plcc)):
        if name in figures:
            figures[name] = _bounded(figures[name], good, statistic, draws)
    return Group(model, good, bad, len({path for cell in good for path in cell.paths}), figures)


def _spread(values: Mapping[str, float]) -> Spread:
    numbers = np.array(list(values.values()))
    std = float(numbers.std(ddof=1)) if len(numbers) > 1 else None
    return Spread(values, float(numbers.mean()), float(np.median(numbers)), std)


def _bounded(found: Spread, cells: Sequence[Cell], statistic: Callable[..., float], draws: int) -> Spread:
    try:
        low, high = mean_interval([_part(cell) for cell in cells], statistic, repeats=draws)
    except DataError:  # too few images to draw from
        return found
    return Spread(found.values, found.mean, found.median, found.std, low, high)


def _part(cell: Cell) -> Part:
    return Part(cell.units, cell.quality, cell.human)


def comparisons(
    found: Sequence[Group], baseline: str | None = None, *, draws: int = 1000, tick: Callable[[], None] = lambda: None
) -> list[Comparison]:
    """Compare every variant with the baseline, and every smaller share of the training part with the largest.

    Args:
        found: of `groups`.
        baseline: name of a variant; None: the first.
        draws: of the bootstrap.
        tick: called once a pair is done.

    Raises:
        OptionError: no such variant.
    """
    done = []
    for first, second in pairs(found, baseline):
        done.append(_compare(first, second, draws))
        tick()
    return done


def pairs(found: Sequence[Group], baseline: str | None = None) -> list[tuple[Group, Group]]:
    """What `comparisons` compares. Arguments and errors are the same."""
    names = list(dict.fromkeys(group.model.variant for group in found))
    if baseline is not None and baseline not in names:
        if names == [""]:
            raise OptionError(f"no variant {baseline!r} to compare with: the table has one, and it has no name")
        raise unknown("variant", baseline, names)
    chosen = names[0] if baseline is None else baseline
    by_model = {group.model: group for group in found}
    wanted = []
    for model, group in by_model.items():
        other = by_model.get(model._replace(variant=chosen))
        if other is not None and other is not group:
            wanted.append((group, other))
    for model, group in by_model.items():
        most = max(other.fraction for other in by_model if other._replace(fraction=model.fraction) == model)
        if model.fraction < most:
            wanted.append((group, by_model[model._replace(fraction=most)]))
    sets = list(dict.fromkeys((model.training_set, model.test_set) for model in by_model))
    return sorted(wanted, key=lambda two: sets.index((two[0].model.training_set, two[0].model.test_set)))


def _compare(first: Group, second: Group, draws: int) -> Comparison:
    both = tuple(sorted(set(first.splits) & set(second.splits)))
    ours, theirs = ([_part(cell) for cell in group.cells if cell.split in both] for group in (first, second))
    if not both:
        return Comparison(first.model, second.model, both, None, None, "no split that both have figures for")
    try:
        srcc_, plcc_ = (
            mean_paired_difference(ours, theirs, statistic, repeats=draws) for statistic in (quick_srcc, quick_plcc)
        )
    except DataError as error:
        return Comparison(first.model, second.model, both, None, None, str(error))
    return Comparison(first.model, second.model, both, srcc_, plcc_)


def by_distortion(group: Group) -> list[Share]:
    """One entry for each distortion that the table names, in alphabetical order; none where it names none."""
    names = {name for cell in group.cells for name in cell.distortions if name}
    return [_share(group, name, lambda cell, i, name=name: cell.distortions[i] == name) for name in sorted(names)]  # type: ignore[misc]


def by_level(group: Group) -> list[Share]:
    """One entry for each level that the table names, the faintest first; none where it names none."""
    levels = {level for cell in group.cells for level in cell.levels if level is not None}
    return [
        _share(group, str(level), lambda cell, i, level=level: cell.levels[i] == level)  # type: ignore[misc]
        for level in sorted(levels)
    ]


def _share(group: Group, label: str, belongs: Callable[[Cell, int], bool]) -> Share:
    correlations, residuals, images = list[float](), list[Array](), set[str]()
    for cell in group.cells:
        rows = np.array([i for i in range(len(cell.paths)) if belongs(cell, i)], dtype=np.int64)
        images |= {cell.paths[i] for i in rows}
        residuals.append(cell.quality[rows] - cell.human[rows])
        try:
            correlations.append(srcc(cell.quality[rows], cell.human[rows]))
        except DataError:  # fewer than 3 images of the kind in this part, or equal ones
            continue
    mean = float(np.mean(correlations)) if correlations else None
    return Share(label, len(images), mean, float(np.concatenate(residuals).mean()))


def quick_srcc(predicted: ArrayLike, actual: ArrayLike) -> float:
    """`noref.evaluate.correlation.srcc` without its checks, for the thousands of draws of a bootstrap.

    Raises:
        DataError: (a ValueError) fewer than 3 values, or all of a side are the same.

    Example:
        >>> round(quick_srcc([1, 2, 3, 4], [10, 20, 40, 30]), 4)
        0.8
    """
    return quick_plcc(rankdata(np.asarray(predicted)), rankdata(np.asarray(actual)))


def quick_plcc(predicted: ArrayLike, actual: ArrayLike) -> float:
    """`noref.evaluate.correlation.plcc` likewise.

    Example:
        >>> round(quick_plcc([1, 2, 3, 4], [10, 20, 30, 40]), 4)
        1.0
    """
    x, y = (np.asarray(values, dtype=np.float64) for values in (predicted, actual))
    if len(x) < 3:
        raise DataError(f"a correlation needs 3 values or more, got {len(x)}")
    x, y = x - x.mean(), y - y.mean()
    power = float(x @ x) * float(y @ y)
    if power <= 0:
        raise DataError("all scores are the same: a correlation is not defined")
    return float(x @ y) / float(np.sqrt(power))
