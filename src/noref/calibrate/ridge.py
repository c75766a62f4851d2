"""Ridge regression of labels on a model's quality and features, shrunk towards the model's own answer.

    quality = intercept + slope * quality of the model + clip(features) . weight

Few labels, or labels that say nothing, must do no harm. So the weight counts only as far as it has proved itself on
folds whose groups it has not seen; few labels may move scores by little; and the slope starts from the belief that the
model is right. docs/calibrate.md gives the reasons and the figures, experiments/calibrate/table.py measures them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noref.calibrate.onnx_graph import Line

Array = NDArray[np.float64]
PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # in units of the mean squared length of the weighted features
FOLDS = 10  # that choose the penalty
SAME_GROUP = 0.1  # variance that images of a group share besides their features, in the same units
BELIEVED = 20  # labels that the belief in the model counts for
BELIEF = 0.7  # the correlation of the model with the labels that is believed before they are seen
LEAST_SLOPE = 0.25  # of the believed one
PROOF = 1.0  # standard errors that the gain on held-out groups must have
MANY_PROOF = 3.0  # from here on more than the least reach is allowed
REACH, REACH_LABELS, REACH_POWER = 0.2, 20, 0.75  # how far the weight moves scores, in deviations of the model's
FEW_GROUPS = 10  # below, the standard error is over images
OUTLIER = 0.999  # share of the features' values that are not clipped


@dataclass(frozen=True)
class Labelled:
    """N pictures that have labels."""

    quality: Array  # (N,), of the model
    features: NDArray[np.float32]  # (N, D), of the model
    labels: Array  # (N,) about [0, 1], higher is better
    groups: NDArray[np.int64]  # (N,); pictures of one group are of one scene

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, rows: NDArray[np.bool_]) -> Labelled:
        """Those of the rows that are true."""
        return Labelled(self.quality[rows], self.features[rows], self.labels[rows], self.groups[rows])


@dataclass(frozen=True)
class Fit:
    """What was learnt."""

    line: Line
    evidence: float  # gain of the features on held-out groups, in standard errors
    share: float  # of the weight that counts, [0, 1]; 0: the model's own order stays


@dataclass(frozen=True)
class _Problem:
    """Labelled pictures with the inner products of their features."""

    kernel: Array  # (N, N)
    same: Array  # (N, N): 1 where two are of one group
    quality: Array
    labels: Array

    def part(self, rows: NDArray[np.bool_]) -> _Problem:
        both = np.ix_(rows, rows)
        return _Problem(self.kernel[both], self.same[both], self.quality[rows], self.labels[rows])


def fit(data: Labelled, weightings: Sequence[Array], *, clipped: bool = True, seed: int = 0) -> Fit:
    """Fit to labels.

    Args:
        data: at least 3 pictures, neither all labels nor all qualities the same.
        weightings: (D,) each: how much the features count; the one is taken that does best on held-out groups.
        clipped: features further out than all but 0.1 % of those of `data` are taken to be less far out.
        seed: of the folds.
    """
    clip = float(np.quantile(np.abs(data.features), OUTLIER)) if clipped else float(np.finfo(np.float32).max)
    features = np.clip(data.features, -clip, clip).astype(np.float64)
    centre = features.mean(axis=0)
    scaled = [_scaled(features - centre, weighting) for weighting in weightings]
    same = (data.groups[:, None] == data.groups).astype(np.float64)
    problems = [_Problem(values @ values.T, same, data.quality, data.labels) for values, _ in scaled]
    place, penalty, evidence = _choose(problems, data.groups, seed)
    share = max(0.0, 1.0 - (PROOF / evidence) ** 2) if evidence > 0 else 0.0
    problem = problems[place]
    intercept, slope, dual = next(_path(problem, [penalty if share else None]))
    dual = share * _in_reach(problem, slope, dual, evidence)
    values, weighting = scaled[place]
    weight = (values.T @ dual) * weighting
    return Fit(Line(intercept - float(centre @ weight), slope, weight, clip), evidence, share)


def straight(data: Labelled) -> tuple[float, float]:
    """Intercept and slope of labels on the model's quality alone, the slope drawn to the believed one."""
    believed = BELIEF * float(data.labels.std() / data.quality.std())
    return _straight(np.ones(len(data)), data.quality, data.labels, np.ones(len(data)), believed)[1]


def _scaled(features: Array, weighting: Array) -> tuple[Array, Array]:
    """Weighted features whose mean squared length is 1, and the weighting that does so."""
    values = features * weighting
    length = float(np.sqrt(np.mean(np.sum(values**2, axis=1)))) or 1.0
    return values / length, weighting / length


