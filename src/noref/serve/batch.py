"""The scorer as a stateful actor of Ray Data: `dataset.map_batches(ScoreBatch, concurrency=2)`. Needs pyarrow."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import tempfile
import types
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_args, get_origin, get_type_hints

import numpy as np

from noref.card import card_path, read_card, read_model
from noref.errors import ImageError, MissingExtraError, NorefError, printable
from noref.images import MAX_MEGAPIXELS, pillow_allows
from noref.scoring.find_images import Found
from noref.scoring.network import locate
from noref.scoring.row_writers import Row
from noref.scoring.score_files import score_rows
from noref.scoring.scorer import Scorer

if TYPE_CHECKING:
    import pyarrow as pa

PICTURES = ("bytes", "image")  # columns with the picture itself, the first that is there; else it is read from a path
BUCKETS = ("s3://", "gs://", "gcs://")
AHEAD = 16  # remote files that are read while others are scored
ARROW = {float: "float64", int: "int64", bool: "bool", str: "string"}


@dataclass(frozen=True)
class ModelFiles:
    """A model's two files, to be sent to machines that do not have them."""

    name: str
    model: bytes
    card: bytes

    @classmethod
    def of(cls, model: str | Path) -> Self:
        """The files of a model, checked.

        Raises:
            OptionError: there is no such model.
            ModelError: the model's file or card is broken.
        """
        path = locate(model)
        content = read_model(path)
        read_card(path, content)
        return cls(path.name, content, card_path(path).read_bytes())

    def load(self, **options: Any) -> Scorer:
        """A scorer of this model; `options` as for `Scorer`."""
        with tempfile.TemporaryDirectory(prefix="noref-") as folder:
            path = Path(folder) / self.name
            path.write_bytes(self.model)
            card_path(path).write_bytes(self.card)
            return Scorer(path, **options)


class ScoreBatch:
    """Scores each picture of a batch: a class for `ray.data.Dataset.map_batches`, which loads the model once an actor.

    The picture is in the column `bytes` (the bytes of a file, as `ray.data.read_binary_files` gives them) or `image`
    (an array as `noref.Scorer` takes it); without them, `file` or else `path` says where it is: on this machine, or
    in a file system of pyarrow such as `s3://bucket/key`.

    Args:
        model: `default`, an .onnx file with its card beside it, there on every machine, or the `ModelFiles` of one.
        threads: of one actor; the others of a machine are other actors' work.
        file_systems: of pyarrow, by the beginning of what they read such as `s3://bucket/`; others are made from the
            address.
        options: as for `noref.Scorer`.

    Raises:
        OptionError: as `noref.Scorer`.
        ModelError: as `noref.Scorer`.

    Example:
        >>> grey = np.full((1, 240, 320, 3), 128, np.uint8)
        >>> found = ScoreBatch()({"path": np.array(["grey"]), "image": grey, "label": np.array([7])})
        >>> found.column_names[:4], 0 <= found["score"][0].as_py() <= 100
        (['label', 'path', 'score', 'error'], True)
    """

    def __init__(
        self,
        model: str | Path | ModelFiles = "default",
        *,
        threads: int = 1,
        file_systems: Mapping[str, Any] = types.MappingProxyType({}),
        **options: Any,
    ) -> None:
        load = model.load if isinstance(model, ModelFiles) else functools.partial(Scorer, model)
        self._scorer = load(threads=threads, **options)
        self._max_megapixels = options.get("max_megapixels", MAX_MEGAPIXELS)
        self._file_systems = dict(file_systems)

    def __call__(self, batch: Mapping[str, Any]) -> pa.Table:
        """Score a batch, in any of Ray's batch formats.

        Returns:
            The other columns of the batch, then those of `noref score`: `path, score, error, model, ...`. The score is
            in [0, 100], higher is better; null, with the reason in `error`, for a picture that cannot be scored.
        """
        pa = arrow()
        columns = _columns(batch)
        found = list(self._found(columns))
        with pillow_allows(self._max_megapixels):
            rows = [row for part in self._parts(found) for row in score_rows(self._scorer, part)]
        result = row_table(rows)
        kept = {name: columns[name] for name in columns if name not in (*PICTURES, "file", *result.column_names)}
        if "path" in columns or "file" not in columns:
            given = columns.get("path", [None] * len(found))
            names = [None if path is None else printable(path) for path in given]
            result = result.set_column(0, result.schema.field("path"), pa.array(names, pa.string()))
        others = pa.table({name: _array(values) for name, values in kept.items()})
        return pa.Table.from_arrays([*others.columns, *result.columns], names=[*kept, *result.column_names])

    def _found(self, columns: Mapping[str, Any]) -> Iterator[Found]:
        """What is to be scored."""
        key = next((name for name in (*PICTURES, "file", "path") if name in columns), None)
        if key is None:
            raise NorefError(f"a batch needs a column bytes, image or path; it has {', '.join(columns)}")
        for value in columns[key]:
            if value is None or isinstance(value, float):  # pandas' null
                yield Found("", ImageError("there is no picture: the value is null"))
            elif key in PICTURES:
                yield Found("", content=value)
            else:
                yield Found(os.fsdecode(value))

    def _parts(self, found: list[Found]) -> Iterator[list[Found]]:
        """The same, in parts of which remote files have been read."""
        if not any("://" in item.path for item in found):
            yield found
            return
        with ThreadPoolExecutor(AHEAD) as pool:
            read = _ahead(pool, self._read, found)
            while part := list(islice(read, AHEAD)):
                yield part

    def _read(self, item: Found) -> Found:
        if "://" not in item.path or item.error is not None:
            return item
        try:
            file_system, path = self._file_system(item.path)
            with file_system.open_input_file(path) as file:
                return dataclasses.replace(item, content=file.read())
        except Exception as error:  # pyarrow's are of many types
            return dataclasses.replace(item, error=ImageError(reason(error)))

    def _file_system(self, address: str) -> tuple[Any, str]:
        start, path = split_address(address)
        if start not in self._file_systems:
            self._file_systems[start], path = open_address(address)
        return self._file_systems[start], path


