"""One rated image, and the scale of its score."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from noref.card import Scale as Scale

__all__ = ["Record", "Scale", "names"]


@dataclass(frozen=True)
class Record:
    """One image of a data set with the score that people gave it.

    `raw_score` is the data set's own, in units and direction of `scale`; `quality` is in [0, 1], higher is better.

    Example:
        >>> Record(Path("a.png"), 20.0, Scale(0, 100, higher_is_better=False)).quality
        0.8
    """

    path: Path
    raw_score: float  # as the data set prints it, in units of `scale`
    scale: Scale  # range and direction of `raw_score`; the only thing that converts it
    reference: str | None = None  # the pristine image it was made from, as the data set names it; None for a photo
    distortion: str | None = None  # its kind, as the data set names it; None where it is not known
    level: int | None = None  # strength of the distortion, 1 is the weakest; None where it is not known
    split: str | None = None  # `training`, `validation`, `test`, `unused` (in none of them); None: no official split
    listed: str | None = None  # the name in the release's table, where the file differs from it in letter case

    @property
    def quality(self) -> float:
        """The score as quality in [0, 1], 1 is best, whatever the direction of the raw score."""
        return self.scale.quality(self.raw_score)


def names(records: Sequence[Record]) -> list[str]:
    """Each record's path below the deepest folder that holds all of them, with forward slashes.

    These names are the same wherever the data set lies, so splits and reports use them. Paths without a common folder,
    such as on two drives, are a ValueError.

    Example:
        >>> scale = Scale(0, 1)
        >>> names([Record(Path("/set/a/1.png"), 0.1, scale), Record(Path("/set/b/1.png"), 0.2, scale)])
        ['a/1.png', 'b/1.png']
    """
    if not records:
        return []
    paths = [Path(os.path.abspath(record.path)) for record in records]
    root = os.path.commonpath([path.parent for path in paths])
    return [path.relative_to(root).as_posix() for path in paths]