def _path(problem: _Problem, penalties: Sequence[float | None]) -> Iterator[tuple[float, float, Array]]:
    """Intercept, slope and dual weights (N,) for each penalty; None: without the features."""
    variances, axes = np.linalg.eigh(problem.kernel + SAME_GROUP * problem.same)
    ones, quality, labels = (axes.T @ values for values in (np.ones(len(axes)), problem.quality, problem.labels))
    believed = BELIEF * float(problem.labels.std() / problem.quality.std())
    for penalty in penalties:
        spread = np.maximum(variances, 0) + penalty if penalty else np.ones(len(axes))
        told, (intercept, slope) = _straight(ones, quality, labels, spread, believed)
        residual = (labels - told[0] * ones - told[1] * quality) / spread
        yield intercept, slope, axes @ residual if penalty else np.zeros(len(axes))


def _straight(
    ones: Array, quality: Array, labels: Array, spread: Array, believed: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Intercept and slope of labels on quality by least squares with variances `spread`; and drawn to the belief.

    The features fit what is left by the first line, else they would undo what the belief does.
    """
    design = np.stack([ones, quality])
    normal, right = (design / spread) @ design.T, (design / spread) @ labels
    intercept, told = (float(value) for value in np.linalg.solve(normal, right))
    slope = (len(labels) * told + BELIEVED * believed) / (len(labels) + BELIEVED)
    slope = max(slope, LEAST_SLOPE * believed)
    return (intercept, told), (float((right[0] - normal[0, 1] * slope) / normal[0, 0]), slope)


def _in_reach(problem: _Problem, slope: float, dual: Array, evidence: float) -> Array:
    """The dual weights, smaller where they would move scores further than so many labels with such evidence may."""
    count = len(problem.labels)
    reach = REACH * (count / REACH_LABELS) ** REACH_POWER * max(1.0, evidence / MANY_PROOF) ** 2
    moved = float((problem.kernel @ dual).std())
    return dual * min(1.0, reach * slope * float(problem.quality.std()) / moved) if moved > 0 else dual


def _choose(problems: Sequence[_Problem], groups: NDArray[np.int64], seed: int) -> tuple[int, float, float]:
    """Weighting and penalty that gain most over the model alone on held-out groups, less a standard error; evidence."""
    labels = problems[0].labels
    alone, found = np.zeros(len(labels)), np.zeros((len(problems), len(PENALTIES), len(labels)))
    for held_out in folds(groups, FOLDS, seed):
        for place, problem in enumerate(problems):
            part, across = problem.part(~held_out), problem.kernel[np.ix_(held_out, ~held_out)]
            own = problem.quality[held_out]
            for number, (intercept, slope, dual) in enumerate(_path(part, PENALTIES)):
                moved = across @ _in_reach(part, slope, dual, 2 * MANY_PROOF)
                found[place, number, held_out] = intercept + slope * own + moved
        intercept, slope, _ = next(_path(part, [None]))
        alone[held_out] = intercept + slope * own
    gains = (labels - alone) ** 2 - (labels - found) ** 2
    gain, error = gains.mean(axis=-1), _standard_error(gains, groups)
    place, row = divmod(int(np.argmax(gain - PROOF * error)), len(PENALTIES))
    evidence = gain[place, row] / error[place, row] if error[place, row] > 0 else 0.0
    return place, PENALTIES[row], float(evidence)


def _standard_error(values: Array, groups: NDArray[np.int64]) -> Array:
    """Of the mean over the last axis, its groups being the independent cases where there are enough of them."""
    found, case = np.unique(groups, return_inverse=True)
    if len(found) < FEW_GROUPS:
        return np.asarray(values.std(axis=-1, ddof=1) / np.sqrt(values.shape[-1]))
    sums = values @ (case[:, None] == np.arange(len(found)))
    return np.asarray(sums.std(axis=-1, ddof=1) * np.sqrt(len(found)) / values.shape[-1])


def folds(groups: NDArray[np.int64], count: int, seed: int) -> list[NDArray[np.bool_]]:
    """Which pictures each fold holds out: groups stay together, folds are about equal; two halves of a single group."""
    found, sizes = np.unique(groups, return_counts=True)
    if len(found) == 1:
        half = np.arange(len(groups)) % 2 == 0
        return [half, ~half]
    order = np.random.default_rng(seed).permutation(len(found))
    order = order[np.argsort(-sizes[order], kind="stable")]
    fold, filled = np.zeros(len(found), dtype=np.int64), np.zeros(min(count, len(found)))
    for group in order:
        fold[group] = np.argmin(filled)
        filled[fold[group]] += sizes[group]
    mine = fold[np.searchsorted(found, groups)]
    return [mine == number for number in range(len(filled))]
