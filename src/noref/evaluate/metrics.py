"""Predictions of rated images as numbers: how well they follow the human scores, and whether they leave the scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noref.card import Scale
from noref.data.records import Record
from noref.evaluate.correlation import krcc, plcc, rmse, srcc

ROUNDING = 1e-6  # of the scale: a table may hold rounded numbers


def metrics(quality: Sequence[float] | NDArray[np.float64], records: Sequence[Record]) -> dict[str, float]:
    """How well (M,) predictions of quality, about [0, 1], higher is better, follow the human scores of M records.

    Returns:
        images; srcc, plcc (raw), plcc_logistic4, krcc: 1 is best; rmse in units of the raw scale, not mapped.

    Raises:
        DataError: fewer than 4 images, or scores that are all the same.
    """
    wanted = [record.quality for record in records]
    raw = [record.scale.raw(float(value)) for record, value in zip(records, quality, strict=True)]
    return {
        "images": len(records),
        "srcc": srcc(quality, wanted),
        "plcc": plcc(quality, wanted),
        "plcc_logistic4": plcc(quality, wanted, mapping="logistic4"),
        "krcc": krcc(quality, wanted),
        "rmse": rmse(raw, [record.raw_score for record in records]),
    }


@dataclass(frozen=True)
class OutsideScale:
    """Predictions that leave the scale of the human scores. `str` gives the sentence that users read."""

    outside: int  # how many predictions lie outside
    images: int  # how many predictions there are
    low: float  # the smallest of all predictions, in raw units
    high: float  # the largest
    scale: Scale  # of the human scores

    @property
    def share(self) -> float:
        """Share of the predictions that lie outside, in (0, 1]."""
        return self.outside / self.images

    def __str__(self) -> str:
        return (
            f"{self.outside} of {self.images} predictions ({100 * self.share:.3g} %) lie outside of the scale "
            f"{self.scale.low:g} to {self.scale.high:g}: the lowest is {self.low:.4g}, the highest {self.high:.4g}"
        )


def outside_scale(quality: ArrayLike, scale: Scale) -> OutsideScale | None:
    """How far predictions leave the scale of the human scores, as those of a network do that has learnt too little.

    `quality` has (M,) predictions, higher is better, [0, 1] is on the scale. None where no prediction leaves it.

    Example:
        >>> print(outside_scale([-0.95, 0.5, 1.77, 0.2], Scale(0, 100)))
        2 of 4 predictions (50 %) lie outside of the scale 0 to 100: the lowest is -95, the highest 177
    """
    values = np.asarray(quality, dtype=np.float64)
    outside = int(((values < -ROUNDING) | (values > 1 + ROUNDING)).sum())
    if not outside:
        return None
    low, high = sorted(scale.raw(float(value)) for value in (values.min(), values.max()))
    return OutsideScale(outside, len(values), low, high, scale)
