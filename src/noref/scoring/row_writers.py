"""The result for one image as a row, and its writers for CSV and JSON lines; `terminal` writes it as a table."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TextIO

from noref.scoring.reasons import Reason

COLUMNS = ("path", "score", "error", "model", "model_sha256", "size", "time", "caution")  # later ones come at the end
WHY = ("reasons",)  # with --why
INTERVAL = ("low", "high", "coverage")  # with --interval
DECIMALS = {"score", "low", "high"}  # written to 1e-4
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
    low: float | None = None  # ends of the interval, in [0, 100]
    high: float | None = None
    coverage: float | None = None  # of the interval, 0.9 as a rule
    reasons: tuple[Reason, ...] | None = None  # strongest first
    file: str | None = field(default=None, compare=False)  # the path as the system knows it, for `paths_writer`


def is_below(row: Row, minimum: float | None, *, sure: bool = False) -> bool:
    """Whether the score is below `minimum`; with `sure`, whether the lower end of its interval is."""
    value = row.low if sure else row.score
    return value is not None and minimum is not None and value < minimum


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


def csv_writer(stream: TextIO, *, header: bool = True, columns: Sequence[str] = COLUMNS) -> Writer:
    """Write the header now and each row when it comes; scores to 1e-4, an empty field where there is nothing."""

    def write(row: Row) -> None:
        line = io.StringIO()  # with \\r\\n at its end, so that both are quoted inside of a cell
        csv.writer(line).writerow([_csv_cell(name, getattr(row, name)) for name in columns])
        stream.write(line.getvalue().removesuffix("\r\n") + "\n")
        stream.flush()

    if header:
        stream.write(",".join(columns) + "\n")
        stream.flush()
    return write


def jsonl_writer(stream: TextIO, *, header: bool = True, columns: Sequence[str] = COLUMNS) -> Writer:
    """Write one JSON object for each row when it comes; scores to 1e-4, null where there is nothing; no header."""

    def write(row: Row) -> None:
        cells = {name: _json_value(name, getattr(row, name)) for name in columns}
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


def _csv_cell(name: str, value: Any) -> str | float:
    if value is None:
        return ""
    if name in DECIMALS:
        return f"{value:.4f}"
    return "; ".join(f"{one.name} {one.severity:.4f}" for one in value) if name == "reasons" else value


def _json_value(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in DECIMALS:
        return round(value, 4)
    return [asdict(one) for one in value] if name == "reasons" else value


def read_reasons(cell: Any) -> tuple[Reason, ...] | None:
    """The reasons of a row from a table: a CSV cell, which has no groups, or the list of a JSON line.

    Example:
        >>> read_reasons("jpeg 0.8000; white_noise 0.2500")[1].severity
        0.25
    """
    if cell is None:
        return None
    if isinstance(cell, str):
        parts = [one.rsplit(" ", 1) for one in cell.split("; ") if one]
        return tuple(Reason(name, "", float(severity)) for name, severity in parts)
    return tuple(Reason(**one) for one in cell)
