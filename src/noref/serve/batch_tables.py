"""Pictures in Parquet tables: which column, and its rows, read a few at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from noref.errors import OptionError, unknown
from noref.serve.batch import arrow, open_address, split_address

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".parquet", ".pq")
PICTURES = ("image", "bytes", "picture", "photo", "content", "data")  # names of columns, the likeliest first
PATHS = ("path", "file", "file_path", "file_name", "filename", "image_path", "image", "uri", "url", "key")
ROWS = 16  # read at once


@dataclass(frozen=True)
class Group:
    """A row group of a Parquet file whose column holds pictures."""

    file: str  # its address, or its absolute path
    column: str
    number: int  # in the file
    first: int  # number of its first picture in the batch
    rows: int


def picture_column(schema: pa.Schema, wanted: str | None, name: str) -> str:
    """The column with the pictures or with their paths.

    Args:
        schema: of the table.
        wanted: the column's name; None: the one that can be meant.
        name: of the table, in messages.

    Raises:
        OptionError: there is none, or several could be meant.
    """
    kinds = {field.name: field.type for field in schema}
    if wanted is not None:
        if wanted not in kinds:
            raise OptionError(f"{name}: {unknown('column', wanted, kinds)}")
        if not (is_text(kinds[wanted]) or _is_picture(kinds[wanted])):
            raise OptionError(f"{name}: column {wanted} is {kinds[wanted]}, not text, bytes or a struct with bytes")
        return wanted
    for fits, known in ((_is_picture, PICTURES), (is_text, PATHS)):
        names = [each for each, kind in kinds.items() if fits(kind)]
        if likely := [each for each in known if each in names] or (names if len(names) == 1 else []):
            return likely[0]
        if names:
            raise OptionError(f"{name}: the pictures may be in {', '.join(names)}: name the column with --column")
    raise OptionError(f"{name}: no column with pictures or their paths; it has {', '.join(kinds)}")


def is_text(kind: Any) -> bool:
    """Whether a column of this type holds paths."""
    types = arrow().types
    return bool(types.is_string(kind) or types.is_large_string(kind))


def _is_picture(kind: Any) -> bool:
    types = arrow().types
    if types.is_struct(kind):
        return any(field.name == "bytes" and _is_picture(field.type) for field in kind)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


class ReadRows:
    """Reads pictures of row groups, for `map_batches`: rows of `unit_table` -> columns item, path, bytes."""

    def __init__(self, file_systems: Mapping[str, Any]) -> None:
        self._file_systems = dict(file_systems)

    def __call__(self, units: pa.Table) -> Iterator[pa.Table]:
        """A part of the rows at a time."""
        import pyarrow.parquet as pq

        for unit in units.to_pylist():
            wanted = set(unit["items"])
            with self._open(os.fsdecode(unit["file"])) as stream, pq.ParquetFile(stream) as parquet:
                item = unit["first"]
                parts = parquet.iter_batches(ROWS, row_groups=[unit["number"]], columns=[unit["column"]])
                for part in parts:
                    items = range(item, item + part.num_rows)
                    item += part.num_rows
                    if not wanted.isdisjoint(items):
                        yield _chosen(part.column(0), items, wanted)

    def _open(self, file: str) -> Any:
        if "://" not in file:
            return open(file, "rb")
        start, path = split_address(file)
        file_system = self._file_systems.get(start)
        if file_system is None:
            file_system, path = open_address(file)
        return file_system.open_input_file(path)


def unit_table(group: Group, items: Iterable[int]) -> pa.Table:
    """One row: the pictures of a row group that are to be read."""
    values = {"file": os.fsencode(group.file), "column": group.column, "number": group.number, "first": group.first}
    return arrow().table({name: [value] for name, value in values.items()} | {"items": [list(items)]})


def _chosen(column: Any, items: range, wanted: set[int]) -> pa.Table:
    pa = arrow()
    if pa.types.is_struct(column.type):
        column = pa.compute.struct_field(column, "bytes")
    places = [place for place, item in enumerate(items) if item in wanted]
    pictures = column.take(pa.array(places)).cast(pa.large_binary())
    return pa.table({"item": pa.array([items[place] for place in places], pa.int64()), "bytes": pictures})
