"""From cells to the metrics of a report: spread over splits, intervals, comparisons, distortions and levels."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from noref.errors import DataError, OptionError, unknown
from noref.evaluate.correlation import krcc, plcc, rmse, srcc
from noref.evaluate.uncertainty import Difference, Part, mean_interval, mean_paired_difference
from noref.report.results import Cell, Model
from noref.scoring.progress import tracked

METRICS: dict[str, Callable[[Cell], float]] = {
    "srcc": lambda cell: srcc(cell.quality, cell.human),
    "plcc": lambda cell: plcc(cell.quality, cell.human),
    "plcc_logistic4": lambda cell: plcc(cell.quality, cell.human, mapping="logistic4"),
    "krcc": lambda cell: krcc(cell.quality, cell.human),
    "rmse": lambda cell: rmse(cell.predicted, cell.score),
}


@dataclass(frozen=True)
class Spread:
    """One metric over the cells of a model."""

    values: Mapping[str, float]  # cell's name -> the metric
    mean: float  # over cells
    median: float  # over cells
    std: float | None  # standard deviation over cells, n - 1; None where there is one only
    low: float | None  # lower end of the bootstrap 95 % interval of the mean; None where there is none
    high: float | None  # the upper end


@dataclass(frozen=True)
class Group:
    """A model's cells and their metrics."""

    model: Model  # what the cells share
    cells: tuple[Cell, ...]  # those that have metrics
    undefined: tuple[Cell, ...]  # those that have none, as with constant predictions
    images: int  # distinct images in `cells`
    metrics: Mapping[str, Spread]  # name -> spread, for metrics that are defined; empty where no cell has metrics

    @property
    def splits(self) -> tuple[int, ...]:
        """The splits that have metrics, sorted."""
        return tuple(sorted({cell.split for cell in self.cells}))


@dataclass(frozen=True)
class Comparison:
    """Two models on the same images of the same splits."""

    first: Model  # a model
    second: Model  # the one that it is compared with
    splits: tuple[int, ...]  # those that both have
    srcc: Difference | None = None  # mean of the first less mean of the second
    plcc: Difference | None = None  # likewise, raw
    trouble: str = ""  # why there is no comparison; empty where there is one


@dataclass(frozen=True)
class Subset:
    """A model on images of one distortion or one level, within each test part, and on average over them."""

    label: str  # the distortion, or the level
    images: int  # distinct ones
    srcc: float | None  # mean over the cells in which it is defined, of correlations within the subset; None: in none
    residual: float  # mean of predicted less human quality, in shares of the scale; positive: predicted too good


def groups(cells: Iterable[Cell], *, draws: int = 1000) -> list[Group]:
    """Put cells of one model together, in the order in which models first appear; `draws` of the bootstrap."""
    members: dict[Model, list[Cell]] = {}
    for cell in cells:
        members.setdefault(cell.model, []).append(cell)
    return [_group(model, own, draws) for model, own in tracked(list(members.items()), "intervals", unit="models")]


def _group(model: Model, own: Sequence[Cell], draws: int) -> Group:
    good = tuple(cell for cell in own if not cell.trouble)
    metrics = {}
    for name, metric in METRICS.items():
        values = {cell.name: metric(cell) for cell in good if len(cell.paths) > 3 or name != "plcc_logistic4"}
        if values:
            numbers = np.array(list(values.values()))
            std = float(numbers.std(ddof=1)) if len(numbers) > 1 else None
            low = high = None
            if statistic := {"srcc": quick_srcc, "plcc": quick_plcc}.get(name):
                with contextlib.suppress(DataError):  # too few images to draw from
                    low, high = mean_interval(_parts(good), statistic, repeats=draws)
            metrics[name] = Spread(values, float(numbers.mean()), float(np.median(numbers)), std, low, high)
    undefined = tuple(cell for cell in own if cell.trouble)
    return Group(model, good, undefined, len({path for cell in good for path in cell.paths}), metrics)


def _parts(cells: Iterable[Cell]) -> list[Part]:
    return [Part(cell.units, cell.quality, cell.human) for cell in cells]


