"""A column of scores for a list of images, from a CSV of any tool, and two of them brought onto one list."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from noref.data.tables import number, read_csv
from noref.errors import DataError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ScoreTable:
    """One model's scores of a list of images."""

    name: str
    paths: tuple[str, ...]  # M images, each once
    scores: Array  # (M,) as the model's tool writes them
    higher_is_better: bool = True  # of `scores`
    exact: Array | None = None  # (M,) orders the images instead of `scores`: higher is better, not rounded or clipped

    @property
    def order(self) -> Array:
        """(M,) numbers that rank the images, higher is better."""
        if self.exact is not None:
            return self.exact
        return self.scores if self.higher_is_better else -self.scores

    @property
    def direction(self) -> str:
        """Of the scores, in words."""
        return f"{'higher' if self.higher_is_better else 'lower'} is better"

    def take(self, rows: NDArray[np.int64]) -> ScoreTable:
        """The same model on some of the images, in that order."""
        exact = None if self.exact is None else self.exact[rows]
        return replace(self, paths=tuple(self.paths[row] for row in rows), scores=self.scores[rows], exact=exact)


def read_score_table(
    path: Path,
    *,
    name: str | None = None,
    columns: tuple[str, str] = ("path", "score"),
    higher_is_better: bool = True,
    below: Path | None = None,
) -> ScoreTable:
    """Read a column of scores.

    Args:
        path: a CSV file with a header; other columns may be there.
        name: of the model; None: the file's name without its suffix.
        columns: headers of the images' paths and of the scores.
        higher_is_better: direction of the scores.
        below: paths that begin with this folder are made relative to it: `photos/a.jpg` of one tool is `a.jpg` of
            another.

    Raises:
        DataError: no such table; a score that is missing or no number; an image in two rows. Names file and line.
    """
    scores: dict[str, float] = {}
    for line, row in read_csv(path, columns):
        text, score = (row[column] for column in columns)
        image = _relative(text, below)
        if not text:
            raise DataError(f"{path}, line {line}: no path")
        if image in scores:
            raise DataError(f"{path}, line {line}: {image} is in two rows")
        if not score:
            raise DataError(f"{path}, line {line}: {image} has no score")
        scores[image] = number(score, path, line)
    if not scores:
        raise DataError(f"{path}: no rows")
    return ScoreTable(name or path.stem, tuple(scores), np.array(list(scores.values())), higher_is_better)


def align(first: ScoreTable, second: ScoreTable) -> tuple[ScoreTable, ScoreTable]:
    """Both on the images of the first, in its order.

    Raises:
        DataError: an image that only one of them has scored.
    """
    for one, other in ((first, second), (second, first)):
        if missing := sorted(set(one.paths) - set(other.paths)):
            more = f", nor for {len(missing) - 1} others" if len(missing) > 1 else ""
            raise DataError(f"{other.name} has no score for {missing[0]}{more}, which {one.name} has")
    place = {path: row for row, path in enumerate(second.paths)}
    return first, second.take(np.array([place[path] for path in first.paths]))


def _relative(text: str, below: Path | None) -> str:
    path = os.path.normpath(text)
    for folder in (os.path.normpath(below), os.path.abspath(below)) if below else ():
        if path.startswith(folder + os.sep):
            return os.path.relpath(path, folder)
    return path
