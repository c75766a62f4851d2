"""Go on with a table of scores that an earlier run of `noref score` left, whole or cut off at any byte."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from noref.card import Card
from noref.decoding.cautions import TRIMMED, UNKNOWN, is_damage
from noref.errors import OptionError, printable
from noref.scoring.find_images import Found, file_stamp
from noref.scoring.row_writers import COLUMNS, WRITERS, Row, read_reasons
from noref.writing import write_bytes

BEFORE = COLUMNS[: COLUMNS.index("caution")]  # of earlier versions


class Table:
    """The table at `output`, made ready: a half row at its end and rows of files that changed are gone.

    What is scored now is appended; `finish` brings all rows into the order that a fresh run gives them. A process
    that is killed at any moment leaves a table that the next one takes up.

    Args:
        output: the table; it need not be there.
        row_format: `csv` or `jsonl`.
        found: the images of this run, in order.
        paths: as the caller gave them; a row of a file below one of these folders that is no longer there is dropped.
            Rows of other files stay, before those of this run.
        card: of the model.
        strict: rows with a caution that says damage are scored again.
        trim: rows without a trimmed margin are scored again; without it, those with one.
        columns: that this run writes; the table must have the same.
        coverage: of this run's intervals; the table's must be the same.

    A row of a table without the column `caution` is kept, with a caution that says so.

    Raises:
        OptionError: the table was made by another model, in another format, or by a version of noref that did not
            write model, size and time.
    """

    def __init__(
        self,
        output: str,
        row_format: str,
        found: Sequence[Found],
        paths: Sequence[str],
        card: Card,
        *,
        strict: bool = False,
        trim: bool = False,
        columns: Sequence[str] = COLUMNS,
        coverage: float | None = None,
    ) -> None:
        if row_format not in WRITERS:
            raise OptionError(f"--resume goes on with a table in CSV or JSON lines, not with the format {row_format}")
        if os.path.exists(output) and not os.path.isfile(output):
            raise OptionError(f"{printable(output)}: --resume needs a regular file")
        self._path, self._format, self._found = Path(os.path.realpath(output)), row_format, found
        self._columns = tuple(columns)
        data = self._path.read_bytes() if self._path.exists() else b""
        rows = _parsed(data, row_format, printable(output), self._columns)
        check_model(rows, card, printable(output))
        if any(row.coverage not in (None, coverage) for row in rows):
            raise OptionError(f"{printable(output)}: its intervals are of another --interval than {coverage:g}")
        stamps = {printable(item.path): file_stamp(item.path) for item in found if item.error is None}
        named = {printable(item.path) for item in found}
        given = {printable(path) for path in paths}
        self._others = [row for row in rows if row.path not in named and not _is_gone(row, given)]
        self.kept = {
            row.path: row
            for row in rows
            if row.score is not None
            and row.size is not None
            and stamps.get(row.path) == (row.size, row.time)
            and is_current(row.caution, strict=strict, trim=trim)
        }
        self._write(self.kept, data)

    def finish(self) -> None:
        """Put the rows into the order of a fresh run, in one step."""
        data = self._path.read_bytes()
        self._write({row.path: row for row in _parsed(data, self._format, str(self._path), self._columns)}, data)

    def _write(self, known: Mapping[str, Row], before: bytes) -> None:
        names = (printable(item.path) for item in self._found)
        text = _text([*self._others, *(known[name] for name in names if name in known)], self._format, self._columns)
        if text != before:
            write_bytes(self._path, text)


def _text(rows: Iterable[Row], row_format: str, columns: Sequence[str]) -> bytes:
    stream = io.StringIO()
    write = WRITERS[row_format](stream, columns=columns)
    for row in rows:
        write(row)
    return stream.getvalue().encode("utf-8", "backslashreplace")


def _parsed(data: bytes, row_format: str, name: str, columns: tuple[str, ...]) -> list[Row]:
    """The whole rows of a table; of a row that was cut off, nothing."""
    header = (",".join(columns) + "\n").encode()
    known = (columns, BEFORE) if columns == COLUMNS else (columns,)
    if header.startswith(data):
        return []
    records = _records(data, quotes=row_format == "csv")
    if row_format == "csv":
        cells = list(csv.reader(records))
        if not cells or tuple(cells[0]) not in known:
            found = tuple(cells[0]) if cells else ()
            raise foreign(name, "jsonl" if data.startswith(b"{") else row_format, row_format, found)
        return [_row(dict(zip(cells[0], row, strict=False))) for row in cells[1:]]
    try:
        values = [json.loads(record) for record in records]
    except ValueError:
        values = [None]
    if not all(isinstance(value, dict) and tuple(value) in known for value in values):
        found = tuple(values[0] or ())
        raise foreign(name, row_format if data.startswith(b"{") else "csv", row_format, found)
    return [_row(value) for value in values]


def _records(data: bytes, *, quotes: bool) -> list[str]:
    """The text split behind each line end, outside quotes; without the rest that has no line end."""
    records, begun = [], b""
    for line in data.split(b"\n")[:-1]:
        begun += line + b"\n"
        if not (quotes and begun.count(b'"') % 2):
            records.append(begun.decode("utf-8", "replace"))
            begun = b""
    return records


def _row(cells: Mapping[str, Any]) -> Row:
    score, size = cells["score"], cells["size"]
    return Row(
        cells["path"],
        score=_number(score),
        error=cells["error"] or None,
        model=cells["model"],
        model_sha256=cells["model_sha256"],
        size=None if size in ("", None) else int(size),
        time=cells["time"] or None,
        caution=cells.get("caution", UNKNOWN if score not in ("", None) else None) or None,
        low=_number(cells.get("low")),
        high=_number(cells.get("high")),
        coverage=_number(cells.get("coverage")),
        reasons=None if score in ("", None) else read_reasons(cells.get("reasons")),
    )


def _number(cell: Any) -> float | None:
    return None if cell in ("", None) else float(cell)


def foreign(name: str, found: str = "", wanted: str = "", columns: tuple[str, ...] = ()) -> OptionError:
    """The error for a table of another format than `wanted` or, where the formats agree, of another version."""
    way = "choose another file, or score all again with --overwrite"
    if found != wanted:
        return OptionError(f"{name}: is a table of another format than {wanted}; {way}")
    if columns[: len(COLUMNS)] == COLUMNS:
        return OptionError(f"{name}: was begun with another choice of --why and --interval; give the same, or {way}")
    return OptionError(f"{name}: is a table of another version of noref, with other columns; {way}")


def check_model(rows: Iterable[Row], card: Card, name: str) -> None:
    """Raise an `OptionError` where a row of the table `name` is another model's."""
    for row in rows:
        if row.model_sha256 != card.sha256:
            made = f"{row.model}, sha256 {(row.model_sha256 or '')[:12]}..."
            way = "give that model, choose another file, or score all again with --overwrite"
            raise OptionError(f"{name}: was scored by {made}, not by {card.name}, {card.sha256[:12]}...; {way}")


def _is_gone(row: Row, given: set[str]) -> bool:
    """Whether a fresh run would have listed the file if it were still there."""
    listed = row.path in given or any(row.path.startswith(os.path.join(path, "")) for path in given)
    return listed and (row.size is None or not os.path.lexists(row.path))


def is_current(caution: str | None, *, strict: bool, trim: bool) -> bool:
    """Whether a run with these options can keep a row that has this caution."""
    doubtful = caution == UNKNOWN or is_damage(caution)
    return not (strict and doubtful) and trim == (TRIMMED in (caution or ""))
