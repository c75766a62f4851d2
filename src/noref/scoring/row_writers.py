"""The result for one image as a row, and its writers for CSV and JSON lines; `terminal` writes it as a table."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TextIO

COLUMNS = ("path", "score", "error", "model", "model_sha256", "size", "time", "caution")  # later ones come at the end
ROW_START = '{"path": "'
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
    model: str | None = None  # its name
    model_sha256: str | None = None  # of its file
    size: int | None = None  # of the image's file, in bytes; None where there is none
    time: str | None = None  # of its last change; see `find_images.file_stamp`
    caution: str | None = None  # what is doubtful about the pixels, or which picture of the file was scored
    file: str | None = field(default=None, compare=False)  # the path as the system knows it, for `paths_writer`


def is_table(head: bytes) -> bool:
    """Whether a file that begins with `head` is a table of scores that noref wrote.

    Example:
        >>> is_table(b"path,score,error\\na.jpg,61.2346,\\n"), is_table(b"path,score\\na.jpg,4\\n")
        (True, False)
    """
    return BEGINNINGS.match(head) is not None or _is_cut_off(head)


def _is_cut_off(head: bytes) -> bool:
    """Whether the process was killed while it wrote the header or the first row."""
    if any(start.encode().startswith(head) for start in (",".join(COLUMNS), ROW_START)):
        return True
    if not head.startswith(ROW_START.encode()) or b"\n" in head:
        return False
    try:
        json.loads(head)
    except ValueError:
        return True
    return False


def csv_writer(stream: TextIO, *, header: bool = True) -> Writer:
    """Write the header now and each row when it comes; scores to 1e-4, an empty field where there is nothing."""

    def write(row: Row) -> None:
        cells = _cells(row)
        score = "" if row.score is None else f"{row.score:.4f}"
        line = io.StringIO()  # with \\r\\n at its end, so that both are quoted inside of a cell
        csv.writer(line).writerow([row.path, score, *("" if cell is None else cell for cell in cells[2:])])
        stream.write(line.getvalue().removesuffix("\r\n") + "\n")
        stream.flush()

    if header:
        stream.write(",".join(COLUMNS) + "\n")
        stream.flush()
    return write


def jsonl_writer(stream: TextIO, *, header: bool = True) -> Writer:
    """Write one JSON object for each row when it comes; scores to 1e-4, null where there is nothing; no header."""

    def write(row: Row) -> None:
        cells = dict(zip(COLUMNS, _cells(row), strict=True))
        stream.write(json.dumps(cells, ensure_ascii=False) + "\n")
        stream.flush()

    return write


def paths_writer(stream: TextIO, *, end: str) -> Writer:
    """Write the path of each row that has a score, and `end`; the stream must take surrogate escapes."""

    def write(row: Row) -> None:
        if row.score is not None:
            stream.write((row.path if row.file is None else row.file) + end)
            stream.flush()

    return write


WRITERS = {"csv": csv_writer, "jsonl": jsonl_writer}


def _cells(row: Row) -> tuple[str | float | None, ...]:
    score = None if row.score is None else round(row.score, 4)
    return row.path, score, row.error, row.model, row.model_sha256, row.size, row.time, row.caution
