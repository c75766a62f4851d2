"""Tables that people make in a spreadsheet or a program: delimiter, encoding, decimal comma, names of columns, images.

Needs the base install alone. What a column means is up to the caller.
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from noref.data.tables import Files, check_header, read_bytes
from noref.errors import DataError, OptionError, unknown

COLUMNS = {  # what a column is called here -> its names in a table; the first one that is there is read
    "path": ("path", "image"),
    "score": ("score",),
    "good": ("good",),
    "reference": ("reference", "group"),
    "distortion": ("distortion",),
    "level": ("level",),
    "split": ("split",),
}
NAMES = {name: column for column, names in COLUMNS.items() for name in names}
DELIMITERS = ",;\t|"
MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}  # Excel's "Unicode text"
AS_UTF8 = "save the table as UTF-8 (Excel: CSV UTF-8)"
NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+", re.ASCII)


@dataclass(frozen=True)
class OwnTable:
    """Rows of a table, under the names of `COLUMNS`."""

    file: Path
    rows: list[tuple[int, dict[str, str]]]  # line, and column -> stripped text
    delimiter: str
    encoding: str  # `utf-8`, `utf-16`, or `cp1252`, which is a guess that `images` checks
    images_in: Path  # the folder to which its paths are relative
    files: Files = field(repr=False)

    def numbers(self, column: str = "score") -> list[float]:
        """A column as finite numbers, with decimal points or decimal commas.

        Raises:
            DataError: names line and cell: no number, or a comma that may be decimal or part the thousands.
        """
        cells = [(line, row[column]) for line, row in self.rows]
        for line, text in cells:
            if not NUMBER.fullmatch(text) or not math.isfinite(float(text.replace(",", "."))):
                raise self.error(line, f"{column} {text!r} is no number")
        commas = [(line, text) for line, text in cells if "," in text]
        points = [(line, text) for line, text in cells if "." in text]
        if commas and points:
            other = f"{points[0][1]!r} in line {points[0][0]} a decimal point"
            raise self.error(commas[0][0], f"{column} {commas[0][1]!r} has a decimal comma, {other}")
        if commas and self.delimiter != ";" and all(THOUSANDS.fullmatch(text) for _, text in commas):
            why = "may be a decimal comma or part the thousands; write a decimal point, or no comma"
            raise self.error(commas[0][0], f"{column} {commas[0][1]!r}: its comma {why}")
        return [float(text.replace(",", ".")) for _, text in cells]

    def images(self, *, every: bool = False) -> list[Path]:
        r"""The image of each row.

        A name is found with `\` for `/`, in another letter case, and with its accents written in the other way of
        Unicode (NFC, NFD), where that is not ambiguous.

        Args:
            every: keep images that are not on the disk, as the paths where they should be.

        Raises:
            DataError: names the line: no name, no such image, or an image that an earlier row names already.
        """
        found, seen = list[Path](), dict[Path, int]()
        for line, row in self.rows:
            name = row["path"]
            path = Path(os.path.normpath(self.files.path(name)))
            if "\\" in name and not os.path.isfile(path):
                path = Path(os.path.normpath(self.files.path(name.replace("\\", "/"))))
            if not name:
                raise self.error(line, "no image is named")
            here = os.path.isfile(path)
            if not here and self.encoding == "cp1252" and not name.isascii():
                why = f"read as Windows-1252, {name!r} is no image; {AS_UTF8}"
                raise self.error(line, f"not UTF-8 text; {why}")
            if not here and not every:
                raise self.error(line, f"no image {name!r} in {self.images_in}")
            if path in seen:
                raise self.error(line, f"{path.name} is there already, in line {seen[path]}; one row an image")
            seen[path] = line
            found.append(path)
        return found

    def error(self, line: int, reason: str) -> DataError:
        """An error that names file and line."""
        return DataError(f"{self.file}, line {line}: {reason}")


def read_own_table(
    file: Path,
    required: Sequence[str],
    optional: Sequence[str] = (),
    *,
    columns: Mapping[str, str] | None = None,
    images: Path | None = None,
) -> OwnTable:
    """Read a table with a header, in whatever form spreadsheets write one.

    Cells are apart by comma, semicolon, tab or bar: the one under which the header has the required columns, or the one
    that a first line `sep=;` names. The text is UTF-8, UTF-16 with a byte order mark, or else Windows-1252. Columns
    without a name, empty lines, and empty cells at the end of a row are left out.

    Args:
        file: the table.
        required: keys of `COLUMNS` that must be there.
        optional: more of them, read where they are there.
        columns: column -> its name in this table, see `parse_columns`.
        images: the folder to which its paths are relative; None: the table's own.

    Raises:
        DataError: names file, line and reason: no such file, no text, a column that is missing or there twice, a row
            of another length, no rows.
        OptionError: `columns` names one that this table does not have, or that is not asked for.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "scores.csv"
        ...     _ = file.write_text("Datei;MOS;;\\na.jpg;3,5;;\\n")
        ...     table = read_own_table(file, ["path", "score"], columns={"path": "Datei", "score": "MOS"})
        >>> table.rows, table.numbers("score")
        ([(2, {'path': 'a.jpg', 'score': '3,5'})], [3.5])
    """
    text, encoding = _decoded(file)
    named = dict(columns or {})
    for column in named.keys() - {*required, *optional}:
        raise OptionError(f"--columns: {column} is not read here; {', '.join((*required, *optional))} are")
    skip, delimiter = _sep_line(text)
    body = text.split("\n", 1)[1] if skip and "\n" in text else "" if skip else text
    delimiter = delimiter or _delimiter(body, [_names(column, named) for column in required])
    records = _records(file, body, delimiter, skip)
    line, header = next(records, (1 + skip, []))
    places = _places(file, line, header, required, optional, named)
    rows = []
    for at, cells in records:
        _check_length(file, at, cells, header)
        rows.append((at, {column: cells[place] for column, place in places.items()}))
    if not rows:
        raise DataError(f"{file}: no rows")
    root = images or file.parent
    return OwnTable(file, rows, delimiter, encoding, root, Files(root))


def parse_columns(text: str) -> dict[str, str]:
    """`image=filename,score=mos` -> what the columns of a table are called, for `read_own_table`.

    A name with a comma stands in quotes, as in CSV: `"score=MOS, mean"`.

    Raises:
        OptionError: not of that form, or a column that noref does not know.

    Example:
        >>> parse_columns("image=filename,score=mos")
        {'path': 'filename', 'score': 'mos'}
    """
    found: dict[str, str] = {}
    for part in next(csv.reader([text], skipinitialspace=True), []) or [""]:
        name, equals, own = (word.strip() for word in part.partition("="))
        if not equals or not own:
            raise OptionError(f"--columns {text!r}: write image=NAME,score=NAME with the names that your table has")
        if name not in NAMES:
            raise unknown("column", name, NAMES)
        if NAMES[name] in found:
            raise OptionError(f"--columns {text!r}: {name} is there twice")
        found[NAMES[name]] = own
    return found


def _decoded(file: Path) -> tuple[str, str]:
    """The text of a table and its encoding."""
    content = read_bytes(file)
    if content.startswith(b"PK\x03\x04"):
        raise DataError(f"{file}: an Excel workbook or another archive; save the table as CSV")
    encoding = MARKS.get(content[:2], "utf-8-sig")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        try:
            text, encoding = content.decode("cp1252"), "cp1252"
        except UnicodeDecodeError:
            line = content[: error.start].count(b"\n") + 1
            raise DataError(f"{file}, line {line}: not UTF-8 text; {AS_UTF8}") from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise DataError(f"{file}, line {line}: no text, there is a NUL character in it")
    return text, encoding.removesuffix("-sig")


def _sep_line(text: str) -> tuple[int, str | None]:
    """Whether a first line `sep=;` is there, as Excel reads and writes it, and which delimiter it names."""
    match = re.match(r'"?sep=(.)"?\r?(?:\n|$)', text, re.IGNORECASE)
    return (1, match.group(1)) if match else (0, None)


def _delimiter(text: str, wanted: Sequence[Sequence[str]]) -> str:
    """The one under which the header has most of the columns, and of those the one that gives most cells."""

    def worth(delimiter: str) -> tuple[int, int]:
        try:
            lines = csv.reader(io.StringIO(text.lstrip("\r\n"), newline=""), delimiter=delimiter)
            header = [cell.strip() for cell in next(lines, [])]
        except csv.Error:
            return 0, 0
        return sum(_place(header, names) is not None for names in wanted), len(header)

    return max(DELIMITERS, key=worth)


def _records(file: Path, text: str, delimiter: str, skipped: int) -> Iterator[tuple[int, list[str]]]:
    """The records of a text that are not empty, with the lines in which they end, cells stripped."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield reader.line_num + skipped, cells
    except csv.Error as error:
        raise DataError(f"{file}, line {reader.line_num + skipped}: {error}") from error


def _places(
    file: Path, line: int, header: list[str], required: Sequence[str], optional: Sequence[str], named: Mapping[str, str]
) -> dict[str, int]:
    """Column -> where it stands in a row."""
    check_header(file, [cell for cell in header if cell], [], line)
    found, lost = dict[str, int](), dict[str, str]()
    for column in (*required, *optional):
        place = _place(header, _names(column, named))
        if place is not None:
            found[column] = place
        elif column in named:
            there = ", ".join(filter(None, header)) or "nothing"
            raise OptionError(f"--columns: {file} has no column {named[column]!r}; it has {there}")
        elif column in required:
            lost[column] = "image" if column == "path" else column
    if lost:
        there = ", ".join(filter(None, header)) or "nothing"
        way = f"--columns {','.join(f'{name}=NAME' for name in lost.values())} says what they are called"
        raise DataError(f"{file}, line {line}: column {' and '.join(lost)} missing; the file has {there}; {way}")
    return found


def _names(column: str, named: Mapping[str, str]) -> Sequence[str]:
    return [named[column]] if column in named else COLUMNS[column]


def _place(header: Sequence[str], names: Sequence[str]) -> int | None:
    """Where the first of these names stands; in another letter case where none stands as it is and one does so."""
    for name in names:
        if name in header:
            return header.index(name)
    folded = [cell.casefold() for cell in header]
    return next((folded.index(name.casefold()) for name in names if folded.count(name.casefold()) == 1), None)


def _check_length(file: Path, line: int, cells: Sequence[str], header: Sequence[str]) -> None:
    """Cells without a column must be empty, and the row must reach the last column that has a name."""
    last = max((place for place, name in enumerate(header) if name), default=-1)
    if any(cells[len(header) :]) or len(cells) <= last:
        raise DataError(f"{file}, line {line}: {len(cells)} cells, the header names {len(header)}")
