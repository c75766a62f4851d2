"""How well scores follow labels, with numpy alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def figures(predicted: Array, labels: Array) -> dict[str, float]:
    """srcc and plcc in [-1, 1], 1 is best, NaN where one side is constant; rmse in units of the labels.

    Example:
        >>> {name: round(value, 3) for name, value in figures(np.array([1.0, 2, 4]), np.array([1.0, 2, 3])).items()}
        {'srcc': 1.0, 'plcc': 0.982, 'rmse': 0.577}
    """
    return {
        "srcc": correlation(ranks(predicted), ranks(labels)),
        "plcc": correlation(predicted, labels),
        "rmse": float(np.sqrt(np.mean((predicted - labels) ** 2))),
    }


def ranks(values: Array) -> Array:
    """Ranks from 1; equal values take their mean rank.

    Example:
        >>> ranks(np.array([0.5, 0.1, 0.5])).tolist()
        [2.5, 1.0, 2.5]
    """
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[place])


def correlation(first: Array, second: Array) -> float:
    """Pearson's correlation; NaN where one side is constant."""
    x, y = first - first.mean(), second - second.mean()
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size > 0 else float("nan")
