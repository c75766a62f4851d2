"""From held-out predictions to intervals: residuals, and a width that depends on the score where that is worth it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from noref.card import read_card
from noref.data.tables import read_csv
from noref.errors import DataError
from noref.scoring.intervals import COVERAGE, half_width

Scores = NDArray[np.float64]  # (N, 2): predicted and human, in [0, 100]
Spread = tuple[float, float, float]
OFFSET = 3.0  # points; the logarithm of a small residual says little
DRAWS = 10
NARROWER, LEAST = 0.95, 0.85  # a varying width pays from here; a constant one must cover each third of scores so often


def held_out_scores(runs: Sequence[Path]) -> Scores:
    """The predictions of runs for their test parts, clipped as scores are, beside what people said.

    Raises:
        DataError: a run without predictions, or a picture that two runs have tested.
        ModelError: a run's model or its card cannot be read.
    """
    found: dict[str, tuple[float, float]] = {}
    for run in runs:
        scale = read_card(run / "model.onnx").scale
        for _, row in read_csv(run / "predictions.csv", ("path", "score", "quality")):
            if row["path"] in found:
                raise DataError(f"{run}: {row['path']} was tested by another run too")
            quality = min(1.0, max(0.0, float(row["quality"])))
            found[row["path"]] = (100.0 * quality, 100.0 * scale.quality(float(row["score"])))
    return np.array(list(found.values()))


def spread_of(scores: Scores) -> Spread:
    """Least squares of log(|residual| + 3) on 1, z and z^2 of the predicted score, z = (score - 50) / 20."""
    away = np.log(np.abs(scores[:, 0] - scores[:, 1]) + OFFSET)
    a, b, c = np.linalg.lstsq(_powers(scores[:, 0]), away, rcond=None)[0].tolist()
    return a, b, c


def _powers(predicted: NDArray[np.float64]) -> NDArray[np.float64]:
    z = (predicted - 50) / 20
    return np.stack([np.ones_like(z), z, z * z], 1)


def spreads(predicted: NDArray[np.float64], spread: Spread | None) -> NDArray[np.float64]:
    """(N,) what residuals are divided by; 1 for a constant width."""
    return np.ones(len(predicted)) if spread is None else np.exp(_powers(predicted) @ np.array(spread))


def residuals(scores: Scores, spread: Spread | None) -> list[float]:
    """Absolute residuals over spreads, ascending, as `noref.scoring.intervals` takes them."""
    found = np.sort(np.abs(scores[:, 0] - scores[:, 1]) / spreads(scores[:, 0], spread))
    return [round(value, 4) for value in found.tolist()]


def coverage_figures(scores: Scores, spread: Spread | None, *, seed: int = 0) -> dict[str, float | list[float]]:
    """Intervals of 90 %, calibrated on one random half and tested on the other, ten times.

    `spread` is fitted anew on each calibration half if it is not None.
    """
    rng = np.random.default_rng(seed)
    width, covered, thirds = [], [], []
    for _ in range(DRAWS):
        order = rng.permutation(len(scores))
        seen, new = scores[order[: len(scores) // 2]], scores[order[len(scores) // 2 :]]
        fitted = None if spread is None else spread_of(seen)
        half = half_width(residuals(seen, fitted), COVERAGE) * spreads(new[:, 0], fitted)
        inside = np.abs(new[:, 0] - new[:, 1]) <= half
        width.append(2 * half.mean())
        covered.append(inside.mean())
        thirds.append([inside[part].mean() for part in np.array_split(np.argsort(new[:, 0]), 3)])
    return {
        "coverage": round(float(np.mean(covered)), 4),
        "lowest and highest coverage": [round(float(value), 4) for value in (min(covered), max(covered))],
        "mean width": round(float(np.mean(width)), 2),
        "coverage by thirds of the score": [round(value, 4) for value in np.mean(thirds, 0).tolist()],
    }


def is_worth_it(constant: Mapping[str, float | list[float]], varying: Mapping[str, float | list[float]]) -> bool:
    """Whether the varying width is 5 % narrower, or the constant one covers a third of the scores too seldom."""
    (before, thirds), after = (
        (constant["mean width"], constant["coverage by thirds of the score"]),
        varying["mean width"],
    )
    return after <= NARROWER * before or min(thirds) < LEAST  # type: ignore[operator, arg-type]
