"""The best and the worst predicted images of a model, as small JPEGs that a page carries inside itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from noref import images
from noref.card import Preprocessing
from noref.errors import ImageError
from noref.report.summary import Group

SIDE = 240  # pixels of the longer side
QUALITY = 82
ROUGH = Preprocessing(max_pixels=4 * SIDE * SIDE, min_side=1)  # decoded at this size, then shrunk to the exact one
STRIPS = {
    "closest": "Closest to the human score",
    "too good": "Judged far too good",
    "too bad": "Judged far too bad",
}


@dataclass(frozen=True)
class Judged:
    """One image with what was said of it; means where several splits test it.

    Attributes:
        path: its name below the data set's folder.
        score: human, in raw units.
        predicted: in raw units.
        residual: predicted less human quality, in shares of the scale; positive: judged too good.
        tests: in how many cells.
        picture: a data URI; empty where there is none.
        trouble: why there is no picture.
    """

    path: str
    score: float
    predicted: float
    residual: float
    tests: int
    picture: str = ""
    trouble: str = ""


def judged(group: Group) -> list[Judged]:
    """Every image of a model's test parts once, sorted by name."""
    seen: dict[str, list[tuple[float, float, float]]] = {}
    for cell in group.cells:
        rows = zip(cell.paths, cell.score, cell.predicted, cell.quality - cell.human, strict=True)
        for path, score, predicted, residual in rows:
            seen.setdefault(path, []).append((float(score), float(predicted), float(residual)))
    found = []
    for path, values in sorted(seen.items()):
        score, predicted, residual = np.mean(values, axis=0)
        found.append(Judged(path, float(score), float(predicted), float(residual), len(values)))
    return found


def strips(found: Iterable[Judged], each: int = 6) -> dict[str, list[Judged]]:
    """Which images a report shows: the closest predictions, and the farthest in either direction.

    Args:
        found: of `judged`.
        each: images in a strip, at most; an image stands in one strip only.

    Returns:
        A key of `STRIPS` -> images, the most telling first; without strips that are empty.
    """
    order = sorted(found, key=lambda image: (abs(image.residual), image.path))
    room = min(each, -(-len(order) // 3))
    closest, rest = order[:room], order[room:][::-1]
    too_good = [image for image in rest if image.residual > 0][:room]
    too_bad = [image for image in rest if image.residual < 0][:room]
    return {key: row for key, row in zip(STRIPS, (closest, too_good, too_bad), strict=True) if row}


def with_picture(image: Judged, root: Path | None) -> Judged:
    """The same with its thumbnail, or with the reason why there is none.

    Args:
        image: one of `judged`.
        root: the folder that its path is below; None: not known.
    """
    words = {**image.__dict__}
    try:
        words["picture"] = thumbnail(_file(image.path, root))
    except ImageError as error:
        words["trouble"] = str(error)
    return Judged(**words)


def thumbnail(path: Path) -> str:
    """A JPEG of at most 240 x 240 pixels as a data URI.

    Raises:
        ImageError: the file is missing or cannot be read; the message leaves the folder out.
    """
    try:
        pixels = images.read(path, preprocessing=ROUGH)
    except ImageError as error:
        raise ImageError(str(error).removeprefix(f"{images.name(path)}: ")) from error
    small = Image.fromarray(pixels)
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def root_of(data: Mapping[str, object], table: Path) -> Path | None:
    """The folder that a set's images lie in, as the bench says; None where it does not."""
    said = data.get("root")
    return table.parent / str(said) if said else None


def _file(name: str, root: Path | None) -> Path:
    inside = PurePosixPath(name)
    if root is None:
        raise ImageError("the folder of the images is not known")
    if inside.is_absolute() or ".." in inside.parts:
        raise ImageError("not below the data set's folder")
    return root / inside
