"""Does a feature space keep an image's crops apart? The local manifold as a number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noref.errors import DataError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """Distances in a feature space, each 1 less the cosine: 0 is the same direction, 1 a right angle, at most 2.

    Args:
        within: mean distance of two crops of one image.
        between: mean distance of two crops of different images.
        images: (N,) mean distance of two crops of each image.
    """

    within: float
    between: float
    images: Array

    @property
    def ratio(self) -> float:
        """`within` over `between`: near 0 where all crops of an image agree, near 1 where images do not matter."""
        return self.within / self.between


def spread(features: NDArray[np.floating]) -> Spread:
    """How far crops of one image lie apart, and crops of different images.

    Args:
        features: (N, H, D), H crops of each of N images; of any length, they are normalised here.

    Raises:
        DataError: (a ValueError) another shape, fewer than two images or crops, a feature of length 0 or not finite.

    Source:
        Gao et al. 2024 (LML-IQA), Fig. 1, claims that local manifold learning keeps `within` from collapsing; the
        paper gives no number. Computed from sums, without a matrix of all pairs.

    Example:
        >>> east, north = [1.0, 0.0], [0.0, 1.0]
        >>> found = spread(np.array([[east, north], [east, east]]))
        >>> found.within, found.between
        (0.5, 0.5)
    """
    x = np.asarray(features, dtype=np.float64)
    if x.ndim != 3 or x.shape[0] < 2 or x.shape[1] < 2:
        raise DataError(f"features must be (images, crops, numbers), two or more images and crops, got {x.shape}")
    lengths = np.linalg.norm(x, axis=2, keepdims=True)
    if not np.isfinite(lengths).all() or lengths.min() == 0:
        raise DataError("a feature is zero or not finite: it has no direction")
    x = x / lengths
    count, crops, _ = x.shape
    sums = x.sum(axis=1)  # (N, D)
    own = (sums**2).sum(axis=1)  # an image's crops with each other and themselves
    images = 1 - (own - crops) / (crops * (crops - 1))
    others = float((sums.sum(axis=0) ** 2).sum() - own.sum())
    between = 1 - others / (count * (count - 1) * crops**2)
    return Spread(float(images.mean()), between, images)
