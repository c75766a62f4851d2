"""Reading score tables line by line, and finding the images that they name. Knows no data set.

Every row comes with its line number (for a table that is no text: its row number), so that an error can name it.
"""

from __future__ import annotations

import csv
import io
import math
import os
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from noref.errors import DataError, MissingExtraError, OptionError

SPLIT_PARTS = {
    **dict.fromkeys(("train", "training"), "training"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
    "unused": "unused",
}
HEADER_ROWS = 10  # a workbook may begin with titles; its column names are looked for in so many rows


def existing(path: Path | str) -> Path:
    """A file or folder that the caller named, as a path; an OptionError where it does not exist or is no path."""
    if "\0" in os.fspath(path):
        raise OptionError(f"{os.fspath(path)!r}: a path cannot contain a NUL character")
    if not Path(path).exists():
        raise OptionError(f"{path}: no such file or folder")
    return Path(path)


def first_table(folder: Path, names: Sequence[str]) -> Path:
    """The first of these tables that is there; the first of all where none is, so that the error names it."""
    tables = [folder / name for name in names]
    return next((table for table in tables if table.is_file()), tables[0])


def read_text(path: Path) -> str:
    """The text of a table, without a byte order mark; a DataError where it is no UTF-8 text or cannot be read."""
    content = read_bytes(path)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not UTF-8 text") from error


def read_bytes(path: Path) -> bytes:
    """The bytes of a table; a DataError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error


def read_csv(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a comma-separated file as (line number, column -> text), cells stripped; empty lines are left out.

    The first line names the columns; those in `columns` must be there, others may be.

    Raises:
        DataError: no such file, no header, a column that is missing or there twice, a row of another length.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        check_header(path, header, columns)
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise DataError(f"{path}, line {reader.line_num}: {len(row)} cells, the header names {len(header)}")
            yield reader.line_num, dict(zip(header, (cell.strip() for cell in row), strict=True))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from error


def check_header(path: Path, header: Sequence[str], columns: Sequence[str], line: int = 1) -> None:
    """A DataError where one of the columns is missing, or a name is there twice."""
    missing = [column for column in columns if column not in header]
    if missing:
        found = ", ".join(header) or "nothing"
        raise DataError(f"{path}, line {line}: column {' and '.join(missing)} missing; the file has {found}")
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        raise DataError(f"{path}, line {line}: column {' and '.join(twice)} is there twice")


def read_cells(path: Path, count: int, *, separator: str | None = None) -> Iterator[tuple[int, list[str]]]:
    """Rows of a text file without a header as (line number, `count` stripped cells); empty lines are left out.

    Without a separator cells are apart by spaces or tabs.

    Raises:
        DataError: no such file, or a row with another number of cells.
    """
    for line, text in enumerate(read_text(path).split("\n"), start=1):
        cells = [cell.strip() for cell in text.strip().split(separator)] if text.strip() else []
        if cells and len(cells) != count:
            raise DataError(f"{path}, line {line}: {len(cells)} cells, {count} wanted")
        if cells:
            yield line, cells


def read_sheet(path: Path, columns: Sequence[str], *, sheet: str | None = None) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a workbook's sheet as `read_csv` gives them, the line is the sheet's row; or of the same table as CSV.

    Args:
        path: a workbook where it ends in `.xlsx`: one of its first rows names the columns, titles may stand above.
        columns: those that must be there; others may be, also without a name.
        sheet: its name; None: the first.

    Raises:
        DataError: no such file, no workbook, no such sheet, or a column that is missing or there twice.
        MissingExtraError: pandas is not installed.
    """
    if path.suffix != ".xlsx":
        yield from read_csv(path, columns)
        return
    try:
        from pandas import read_excel
    except ImportError as error:
        raise MissingExtraError("train", f"reading {path.name}") from error
    read = partial(read_excel, sheet_name=sheet or 0, header=None, dtype=str, keep_default_na=False)
    cells = _parsed(path, read, f"an Excel workbook with {sheet or 'a first sheet'}")
    rows = [[str(cell).strip() for cell in row] for row in cells.itertuples(index=False)]
    top = next((at for at, row in enumerate(rows[:HEADER_ROWS]) if set(columns) <= set(row)), 0)
    header = rows[top] if rows else []
    check_header(path, [cell for cell in header if cell], columns, top + 1)
    for line, row in enumerate(rows[top + 1 :], start=top + 2):
        named = {column: cell for column, cell in zip(header, row, strict=True) if column}
        if any(named.values()):
            yield line, named


def number(text: str, path: Path, line: int, what: str = "score") -> float:
    """A cell as a finite number; a DataError that names file, line and cell where it is none."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{path}, line {line}: {what} {text!r} is no number")
    return value


def whole_number(text: str, path: Path, line: int, what: str) -> int:
    """A cell as a whole number; errors as `number`."""
    value = number(text, path, line, what)
    if value != int(value):
        raise DataError(f"{path}, line {line}: {what} {text!r} is no whole number")
    return int(value)


def split_part(text: str, path: Path, line: int, words: Mapping[str, str] = SPLIT_PARTS) -> str | None:
    """A cell of an official split as `training`, `validation`, `test` or `unused`; None where it is empty.

    `words` is what the cell may say -> the part; another word is a DataError, as of `number`.
    """
    if text and text.casefold() not in words:
        raise DataError(f"{path}, line {line}: split {text!r} is none of {', '.join(sorted(words))}")
    return words[text.casefold()] if text else None


def read_matlab(path: Path, name: str) -> list[Any]:
    """A variable of a MATLAB file as a flat list: of numbers, or of strings where it is a cell array.

    Raises:
        DataError: the file cannot be read, is no MATLAB file, or has no such variable.
        MissingExtraError: scipy is not installed.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise MissingExtraError("train", f"reading {path.name}") from error
    content = _parsed(path, partial(loadmat, variable_names=[name]), "a MATLAB file")
    if name not in content:
        raise DataError(f"{path}: no variable {name}")
    array = content[name]
    if array.dtype != object:
        return list(array.ravel().tolist())
    return [str(cell.item()) if cell.size == 1 else str(cell) for cell in array.ravel()]


def _parsed(path: Path, read: Callable[[Any], Any], what: str) -> Any:
    """What a library reads from a file; its parser may raise anything."""
    content = io.BytesIO(read_bytes(path))
    try:
        return read(content)
    except Exception as error:
        raise DataError(f"{path}: not {what}: {error}") from error


class Files:
    """Finds files below a folder by name; in another letter case or Unicode form too, where that is not ambiguous.

    Releases are not always true to the letter: a table says `I01_01_1.bmp`, the archive holds `i01_01_1.bmp`. An accent
    is one character or two (NFC, NFD), as the system likes it that packed the files. Each folder is listed once, when
    its first file is asked for.

    Example:
        >>> Files(Path("/no/such/folder")).path("a.png").as_posix()
        '/no/such/folder/a.png'
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.renamed: dict[Path, str] = {}  # file found under another spelling -> the name that was asked for
        self._names: dict[Path, dict[str, list[str]]] = {}

    def path(self, name: str) -> Path:
        """The file of that name, else the only one that differs in spelling alone, else where it should be.

        The name is relative to the root, with forward slashes.
        """
        wanted = self.folder / name
        if os.path.isfile(wanted):
            return wanted
        here = Path(wanted.anchor) if Path(name).is_absolute() else self.folder
        for part in wanted.relative_to(here).parts:
            alike = [part] if os.path.exists(here / part) else self._names_in(here).get(_spelling(part), [])
            if len(alike) != 1:
                return wanted
            here /= alike[0]
        if here.name != wanted.name:
            self.renamed[here] = wanted.name
        return here

    def first(self, name: str, folders: Sequence[str]) -> Path:
        """The file in the first of these folders that has it; else where it should be in the first that is there."""
        paths = [self.path(f"{folder}/{name}") for folder in folders]
        here = next((path for path in paths if path.is_file()), None)
        return here or next((path for path in paths if self._names_in(path.parent)), paths[0])

    def _names_in(self, folder: Path) -> dict[str, list[str]]:
        """The names in a folder, by what they are without regard to spelling; none where it cannot be read."""
        if folder not in self._names:
            self._names[folder] = {}
            with suppress(OSError):
                for entry in os.listdir(folder):
                    self._names[folder].setdefault(_spelling(entry), []).append(entry)
        return self._names[folder]


def _spelling(name: str) -> str:
    """What two names have in common that differ in letter case or in Unicode form alone."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())
