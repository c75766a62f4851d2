"""The table of a batch: parts that a killed run leaves whole, and one file of them, as Parquet, here or elsewhere."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from noref.card import Card
from noref.errors import OptionError, printable
from noref.scoring.resume import check_model, foreign, is_current
from noref.scoring.row_writers import COLUMNS, Row
from noref.serve.batch import arrow, open_address, reason, row_schema, shown_address, split_address
from noref.serve.batch_inputs import ADDRESS, Batch
from noref.writing import check_output, replacing

if TYPE_CHECKING:
    import pyarrow as pa

MARK = {b"noref": b"scores"}  # in the schema of every file
UNWRITTEN = {".arrow", ".csv", ".feather", ".json", ".jsonl", ".tsv", ".txt", ".xls", ".xlsx"}
WAY = "--resume goes on with it, --overwrite replaces it"
SHARE, SHORTEST, LONGEST = 0.05, 2.0, 60.0  # of the time so far, and seconds: how long rows wait for their part


class Output:
    """Rows go into parts: files in a folder, each written in one step.

    `FILE.parquet`: the parts lie in `FILE.parquet.parts` until `finish` makes one table of them in the order of the
    batch. A folder: the parts stay, in any order.

    Args:
        out: the file or the folder, here or at an address of pyarrow.
        overwrite: what is there, and noref wrote it, is gone.
        resume: what is there is kept; see `keep`.
        inputs: files that are read.

    Raises:
        OptionError: an input, not written by noref, there without `overwrite` or `resume`, or it cannot be written.
    """

    def __init__(self, out: str, *, overwrite: bool = False, resume: bool = False, inputs: Sequence[str] = ()) -> None:
        self._shown = shown_address(out) if ADDRESS.match(out) else printable(out)
        try:
            self._fs, path = open_address(out) if ADDRESS.match(out) else (_local(), os.path.abspath(out))
            self._path = path.rstrip("/")
            self._one = path.lower().endswith((".parquet", ".pq")) and self._kind(self._path) != "Directory"
            self._folder = f"{self._path}.parts" if self._one else self._path
            self._check(inputs, replace=overwrite or resume)
            if overwrite:
                self._clear()
            self._made = self._kind(self._folder) == "NotFound"
            self._fs.create_dir(self._folder, recursive=not self._is_local)
        except OptionError:
            raise
        except Exception as error:  # pyarrow's are of many types
            raise OptionError(f"{self._shown}: cannot be written: {reason(error)}") from error
        self._waiting = list[Any]()
        self._start = self._written = time.monotonic()

    def add(self, rows: pa.Table) -> None:
        """Rows; a part is written when they have waited for long enough."""
        self._waiting.append(rows)
        now = time.monotonic()
        if now - self._written > min(max(SHORTEST, SHARE * (now - self._start)), LONGEST):
            self.flush()

    def flush(self) -> None:
        """Write a part of the rows that wait."""
        if self._waiting:
            stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
            table = arrow().concat_tables(self._waiting)
            self._write(f"{self._folder}/part-{stamp}-{uuid.uuid4().hex[:8]}.parquet", table)
        self._waiting, self._written = [], time.monotonic()

    def keep(
        self, batch: Batch, card: Card, *, strict: bool = False, trim: bool = False
    ) -> tuple[NDArray[np.int64], pa.Table]:
        """Go on with what is there.

        Rows of files that changed, have no score, or are gone are taken out, and those of other options
        (`strict`, `trim`).

        Returns:
            The numbers of the pictures whose rows stay, and these rows.

        Raises:
            OptionError: rows of another model, or a table of another version.
        """
        pa = arrow()
        tables = [(path, self._read(path)) for path in self._files()]
        for path, table in tables:
            models = table.select(["model", "model_sha256"]).group_by(["model", "model_sha256"]).aggregate([])
            check_model([Row("", **row) for row in models.to_pylist()], card, printable(path))
        kept, numbers = [], []
        for path, table in tables:
            found = _numbers(table, batch)
            fresh = _is_fresh(table, found, batch)
            cautions = table["caution"].to_pylist()
            fresh &= np.array([is_current(caution, strict=strict, trim=trim) for caution in cautions], bool)
            stays = fresh | _is_other(table, found, batch)
            if not stays.all() and path != self._path:
                if stays.any():
                    self._write(path, table.filter(pa.array(stays)))
                else:
                    self._fs.delete_file(path)
            kept.append(table.filter(pa.array(fresh)))
            numbers.append(found[fresh])
        if not tables:
            return np.zeros(0, np.int64), row_schema().empty_table()
        every = np.concatenate(numbers)
        unique, first = np.unique(every, return_index=True)
        return unique, pa.concat_tables(kept).take(pa.array(first))

    def leave(self) -> bool:
        """Write what waits, before the end; whether there is something to go on with, else nothing is left behind."""
        self.flush()
        begun = bool(self._files())
        if not begun and self._made:
            self._fs.delete_dir(self._folder)
        return begun

    def finish(self, batch: Batch) -> None:
        """Write what waits, and make one table of the parts where one file is wanted."""
        self.flush()
        if not self._one:
            return
        pa = arrow()
        tables = [row_schema().empty_table()]
        for path in self._files():
            table = self._read(path)
            if path == self._path:
                found = _numbers(table, batch)
                table = table.filter(pa.array(_is_fresh(table, found, batch) | _is_other(table, found, batch)))
            tables.append(table)
        whole = pa.concat_tables(tables)
        numbers = _numbers(whole, batch)
        order = np.argsort(numbers, kind="stable")
        ranked = numbers[order]
        once = np.ones(len(order), bool)
        once[1:] = (ranked[1:] != ranked[:-1]) | (ranked[1:] < 0)
        self._write(self._path, whole.take(pa.array(order[once])))
        self._fs.delete_dir(self._folder)

    @property
    def _is_local(self) -> bool:
        return bool(self._fs.type_name == "local")

    def _kind(self, path: str) -> str:
        return str(self._fs.get_file_info(path).type.name)

    def _files(self) -> list[str]:
        """The file, if it is there, and the parts."""
        whole = [self._path] if self._one and self._kind(self._path) == "File" else []
        return [*whole, *sorted(path for path in self._inside() if os.path.basename(path).startswith("part-"))]

    def _inside(self) -> list[str]:
        from pyarrow.fs import FileSelector

        if self._kind(self._folder) != "Directory":
            return []
        found = self._fs.get_file_info(FileSelector(self._folder))
        return [info.path for info in found if not os.path.basename(info.path).startswith(".")]

    def _check(self, inputs: Sequence[str], *, replace: bool) -> None:
        suffix = os.path.splitext(self._path)[1].lower()
        if suffix in UNWRITTEN:
            raise OptionError(f"{self._shown}: {suffix} is not written; give FILE.parquet, or a folder for parts")
        if not self._one and self._kind(self._path) == "File":
            raise OptionError(f"{self._shown}: is a file; give FILE.parquet, or a folder for parts")
        own = [self._path, self._folder]
        for source in inputs:
            place = source.partition("://")[2] if ADDRESS.match(source) else os.path.abspath(source)
            if place in own or os.path.dirname(place) in own:
                raise OptionError(f"{self._shown}: is one of the inputs, not overwritten")
        if self._one and self._is_local:
            ours = lambda _: self._is_ours(self._path)  # noqa: E731
            check_output(self._path, inputs=inputs, kind="inputs", ours=ours, overwrite=replace, way=WAY)
        elif self._one and self._kind(self._path) == "File" and not self._is_ours(self._path):
            raise OptionError(f"{self._shown}: is there and was not written by noref; choose another file")
        inside = self._inside()
        for path in inside:
            if not (os.path.basename(path).startswith("part-") and self._is_ours(path)):
                what = f"{printable(self._folder)}: holds {os.path.basename(path)}, which noref did not write"
                raise OptionError(f"{what}; choose another folder")
        if not replace and (inside or (self._one and self._kind(self._path) == "File")):
            begun = "is there" if not self._one or not inside else "an earlier run did not finish"
            raise OptionError(f"{self._shown}: {begun}; {WAY}")

    def _is_ours(self, path: str) -> bool:
        import pyarrow.parquet as pq

        try:
            with self._fs.open_input_file(path) as file:
                return MARK.items() <= (pq.read_schema(file).metadata or {}).items()
        except Exception:  # no Parquet file
            return False

    def _clear(self) -> None:
        for path in self._files():
            self._fs.delete_file(path)

    def _read(self, path: str) -> pa.Table:
        import pyarrow.parquet as pq

        with self._fs.open_input_file(path) as file:
            table = pq.read_table(file)
        names, schema = table.column_names, row_schema()
        if tuple(names[: len(COLUMNS)]) != COLUMNS or names != schema.names[: len(names)]:
            raise foreign(printable(path))
        for name in schema.names[len(names) :]:
            table = table.append_column(name, arrow().nulls(len(table), schema.field(name).type))
        return table.replace_schema_metadata(None).cast(schema)

    def _write(self, path: str, table: pa.Table) -> None:
        import pyarrow.parquet as pq

        table = table.replace_schema_metadata(MARK)
        if self._is_local:
            with replacing(Path(path)) as partial:
                pq.write_table(table, partial)
            return
        with self._fs.open_output_stream(path) as file:
            pq.write_table(table, file)


def _local() -> Any:
    from pyarrow.fs import LocalFileSystem

    return LocalFileSystem()


def _numbers(table: pa.Table, batch: Batch) -> NDArray[np.int64]:
    """The number of each row's picture in the batch; -1: it is none of them."""
    arrow()
    import pyarrow.compute as pc

    found = pc.index_in(table["path"], value_set=batch.pictures["path"].combine_chunks())
    return np.asarray(pc.fill_null(found, -1).to_numpy(), np.int64)


