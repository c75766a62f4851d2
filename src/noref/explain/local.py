"""The local quality map: overlapping crops of a photo, each scored alone. numpy only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from noref.card import Card
from noref.errors import ImageError, OptionError
from noref.explain.map_types import Map, Plane
from noref.images import Pixels

Predict = Callable[[Pixels], NDArray[np.float32]]  # (N, S, S, 3) uint8 -> (N,) quality, higher is better
Corner = tuple[int, int]  # row, column
BATCH = 16  # crops that are in memory and go through the network together
LARGEST = 1024  # points along a map's longer side, at most
CROP = 160  # pixels, for a network that takes whole images; docs/explain.md says why
OVERLAP = 2  # crops that a point lies in along each side


def crop_of(card: Card, asked: int | None) -> int:
    """Side of the crops of a local quality map; OptionError where the network takes another, or below 32 pixels."""
    own = card.preprocessing.crop
    if asked is not None and (asked < 32 or own not in (None, asked)):
        takes = f"{card.name} takes crops of {own} pixels" if own else "at least 32 pixels are needed"
        raise OptionError(f"crop {asked}: {takes}")
    return asked or own or CROP


def percent(quality: float) -> float:
    """Quality as a score in [0, 100], higher is better; ImageError where it is not finite."""
    if not np.isfinite(quality):
        raise ImageError(f"the model put out {quality} instead of a quality")
    return 100 * min(1.0, max(0.0, quality))


def quality_map(pixels: Pixels, predict: Predict, crop: int, *, clip: bool = True) -> Map:
    """The local quality map in points of score, from crops that overlap by half along each side.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        predict: the model; gets at most 16 crops at once.
        crop: side of the crops in pixels.
        clip: whether values are kept within 0 to 100.

    Raises:
        ImageError: the photo is smaller than a crop, or the model fails on it.
    """
    if min(pixels.shape[:2]) < crop:
        raise ImageError(f"crops of {crop} do not fit into {pixels.shape[1]} x {pixels.shape[0]} pixels")
    quality = local_quality(pixels, predict, crop=crop, step=max(1, crop // OVERLAP))
    return Map("quality", 100 * (quality.clip(0, 1) if clip else quality))


def local_quality(pixels: Pixels, predict: Predict, *, crop: int, step: int) -> Plane:
    """The quality at each point of a photo, from the crops that show it.

    The crops lie on a grid that touches the borders. A point's quality is the mean of the crops that hold it, weighted
    by sin^2(pi * (y - top) / crop) * sin^2(pi * (x - left) / crop): a crop counts most at its centre and fades out at
    its edge, so the map has no steps.

    Args:
        pixels: (H, W, 3) uint8 RGB, both sides at least `crop`.
        predict, crop: as for `quality_map`.
        step: largest distance between neighbouring crops, 1 to `crop` / 2.

    Returns:
        (h, w) quality, about [0, 1], higher is better, within the range of the crops' own scores: one value a pixel, or
        1024 points along the longer side of a larger photo.

    Raises:
        OptionError: a crop or a step that does not fit.
        ImageError: the model put out a quality that is not finite.

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
    corners = [(top, left) for top in rows for left in columns]
    scores = np.concatenate([predict(crops) for crops, _ in crop_batches(pixels, corners, crop)]).astype(np.float64)
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
    counts = fading((centres[None, :] - np.array(begins)[:, None]) / crop)
    shares: Plane = counts / counts.sum(axis=0)
    return shares


def fading(inside: Plane) -> Plane:
    """How much a crop counts at points given as shares of its side: sin^2, 0 outside of it."""
    return np.where((inside > 0) & (inside < 1), np.sin(np.pi * inside) ** 2, 0.0)


def crop_batches(pixels: Pixels, corners: list[Corner], size: int) -> Iterator[tuple[Pixels, list[Corner]]]:
    """Square crops (N, size, size, 3), at most 16 at once, and their N top-left corners."""
    for i in range(0, len(corners), BATCH):
        some = corners[i : i + BATCH]
        yield np.stack([pixels[top : top + size, left : left + size] for top, left in some]), some
