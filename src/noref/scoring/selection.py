"""Which rows of a run are written, and in which order: the worst, the best, all below a score."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

from noref.errors import OptionError
from noref.scoring.row_writers import Row


@dataclass(frozen=True)
class Selection:
    """Rows to write; without arguments all, in input order. Rows with an error are always written, last if sorted.

    Args:
        sort: best first.
        top: the N best only, best first.
        bottom: the N worst only, worst first.
        below: scores below it only, in [0, 100].
        above: scores above it only, in [0, 100].

    Raises:
        OptionError: a number outside its range, or both `top` and `bottom`.

    Example:
        >>> rows = [Row("a", 30.0), Row("b", 60.0), Row("c", error="empty file"), Row("d", 20.0)]
        >>> [row.path for row in Selection(bottom=1, below=40).ordered(rows)]
        ['d', 'c']
    """

    sort: bool = False
    top: int | None = None
    bottom: int | None = None
    below: float | None = None
    above: float | None = None

    def __post_init__(self) -> None:
        if self.top is not None and self.bottom is not None:
            raise OptionError("--top and --bottom: choose one")
        for name, count in (("top", self.top), ("bottom", self.bottom)):
            if count is not None and count < 1:
                raise OptionError(f"{name} must be 1 or more, got {count}")
        for name, score in (("below", self.below), ("above", self.above)):
            if score is not None and not 0 <= score <= 100:
                raise OptionError(f"{name} must be 0-100 like the scores, got {score}")

    @property
    def waits(self) -> bool:
        """Whether no row can be written before the last image is scored."""
        return self.sort or self.top is not None or self.bottom is not None

    def keeps(self, row: Row) -> bool:
        """Whether the row passes `below` and `above`."""
        if row.score is None:
            return True
        return (self.below is None or row.score < self.below) and (self.above is None or row.score > self.above)

    def ordered(self, rows: Iterable[Row]) -> list[Row]:
        """The rows to write; equal scores in input order."""
        kept = [row for row in rows if self.keeps(row)]
        failed = [row for row in kept if row.score is None]
        scored = [row for row in kept if row.score is not None]
        if self.bottom is not None:
            return heapq.nsmallest(self.bottom, scored, key=_score) + failed
        if not self.waits:
            return kept
        return heapq.nlargest(self.top or len(scored), scored, key=_score) + failed


def _score(row: Row) -> float:
    return row.score or 0.0
