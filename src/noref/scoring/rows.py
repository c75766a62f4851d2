"""One row an image: scored in order, written as a table, CSV or JSON lines, each row as soon as it is known."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TextIO

from noref.errors import ImageError
from noref.images import printable
from noref.scoring.files import Found
from noref.scoring.scorer import Scorer

COLUMNS = ("path", "score", "error")
Writer = Callable[["Row"], None]


@dataclass(frozen=True)
class Row:
    r"""What is known of one image.

    Attributes:
        path: as text; bytes that are no UTF-8 are written \xNN.
        score: in [0, 100], higher is better; None where there is none.
        error: why there is none; None where there is one.
    """

    path: str
    score: float | None = None
    error: str | None = None


def rows(scorer: Scorer, found: Sequence[Found]) -> Generator[Row]:
    """Score what was found, a row each, in the same order; a file that cannot be scored is a row with an error."""
    with closing(scorer.stream(item.path for item in found if item.error is None)) as outcomes:
        for item in found:
            path = printable(item.path)
            outcome = item.error or next(outcomes)
            if isinstance(outcome, ImageError):
                yield Row(path, error=str(outcome).removeprefix(f"{path}: "))
            else:
                yield Row(path, score=outcome.value)


def csv_writer(stream: TextIO) -> Writer:
    """Write the header now and each row when it comes: quoted where needed, empty where absent, score to 1e-4."""
    import csv

    writer = csv.writer(stream, lineterminator="\n")

    def write(row: Row) -> None:
        writer.writerow([row.path, "" if row.score is None else f"{row.score:.4f}", row.error or ""])
        stream.flush()

    writer.writerow(COLUMNS)
    stream.flush()
    return write


def jsonl_writer(stream: TextIO) -> Writer:
    """Write one JSON object a row, null where absent, score to 1e-4."""

    def write(row: Row) -> None:
        score = None if row.score is None else round(row.score, 4)
        stream.write(json.dumps({"path": row.path, "score": score, "error": row.error}, ensure_ascii=False) + "\n")
        stream.flush()

    return write
