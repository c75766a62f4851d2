"""A data set as its release unpacks it: which tables it may have, how their rows are read, what is known of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from noref.data.records import Record, Scale
from noref.data.tables import Files, existing, first_table
from noref.errors import DataError

Rows = Iterator[tuple[int, Record]]  # line and record, in the table's order


@dataclass(frozen=True)
class Release:
    """A reader: called with the release's folder, it gives the records in the order of the release's table.

    A reader may also be a plain function `folder -> list[Record]`. What is optional here, and `scores`, may then be
    attributes of the function: `my_reader.count = 500`.

    """

    rows: Callable[[Path, Files, Scale], Rows]  # (table, files below the folder, scale) ->; DataError with file, line
    tables: tuple[str, ...]  # where the table may lie, relative to the folder; the first one that is there is read
    scale: Scale  # of all scores
    what: str = "MOS"  # which scores these are, such as `realigned DMOS`
    count: int | None = None  # how many images were published
    official: tuple[int, int, int] | None = None  # images in training, validation and test of the official split
    originals: bool = False  # whether undistorted originals lie among the images on purpose, in no row
    half_split: Callable[[Path], Path | None] | None = None  # folder -> the file of a split of which one is missing

    def __call__(self, folder: Path | str, *, every: bool = False) -> list[Record]:
        """The records of the data set; with `every` also those whose image is not on the disk.

        Raises:
            OptionError: no such folder.
            DataError: a table is missing or broken, or no image is there.
            MissingExtraError: the table needs a package that is not installed.
        """
        folder = existing(folder)
        table, found = first_table(folder, self.tables), Files(folder)
        return on_disk(list(self.rows(table, found, self.scale)), table, found, every=every)

    @property
    def scores(self) -> str:
        """Which scores are read, with range and direction, in words."""
        direction = "higher" if self.scale.higher_is_better else "lower"
        return f"{self.what}, {self.scale.low:g} to {self.scale.high:g}, {direction} is better"


def meta(name: str) -> tuple[str, str]:
    """Where IQA-PyTorch's own table of a data set lies: in the data set's folder, or in one beside it."""
    table = f"meta_info/meta_info_{name}Dataset.csv"
    return table, f"../{table}"


def on_disk(rows: Sequence[tuple[int, Record]], table: Path, found: Files, *, every: bool) -> list[Record]:
    """The records of a table's rows whose image is on the disk; all of them with `every`.

    Raises:
        DataError: no row, an image in two rows, or no image at all on the disk.
    """
    if not rows:
        raise DataError(f"{table}: no rows")
    seen: dict[Path, int] = {}
    for line, record in rows:
        if record.path in seen:
            raise DataError(f"{table}, line {line}: {record.path.name} is there already, in line {seen[record.path]}")
        seen[record.path] = line
    records = [record for _, record in rows if every or record.path.is_file()]
    if not records:
        raise DataError(f"{table}: none of its {len(rows)} images is there; the first should be {rows[0][1].path}")
    renamed = found.renamed
    return [dataclasses.replace(r, listed=renamed[r.path]) if r.path in renamed else r for r in records]
