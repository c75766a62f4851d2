"""The result for one image as a row, and its writers for CSV and JSON lines; `terminal` writes it as a table."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

COLUMNS = ("path", "score", "error")
BEGINNINGS = re.compile(  # of what the writers write, tables of version 0.1 too
    rb'path,score,error[,\n]|\{"path": ".*", "score": .*, "error": |path +score\n'
)
Writer = Callable[["Row"], None]


@dataclass(frozen=True)
class Row:
    """The result for one image: a score or an error."""

    path: str  # bytes that are not UTF-8 are written \xNN
    score: float | None = None  # in [0, 100], higher is better
    error: str | None = None  # the reason why there is no score


def is_table(head: bytes) -> bool:
    """Whether a file that begins with `head` is a table of scores that noref wrote.

    Example:
        >>> is_table(b"path,score,error\\na.jpg,61.2346,\\n"), is_table(b"path,score\\na.jpg,4\\n")
        (True, False)
    """
    return BEGINNINGS.match(head) is not None


def csv_writer(stream: TextIO) -> Writer:
    """Write the header now and each row when it comes; scores to 1e-4, an empty field where there is none."""
    writer = csv.writer(stream, lineterminator="\n")

    def write(row: Row) -> None:
        writer.writerow([row.path, "" if row.score is None else f"{row.score:.4f}", row.error or ""])
        stream.flush()

    writer.writerow(COLUMNS)
    stream.flush()
    return write


def jsonl_writer(stream: TextIO) -> Writer:
    """Write one JSON object for each row when it comes; scores to 1e-4, null where there is none."""

    def write(row: Row) -> None:
        score = None if row.score is None else round(row.score, 4)
        stream.write(json.dumps({"path": row.path, "score": score, "error": row.error}, ensure_ascii=False) + "\n")
        stream.flush()

    return write
