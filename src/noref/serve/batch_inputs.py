"""Folders, Parquet tables and addresses such as `s3://bucket/photos` -> the pictures of a batch, numbered."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noref.errors import OptionError, printable
from noref.scoring.find_images import SUFFIXES, check_file, file_stamp, find_images, stamp_text
from noref.serve import batch_tables
from noref.serve.batch import arrow, open_address, reason, shown_address, split_address
from noref.serve.batch_tables import Group

if TYPE_CHECKING:
    import pyarrow as pa

ADDRESS = re.compile(r"(?!https?:)[A-Za-z][A-Za-z0-9+.-]+://")
Stamp = tuple[int | None, str | None]  # size and time, see `find_images.file_stamp`


@dataclass(frozen=True)
class Batch:
    """The pictures of a run, each path once; a picture's number is its row."""

    pictures: pa.Table  # path (the name in the table of scores), file (bytes: where to read it), size, time, error
    groups: Sequence[Group]  # row groups with the pictures that have no file
    file_systems: dict[str, Any]  # of the addresses, by their beginnings
    tables: Sequence[str]  # that were read
    given: Sequence[str]  # the inputs, without what their addresses tell beside the path


def find_batch(inputs: Iterable[str], *, recursive: bool = False, column: str | None = None) -> Batch:
    """The pictures of all inputs, in their order.

    An input that gives nothing is one entry, with an error.

    Args:
        inputs: files, folders, Parquet files and folders of them, here or at an address that pyarrow reads. A folder
            gives its images or, where it has none, its Parquet files.
        recursive: also the folders below the folders.
        column: of the Parquet files; see `batch_tables.picture_column`.

    Raises:
        OptionError: a Parquet file lacks the column, or several could be meant.
    """
    search = _Search(recursive, column)
    for given in inputs:
        (search.remote if ADDRESS.match(given) else search.local)(given)
    return search.batch()


