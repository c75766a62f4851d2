"""Reading score tables line by line, and finding the images that they name. Knows no data set.

Every row comes with its line number (for a table that is no text: its row number), so that an error can name it.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from noref.errors import DataError, MissingExtraError, OptionError

SPLIT_PARTS = {
    "train": "training",
    "training": "training",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
    "unused": "unused",
}
HEADER_ROWS = 10  # a workbook may begin with titles; its column names are looked for in so many rows


def existing(path: Path | str) -> Path:
    """A file or folder that the caller named, as a path.

    Raises:
        OptionError: it does not exist, or a path cannot be written like this: the call is wrong, not the data.
    """
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
    """The text of a table, without a byte order mark.

    Raises:
        DataError: the file cannot be read or is no UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not UTF-8 text") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error


def read_csv(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a comma-separated file as (line number, column -> text), cells stripped; empty lines are left out.

    Args:
        path: the file; its first line names the columns.
        columns: the columns that must be there; others may be.

    Raises:
        DataError: no such file, no header, a column that is missing or there twice, a row of another length.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        _check_header(path, header, columns)
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise DataError(f"{path}, line {reader.line_num}: {len(row)} cells, the header names {len(header)}")
            yield reader.line_num, dict(zip(header, (cell.strip() for cell in row), strict=True))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from error


def _check_header(path: Path, header: list[str], columns: Sequence[str], line: int = 1) -> None:
    missing = [column for column in columns if column not in header]
    if missing:
        found = ", ".join(header) or "nothing"
        raise DataError(f"{path}, line {line}: column {' and '.join(missing)} missing; the file has {found}")
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        raise DataError(f"{path}, line {line}: column {' and '.join(twice)} is there twice")


def read_cells(path: Path, count: int, *, separator: str | None = None) -> Iterator[tuple[int, list[str]]]:
    """Rows of a text file without a header as (line number, stripped cells); empty lines are left out.

    Args:
        path: the file.
        count: how many cells each row must have.
        separator: what stands between cells; None: spaces or tabs.

    Raises:
        DataError: no such file, or a row with another number of cells.
    """
    for line, text in enumerate(read_text(path).split("\n"), start=1):
        cells = [cell.strip() for cell in text.strip().split(separator)] if text.strip() else []
        if cells and len(cells) != count:
            raise DataError(f"{path}, line {line}: {len(cells)} cells, {count} wanted")
        if cells:
            yield line, cells


def read_excel(path: Path, columns: Sequence[str], *, sheet: str | None = None) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a workbook's sheet as `read_csv` gives them; the line is the sheet's row.

    Args:
        path: the file; one of its first rows names the columns, titles may stand above.
        columns: the columns that must be there; others may be, also without a name.
        sheet: its name; None: the first.

    Raises:
        DataError: no such file, no workbook, no such sheet, or a column that is missing or there twice.
        MissingExtraError: pandas is not installed.
    """
    try:
        from pandas import read_excel
    except ImportError as error:
        raise MissingExtraError("train", f"reading {path.name}") from error
    try:
        cells = read_excel(path, sheet_name=sheet or 0, header=None, dtype=str, keep_default_na=False)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except Exception as error:  # a zip file that is none, broken XML inside, or another sheet
        raise DataError(f"{path}: not an Excel workbook with {sheet or 'a first sheet'}: {error}") from error
    rows = [[str(cell).strip() for cell in row] for row in cells.itertuples(index=False)]
    heads = [at for at, row in enumerate(rows[:HEADER_ROWS]) if set(columns) <= set(row)]
    top = heads[0] if heads else 0
    header = rows[top] if rows else []
    _check_header(path, [cell for cell in header if cell], columns, top + 1)
    for line, row in enumerate(rows[top + 1 :], start=top + 2):
        named = {column: cell for column, cell in zip(header, row, strict=True) if column}
        if any(named.values()):
            yield line, named


def read_sheet(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a workbook's first sheet where the file ends in `.xlsx`, else of a comma-separated file."""
    return read_excel(path, columns) if path.suffix == ".xlsx" else read_csv(path, columns)


def number(text: str, path: Path, line: int, what: str = "score") -> float:
    """A cell as a finite number.

    Raises:
        DataError: it is none; names file, line and cell.
    """
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

    Args:
        text: the cell.
        path: the table, for the error.
        line: of the cell, for the error.
        words: what the cell may say -> the part.

    Raises:
        DataError: another word.
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
    try:
        path.open("rb").close()  # the system's reason, before scipy gives its own
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    try:
        content = loadmat(path, variable_names=[name])
    except Exception as error:  # scipy raises whatever its parser stumbles over
        raise DataError(f"{path}: not a MATLAB file: {error}") from error
    if name not in content:
        raise DataError(f"{path}: no variable {name}")
    array = content[name]
    if array.dtype != object:
        return list(array.ravel().tolist())
    return [str(cell.item()) if cell.size == 1 else str(cell) for cell in array.ravel()]


class Files:
    """Finds files below a folder by name; in another letter case too, where that is not ambiguous.

    Releases are not always true to the letter: a table says `I01_01_1.bmp`, the archive holds `i01_01_1.bmp`.

    Args:
        folder: the root; each folder below it is listed once, when its first file is asked for.

    Attributes:
        renamed: the files found in another letter case, each with the name that was asked for.

    Example:
        >>> Files(Path("/no/such/folder")).path("a.png").as_posix()
        '/no/such/folder/a.png'
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.renamed: dict[Path, str] = {}
        self._listed: dict[Path, tuple[set[str], dict[str, str | None]]] = {}

    def path(self, name: str) -> Path:
        """The file of that name, else the only one that differs in letter case alone, else where it should be.

        Args:
            name: with forward slashes, relative to the root; only the last part may differ in letter case.
        """
        wanted = self.folder / name
        if wanted.parent not in self._listed:
            self._listed[wanted.parent] = _list(wanted.parent)
        exact, folded = self._listed[wanted.parent]
        other = folded.get(wanted.name.casefold())
        if wanted.name in exact or other is None:
            return wanted
        self.renamed[wanted.with_name(other)] = wanted.name
        return wanted.with_name(other)

    def first(self, name: str, folders: Sequence[str]) -> Path:
        """The file in the first of these folders that has it; else where it should be in the first that is there."""
        likely: Path | None = None
        for folder in folders:
            path = self.path(f"{folder}/{name}")
            if path.is_file():
                return path
            if likely is None and self._listed[path.parent][0]:
                likely = path
        return likely or self.folder / folders[0] / name


def _list(folder: Path) -> tuple[set[str], dict[str, str | None]]:
    """Names in a folder, and folded name -> name, or None where several names fold alike."""
    found = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    folded: dict[str, str | None] = {}
    for name in found:
        folded[name.casefold()] = None if name.casefold() in folded else name
    return found, folded
