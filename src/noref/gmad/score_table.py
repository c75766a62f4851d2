"""A column of scores for a list of images, from a CSV of any tool, and two of them brought onto one list."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from noref.data.tables import number, read_csv
from noref.errors import DataError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Opponent:
    """What one model says of a list of images.

    Attributes:
        name: what tables and pages call the model.
        paths: (M,) images, each once.
        scores: (M,) as the model's tool writes them.
        higher_is_better: direction of `scores`.
        exact: (M,) where given, orders the images instead of `scores`: higher is better, and not rounded or clipped.
    """

    name: str
    paths: tuple[str, ...]
    scores: Array
    higher_is_better: bool = True
    exact: Array | None = None

    @property
    def order(self) -> Array:
        """(M,) numbers that rank the images, higher is better."""
        if self.exact is not None:
            return self.exact
        return self.scores if self.higher_is_better else -self.scores

    @property
    def direction(self) -> str:
        """In words, for people who read the scores."""
        return "higher is better" if self.higher_is_better else "lower is better"

    def take(self, rows: NDArray[np.int64]) -> Opponent:
        """The same model on some of the images, in that order."""
        exact = None if self.exact is None else self.exact[rows]
        paths = tuple(self.paths[row] for row in rows)
        return Opponent(self.name, paths, self.scores[rows], self.higher_is_better, exact)


def read_opponent(
    path: Path,
    *,
    name: str | None = None,
    path_column: str = "path",
    score_column: str = "score",
    higher_is_better: bool = True,
    below: Path | None = None,
) -> Opponent:
    """Read a column of scores.

    Args:
        path: a CSV file with a header; other columns may be there.
        name: None: the file's name without its ending.
        path_column: header of the images' paths.
        score_column: header of the scores.
        higher_is_better: direction of the scores.
        below: a folder; paths that begin with it are taken relative to it, so that `photos/a.jpg` of one tool is
            `a.jpg` of another.

    Raises:
        DataError: the file is no such table; a score that is missing or no number; an image in two rows. Names file
            and line.
    """
    scores: dict[str, float] = {}
    for line, row in read_csv(path, [path_column, score_column]):
        image = _key(row[path_column], below)
        if not row[path_column]:
            raise DataError(f"{path}, line {line}: no path")
        if image in scores:
            raise DataError(f"{path}, line {line}: {image} is in two rows")
        if not row[score_column]:
            raise DataError(f"{path}, line {line}: {image} has no score")
        scores[image] = number(row[score_column], path, line)
    if not scores:
        raise DataError(f"{path}: no rows")
    return Opponent(name or path.stem, tuple(scores), np.array(list(scores.values())), higher_is_better)


def align(first: Opponent, second: Opponent) -> tuple[Opponent, Opponent]:
    """Both on the images of the first, in its order.

    Raises:
        DataError: an image that only one of them has scored.
    """
    for one, other in ((first, second), (second, first)):
        missing = sorted(set(one.paths) - set(other.paths))
        if missing:
            more = f", nor for {len(missing) - 1} others" if len(missing) > 1 else ""
            raise DataError(f"{other.name} has no score for {missing[0]}{more}, which {one.name} has")
    place = {path: row for row, path in enumerate(second.paths)}
    return first, second.take(np.array([place[path] for path in first.paths]))


def _key(text: str, below: Path | None) -> str:
    path = os.path.normpath(text)
    if below is None:
        return path
    for folder in (os.path.normpath(below), os.path.abspath(below)):
        if path.startswith(folder + os.sep):
            return os.path.relpath(path, folder)
    return path