@dataclass
class _Search:
    """Collects what is found; a path that was there before is left out."""

    recursive: bool
    column: str | None
    paths: dict[str, None] = field(default_factory=dict)
    rows: list[tuple[bytes | None, int | None, str | None, str | None]] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    file_systems: dict[str, Any] = field(default_factory=dict)
    tables: list[str] = field(default_factory=list)
    given: list[str] = field(default_factory=list)

    def batch(self) -> Batch:
        pa = arrow()
        file, size, time, error = zip(*self.rows, strict=True) if self.rows else ((),) * 4
        pictures = pa.table(
            {
                "path": pa.array(self.paths, pa.string()),
                "file": pa.array(file, pa.binary()),
                "size": pa.array(size, pa.int64()),
                "time": pa.array(time, pa.string()),
                "error": pa.array(error, pa.string()),
            }
        )
        return Batch(pictures, self.groups, self.file_systems, self.tables, self.given)

    def add(self, path: str, file: bytes | None, stamp: Stamp, error: object = None) -> None:
        if path not in self.paths:
            self.paths[path] = None
            self.rows.append((file, *stamp, None if error is None else str(error)))

    def local(self, given: str) -> None:
        self.given.append(given)
        named = given.lower().endswith(batch_tables.SUFFIXES) and os.path.exists(given)
        found = [] if named else find_images([given], recursive=self.recursive)
        if named or (os.path.isdir(given) and found[0].error):
            tables = _local_tables(given, self.recursive)
            for table in tables:
                self.table(table, os.path.abspath(table), partial(open, table, "rb"), file_stamp(table)[1])
            if tables or named:
                return
        for item in found:
            self.file(item.path, item.error)

    def file(self, path: str, error: object = None) -> None:
        if error is None and not os.path.lexists(path):
            error = "No such file or directory"
        self.add(printable(path), os.fsencode(os.path.abspath(path)), file_stamp(path), error)

    def remote(self, given: str) -> None:
        shown = shown_address(given)
        try:
            file_system, path = open_address(given)
            shown = f"{given.partition('://')[0]}://{path}"  # without passwords and options
            self.file_systems[split_address(shown)[0]] = file_system
            files = _listed(file_system, path, self.recursive)
        except Exception as error:  # pyarrow's are of many types: a wrong address, no permission, no network
            self.add(shown, None, (None, None), reason(error))
            return
        self.given.append(shown)
        root, below = shown.removesuffix(path), len(path.rstrip("/")) + 1
        tables = [each for each in files if _is_table(each.path[below:] or each.path)]
        known = (*SUFFIXES,)
        images = [each for each in files if each.path.lower().endswith(known) or (each.path == path and not tables)]
        for each in images:
            self.add(root + each.path, os.fsencode(root + each.path), (each.size, stamp_text(each.mtime_ns)))
        for each in [] if images else tables:
            opened = partial(file_system.open_input_file, each.path)
            self.table(root + each.path, root + each.path, opened, stamp_text(each.mtime_ns))
        if not images and not tables:
            hint = "" if self.recursive else "; try --recursive"
            self.add(shown, None, (None, None), f"no image in this folder{hint}")

    def table(self, name: str, file: str, opened: Callable[[], Any], time: str | None) -> None:
        import pyarrow.parquet as pq

        self.tables.append(name)
        shown = printable(name)
        try:
            with opened() as stream, pq.ParquetFile(stream) as parquet:
                column = batch_tables.picture_column(parquet.schema_arrow, self.column, shown)
                if batch_tables.is_text(parquet.schema_arrow.field(column).type):
                    for part in parquet.iter_batches(columns=[column]):
                        self.listed(part.column(0).to_pylist(), shown)
                    return
                sizes = [parquet.metadata.row_group(number).num_rows for number in range(parquet.num_row_groups)]
        except OptionError:
            raise
        except Exception as error:  # on a damaged file pyarrow's are of many types
            self.add(shown, None, (None, None), f"not a Parquet file that can be read: {reason(error)}")
            return
        if f"{shown}#0" in self.paths:
            return
        start = len(self.paths)
        for number, rows in enumerate(sizes):
            self.groups.append(Group(file, column, number, len(self.paths), rows))
            for _ in range(rows):
                self.add(f"{shown}#{len(self.paths) - start}", None, (None, time))

    def listed(self, paths: Sequence[str | None], table: str) -> None:
        """The paths of a table's column."""
        stamps = dict(self.stamps([path for path in paths if path and ADDRESS.match(path)]))
        for path in paths:
            if not path:
                self.add(table, None, (None, None), "the table has a row without a path")
            elif path in stamps:
                self.add(path, os.fsencode(path), stamps[path])
            else:
                self.file(path, check_file(path))

    def stamps(self, addresses: Sequence[str]) -> Iterator[tuple[str, Stamp]]:
        """Size and time of each; None, None where they are not known: reading it will tell why."""
        by_start = dict[str, list[str]]()
        for address in addresses:
            by_start.setdefault(split_address(address)[0], []).append(address)
        for start, group in by_start.items():
            try:
                if start not in self.file_systems:
                    self.file_systems[start] = open_address(group[0])[0]
                infos = self.file_systems[start].get_file_info([split_address(address)[1] for address in group])
                known = [(i.size, stamp_text(i.mtime_ns)) if i.size is not None else (None, None) for i in infos]
            except Exception:  # as in `remote`
                known = [(None, None)] * len(group)
            yield from zip(group, known, strict=True)


def _local_tables(given: str, recursive: bool) -> list[str]:
    if os.path.isfile(given):
        return [given]
    files = [path.relative_to(given) for path in (Path(given).rglob("*") if recursive else Path(given).iterdir())]
    return sorted(os.path.join(given, path) for path in files if _is_table(path.as_posix()))


def _is_table(path: str) -> bool:
    """Whether a file below a folder is a Parquet file, not one of the hidden ones that other programs keep there."""
    return path.lower().endswith(batch_tables.SUFFIXES) and not re.search(r"(^|/)[._]", path)


def _listed(file_system: Any, path: str, recursive: bool) -> list[Any]:
    """The file, or the files of the folder that are not hidden, sorted."""
    from pyarrow.fs import FileSelector, FileType

    info = file_system.get_file_info(path)
    if info.type == FileType.NotFound:
        raise FileNotFoundError(path)
    if info.type == FileType.File:
        return [info]
    infos = file_system.get_file_info(FileSelector(path, recursive=recursive))
    below = len(path.rstrip("/")) + 1
    return sorted(
        (i for i in infos if i.type == FileType.File and "/." not in i.path[below - 1 :]), key=lambda i: i.path
    )