def comparisons(found: Sequence[Group], baseline: str | None = None, *, draws: int = 1000) -> list[Comparison]:
    """Compare every variant with the baseline, and every smaller share of the training part with the largest.

    The baseline is the name of a variant; None: the first. One that does not exist is an OptionError.
    """
    return [
        _compare(first, second, draws) for first, second in tracked(pairs(found, baseline), "comparisons", unit="pairs")
    ]


def pairs(found: Sequence[Group], baseline: str | None = None) -> list[tuple[Group, Group]]:
    """What `comparisons` compares. Arguments and errors are the same."""
    names = list(dict.fromkeys(group.model.variant for group in found))
    if baseline is not None and baseline not in names:
        if names == [""]:
            raise OptionError(f"no variant {baseline!r} to compare with: the table has one, and it has no name")
        raise unknown("variant", baseline, names)
    chosen = names[0] if baseline is None else baseline
    by_model = {group.model: group for group in found}
    others = [(group, by_model.get(model._replace(variant=chosen))) for model, group in by_model.items()]
    wanted = [(group, other) for group, other in others if other is not None and other is not group]
    for model, group in by_model.items():
        most = max(other.fraction for other in by_model if other._replace(fraction=model.fraction) == model)
        if model.fraction < most:
            wanted.append((group, by_model[model._replace(fraction=most)]))
    sets = list(dict.fromkeys((model.training_set, model.test_set) for model in by_model))
    return sorted(wanted, key=lambda two: sets.index((two[0].model.training_set, two[0].model.test_set)))


def _compare(first: Group, second: Group, draws: int) -> Comparison:
    both = tuple(sorted(set(first.splits) & set(second.splits)))
    if not both:
        return Comparison(first.model, second.model, both, trouble="no split that both have metrics for")
    ours, theirs = (_parts(cell for cell in group.cells if cell.split in both) for group in (first, second))
    try:
        by_rank, raw = (mean_paired_difference(ours, theirs, one, repeats=draws) for one in (quick_srcc, quick_plcc))
    except DataError as error:
        return Comparison(first.model, second.model, both, trouble=str(error))
    return Comparison(first.model, second.model, both, by_rank, raw)


def subsets(group: Group, kind: Literal["distortions", "levels"]) -> list[Subset]:
    """One entry for each distortion or level that the table names, sorted, the faintest level first."""
    labels: list[Sequence[str | int | None]] = [getattr(cell, kind) for cell in group.cells]
    found = []
    for label in sorted({label for own in labels for label in own if label not in ("", None)}):
        correlations, residuals, images = list[float](), list[float](), set[str]()
        for cell, own in zip(group.cells, labels, strict=True):
            rows = np.flatnonzero([other == label for other in own])
            images |= {cell.paths[row] for row in rows}
            residuals += (cell.quality[rows] - cell.human[rows]).tolist()
            try:
                correlations.append(srcc(cell.quality[rows], cell.human[rows]))
            except DataError:  # fewer than 3 such images in this part, or equal ones
                continue
        mean = float(np.mean(correlations)) if correlations else None
        found.append(Subset(str(label), len(images), mean, float(np.mean(residuals))))
    return found


def quick_srcc(predicted: ArrayLike, actual: ArrayLike) -> float:
    """`noref.evaluate.correlation.srcc` without its checks, for the thousands of draws of a bootstrap.

    Raises:
        DataError: (a ValueError) fewer than 3 values, or all of a side are the same.
    """
    return quick_plcc(rankdata(np.asarray(predicted)), rankdata(np.asarray(actual)))


def quick_plcc(predicted: ArrayLike, actual: ArrayLike) -> float:
    """`noref.evaluate.correlation.plcc` likewise."""
    x, y = (np.asarray(values, dtype=np.float64) for values in (predicted, actual))
    if len(x) < 3:
        raise DataError(f"a correlation needs 3 values or more, got {len(x)}")
    x, y = x - x.mean(), y - y.mean()
    power = float(x @ x) * float(y @ y)
    if power <= 0:
        raise DataError("all scores are the same: a correlation is not defined")
    return float(x @ y) / float(np.sqrt(power))
