"""The local quality map: overlapping crops of a photo, each scored alone. numpy only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from noref.errors import ImageError, OptionError
from noref.images import Pixels

Plane = NDArray[np.float64]
BATCH = 16  # crops that are in memory and go through the network together
LARGEST = 1024  # points along a map's longer side, at most


def local_quality(
    pixels: Pixels,
    judge: Callable[[Pixels], NDArray[np.float32]],
    *,
    crop: int,
    step: int,
) -> Plane:
    """The quality of each place of a picture, from the crops that show it.

    Crops of one size lie on a grid whose first and last row and column touch the borders, so that their centres are
    at most `step` apart. A point's quality is the mean of the crops that hold it, weighed by
    sin^2(pi * (y - top) / crop) * sin^2(pi * (x - left) / crop): a crop counts most at its centre and fades out at its
    edge, so the map has no steps, and the weights of a point sum to 1 up to the borders.

    Args:
        pixels: (H, W, 3) uint8 RGB, both sides at least `crop`.
        judge: (N, crop, crop, 3) uint8 -> (N,) quality, higher is better, N at most 16.
        crop: side of the crops in pixels.
        step: largest distance between neighbouring crops, 1 to `crop` / 2.

    Returns:
        (h, w) quality, about [0, 1], higher is better: one value a pixel, or for pictures of more than 1024 pixels a
        side that many points, evenly spread. It never leaves the range of the crops' own scores.

    Raises:
        OptionError: a crop or a step that does not fit.
        ImageError: the judge put out a number that is none.

    Example:
        >>> grey = np.full((20, 40, 3), 100, np.uint8)
        >>> grey[:, 20:] = 200
        >>> found = local_quality(grey, lambda crops: crops.mean(axis=(1, 2, 3)) / 255, crop=10, step=5)
        >>> found.shape, bool(found[0, 0] < found[0, -1])
        ((20, 40), True)
    """
    height, width = pixels.shape[:2]
    if not 2 <= crop <= min(height, width):
        side = min(height, width)
        raise OptionError(f"crop must be 2 to {side} pixels for a picture of {width} x {height}, got {crop}")
    if not 1 <= step <= crop // 2:
        raise OptionError(f"step must be 1 to {crop // 2}, half a crop of {crop}, got {step}")
    rows, columns = starts(height, crop, step), starts(width, crop, step)
    found = [judge(batch) for batch in _batches(pixels, rows, columns, crop)]
    scores = np.concatenate(found).astype(np.float64)
    if not np.isfinite(scores).all():
        raise ImageError("the model put out a quality of a crop that is no finite number")
    points = [math.ceil(side * min(1.0, LARGEST / max(height, width))) for side in (height, width)]
    down, across = weights(rows, crop, height, points[0]), weights(columns, crop, width, points[1])
    smooth: Plane = down.T @ scores.reshape(len(rows), len(columns)) @ across
    return smooth


def starts(length: int, crop: int, step: int) -> list[int]:
    """Where crops begin along one side: the fewest that are at most `step` apart and reach both ends.

    Example:
        >>> starts(100, 40, 25)
        [0, 20, 40, 60]
    """
    gaps = -(-(length - crop) // step)
    return [round(i * (length - crop) / gaps) for i in range(gaps + 1)] if gaps else [0]


def weights(begins: list[int], crop: int, length: int, points: int) -> Plane:
    """How much each crop counts at points spread evenly along one side: (crops, points), each column sums to 1."""
    centres = (np.arange(points) + 0.5) * length / points
    inside = (centres[None, :] - np.array(begins)[:, None]) / crop
    window = np.where((inside > 0) & (inside < 1), np.sin(np.pi * inside) ** 2, 0.0)
    shares: Plane = window / window.sum(axis=0)
    return shares


def _batches(pixels: Pixels, rows: list[int], columns: list[int], crop: int) -> Iterator[Pixels]:
    corners = [(top, left) for top in rows for left in columns]
    for i in range(0, len(corners), BATCH):
        yield np.stack([pixels[top : top + crop, left : left + crop] for top, left in corners[i : i + BATCH]])