def _is_fresh(table: pa.Table, numbers: NDArray[np.int64], batch: Batch) -> NDArray[np.bool_]:
    """Which rows have a score, of a file that has not changed since."""
    import pyarrow.compute as pc

    known = batch.pictures.take(arrow().array(np.maximum(numbers, 0))) if batch.pictures.num_rows else batch.pictures
    if not known.num_rows:
        return np.zeros(len(numbers), bool)
    same = pc.and_(pc.equal(table["time"], known["time"]), pc.is_valid(table["score"]))
    size = pc.or_kleene(pc.equal(table["size"], known["size"]), pc.is_null(known["size"]))  # in a table: by its time
    return np.asarray(pc.fill_null(pc.and_(same, size), False).to_numpy(), bool) & (numbers >= 0)


def _is_other(table: pa.Table, numbers: NDArray[np.int64], batch: Batch) -> NDArray[np.bool_]:
    """Which rows are of files that this run was not asked for; not those that it would have found were they there."""
    asked = {printable(given).removesuffix("/") for given in batch.given}
    starts = tuple(f"{given}{end}" for given in asked for end in "/#")
    stays = numbers < 0
    for place in np.flatnonzero(stays):
        row = {name: table[name][int(place)].as_py() for name in ("path", "size")}
        if row["path"] in asked or row["path"].startswith(starts):
            stays[place] = row["size"] is not None and _is_there(row["path"], batch)
    return stays


def _is_there(path: str, batch: Batch) -> bool:
    if not ADDRESS.match(path):
        return os.path.lexists(path)
    start, inside = split_address(path)
    return bool(batch.file_systems[start].get_file_info(inside).type.value) if start in batch.file_systems else True


def inputs_of(batch: Batch, folders: Iterable[str] = ()) -> list[str]:
    """Every file that a run reads."""
    files = [os.fsdecode(file) for file in batch.pictures["file"].to_pylist() if file is not None]
    return [*files, *batch.tables, *folders]
