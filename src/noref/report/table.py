"""The files that reports are made of: a table of predictions with a row for each image, and JSON beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from noref.data.tables import read_csv, read_text
from noref.errors import DataError, MissingExtraError

SHARED = ("recipe", "variant", "training_set", "test_set", "fraction", "split", "seed", "protocol", "selection")
COLUMNS = ("cell", *SHARED, "path", "reference", "distortion", "level", "score", "predicted", "human", "quality")
MAY_BE_EMPTY = ("variant", "reference", "distortion", "level")
Row = dict[str, str]


def read_table(path: Path) -> Iterator[tuple[int, Row]]:
    """The rows of a table of predictions, each with its line (CSV) or its number, counted from 1 (Parquet).

    Raises:
        DataError: not such a table, or an empty cell in a column that must be full; names file and line.
        MissingExtraError: a Parquet file, and pandas is not installed.
    """
    rows = _read_parquet(path) if path.suffix.lower() == ".parquet" else read_csv(path, COLUMNS)
    for line, row in rows:
        for column in COLUMNS:
            if not row[column] and column not in MAY_BE_EMPTY:
                raise DataError(f"{path}, line {line}: {column} is empty")
        yield line, row


def _read_parquet(path: Path) -> Iterator[tuple[int, Row]]:
    try:
        from pandas import isna, read_parquet
    except ImportError as error:
        raise MissingExtraError("train", f"reading {path.name}") from error
    try:
        frame = read_parquet(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except Exception as error:  # pyarrow raises whatever its parser stumbles over
        raise DataError(f"{path}: not a Parquet file: {error}") from error
    missing = [column for column in COLUMNS if column not in frame.columns]
    if missing:
        raise DataError(f"{path}: column {' and '.join(missing)} missing; the file has {', '.join(frame.columns)}")
    for line, values in enumerate(frame[list(COLUMNS)].itertuples(index=False, name=None), start=1):
        yield line, {key: "" if isna(value) else str(value) for key, value in zip(COLUMNS, values, strict=True)}


def read_json(path: Path) -> dict[str, Any]:
    """A file that holds one JSON object, as a bench and a training run write them.

    Raises:
        DataError: missing or broken; names file and line.
    """
    try:
        content = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: {error.msg}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: not a JSON object")
    return content


def nested(content: Any, *keys: str) -> Mapping[str, Any]:
    """An inner object of JSON; empty where it is absent or something else.

    Example:
        >>> nested({"data": {"livec": {"images": 931}}}, "data", "livec"), nested({"data": None}, "data", "livec")
        ({'images': 931}, {})
    """
    for key in keys:
        content = content.get(key) if isinstance(content, Mapping) else None
    return content if isinstance(content, Mapping) else {}
