"""The best and the worst predicted images of a model, with thumbnails as JPEGs that a page carries inside itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from noref import images
from noref.errors import ImageError
from noref.report import pages
from noref.report.cell_metrics import Group

SIDE = 240  # pixels of the longer side
QUALITY = 82
TITLES = {
    "closest": "Closest to the human score",
    "too good": "Predicted far too good",
    "too bad": "Predicted far too bad",
}


@dataclass(frozen=True)
class ImageResult:
    """One image with its scores; means where several splits test it."""

    path: str  # its name below the data set's folder
    score: float  # human, in raw units
    predicted: float  # in raw units
    residual: float  # predicted less human quality, in shares of the scale; positive: predicted too good
    tests: int  # in how many cells
    thumbnail: pages.Thumbnail | None = None  # None where there is none
    trouble: str = ""  # why there is no thumbnail


def image_results(group: Group) -> list[ImageResult]:
    """Every image of a model's test parts once, sorted by name."""
    seen: dict[str, list[tuple[float, float, float]]] = {}
    for cell in group.cells:
        rows = zip(cell.paths, cell.score, cell.predicted, cell.quality - cell.human, strict=True)
        for path, score, predicted, residual in rows:
            seen.setdefault(path, []).append((score, predicted, residual))
    found = []
    for path, values in sorted(seen.items()):
        score, predicted, residual = np.mean(values, axis=0).tolist()
        found.append(ImageResult(path, score, predicted, residual, len(values)))
    return found


def best_and_worst(found: Iterable[ImageResult], each: int = 6) -> dict[str, list[ImageResult]]:
    """Which images a report shows: the closest predictions, and the farthest in either direction, at most `each`.

    A key of `TITLES` -> images, the clearest case first; an image is of one kind, empty kinds are left out.
    """
    order = sorted(found, key=lambda image: (abs(image.residual), image.path))
    room = min(each, -(-len(order) // 3))
    closest, rest = order[:room], order[room:][::-1]
    too_good = [image for image in rest if image.residual > 0][:room]
    too_bad = [image for image in rest if image.residual < 0][:room]
    return {key: row for key, row in zip(TITLES, (closest, too_good, too_bad), strict=True) if row}


def with_thumbnail(image: ImageResult, root: Path | None) -> ImageResult:
    """The same with its thumbnail, or with the reason why there is none; its path is below `root`, None: not known."""
    inside = PurePosixPath(image.path)
    if root is None:
        return replace(image, trouble="the folder of the images is not known")
    if inside.is_absolute() or ".." in inside.parts:
        return replace(image, trouble="not below the data set's folder")
    try:
        return replace(image, thumbnail=pages.thumbnail(root / inside, SIDE, quality=QUALITY))
    except ImageError as error:  # without the folder
        return replace(image, trouble=str(error).removeprefix(f"{images.name(root / inside)}: "))