def split_address(address: str) -> tuple[str, str]:
    """The part of an address that says which file system it is, and the path in there.

    Example:
        >>> split_address("s3://bucket/a b/c.jpg"), split_address("hdfs:///photos/c.jpg")
        (('s3://bucket/', 'bucket/a b/c.jpg'), ('hdfs://', '/photos/c.jpg'))
    """
    scheme, _, path = address.partition("://")
    return (f"{scheme}://" if path.startswith("/") else f"{scheme}://{path.partition('/')[0]}/"), path


def open_address(address: str) -> tuple[Any, str]:
    """The file system of pyarrow that an address names, and the path in it.

    Raises:
        Exception: of many types, for an address that is none of pyarrow's, a file system that is not there.
    """
    from pyarrow.fs import FileSystem, LocalFileSystem

    start, path = split_address(address)
    if start == "file://":  # as it stands: no character of a name has a meaning
        return LocalFileSystem(), path
    if start.startswith(BUCKETS) and "?" not in address and "@" not in start:  # so in the keys of a bucket
        return FileSystem.from_uri(start.removesuffix("/"))[0], path
    file_system, path = FileSystem.from_uri(address)
    return file_system, str(path)


def arrow() -> Any:
    """The package pyarrow.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import pyarrow
    except ImportError as error:
        raise MissingExtraError("ray", "a table in Arrow or Parquet") from error
    return pyarrow


def row_table(rows: Iterable[Row]) -> pa.Table:
    """Rows of `noref score` as an Arrow table, whose types are those of the fields of `Row`.

    Example:
        >>> row_table([Row("a.jpg", 61.25)]).to_pylist()[0]["score"]
        61.25
    """
    rows = list(rows)
    schema = row_schema()
    return arrow().Table.from_pylist([dataclasses.asdict(row) for row in rows], schema=schema)


def row_schema() -> pa.Schema:
    """The columns of `row_table`: all fields of a row but the last, which is the path for this system alone."""
    return arrow().schema([(name, _arrow_type(hint)) for name, hint in get_type_hints(Row).items() if name != "file"])


def _arrow_type(hint: Any) -> Any:
    """The Arrow type of a field: `X | None`, `tuple[X, ...]` and dataclasses of what Arrow has."""
    pa = arrow()
    kinds = [kind for kind in get_args(hint) if kind not in (type(None), ...)]
    if get_origin(hint) is tuple:
        return pa.list_(_arrow_type(kinds[0]))
    if dataclasses.is_dataclass(hint):
        return pa.struct([(name, _arrow_type(kind)) for name, kind in get_type_hints(hint).items()])
    return _arrow_type(kinds[0]) if kinds else pa.type_for_alias(ARROW[hint])


def shown_address(address: str) -> str:
    """An address without password and options, for a message.

    Example:
        >>> shown_address("s3://key:secret@bucket/photos?region=eu-west-1")
        's3://bucket/photos'
    """
    return re.sub("//[^/]*@", "//", address.partition("?")[0])


def reason(error: Exception) -> str:
    """The first line of an error of pyarrow, in our words where it is a common one."""
    if isinstance(error, FileNotFoundError):
        return "No such file or directory"
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _columns(batch: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a batch of any format as sequences; those of an Arrow table as Python values."""
    names = getattr(batch, "column_names", None)
    if names is None:
        return {str(name): batch[name] for name in batch}
    return {name: batch[name].to_pylist() for name in names}


def _array(values: Any) -> Any:
    pa = arrow()
    if isinstance(values, np.ndarray) and values.ndim > 1:
        return pa.array(values.tolist())
    return pa.array(values)


def _ahead(pool: ThreadPoolExecutor, call: Any, items: Iterable[Found]) -> Iterator[Found]:
    """`pool.map`, at most `AHEAD` calls ahead."""
    waiting: deque[Future[Found]] = deque()
    for item in items:
        waiting.append(pool.submit(call, item))
        if len(waiting) > AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
