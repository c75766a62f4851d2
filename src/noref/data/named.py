"""A data set that is named on the command line, `NAME=PATH`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from noref.data.readers import READERS, cautions, only_csv
from noref.data.records import Record, Scale
from noref.errors import OptionError, unknown


@dataclass(frozen=True)
class DataSet:
    """A rated data set that was named on the command line."""

    name: str  # a key of `READERS`
    path: str
    records: Sequence[Record]
    table: Mapping[str, Any] = field(default_factory=dict)  # said of it, if it is a csv
    cautions: Sequence[str] = ()  # what was taken for granted in reading it, one sentence each

    @property
    def scale(self) -> Scale:
        """Of its scores: range and direction."""
        return self.records[0].scale


def read_data(text: str, *, photos: bool = False, table: Mapping[str, Any] | None = None) -> DataSet:
    """`NAME=PATH` -> the data set.

    Args:
        text: as it was typed.
        photos: whether `photos=FOLDER` will do, plain pictures without scores; the data set then has no records.
        table: what is said of a table of one's own, as `noref.data.own_csv.options` gives it.

    Raises:
        OptionError: not of that form, an unknown data set, or `table` for one that is no csv.
        DataError: what the reader finds wrong with the folder.
    """
    name, equals, path = text.partition("=")
    if not equals or not path:
        raise OptionError(f"--data {text!r}: write NAME=PATH, such as livec=FOLDER")
    if photos and name == "photos":
        only_csv(name, table or {})
        return DataSet(name, path, [])
    if name not in READERS:
        raise unknown("data set", name, [*READERS, "photos"] if photos else READERS)
    said = only_csv(name, table or {})
    records = READERS[name](Path(path), **said)
    return DataSet(name, path, records, said, cautions(name, Path(path), **said))


def read_all(texts: Sequence[str], table: Mapping[str, Any] | None = None) -> list[DataSet]:
    """Several data sets; `table` is said of each csv among them. Errors as `read_data`, also where none is a csv."""
    own = [text.partition("=")[0] == "csv" for text in texts]
    return [read_data(text, table=table if csv or not any(own) else None) for text, csv in zip(texts, own, strict=True)]
