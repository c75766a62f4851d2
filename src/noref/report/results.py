"""The tidy table of predictions, and the words that a bench keeps beside it: read, checked, cut into cells.

A cell is one trained model judged on one test set. A table that cannot be trusted is an error with file and line.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from noref.data.records import Scale
from noref.data.tables import number, read_csv, whole_number
from noref.errors import DataError, MissingExtraError, OptionError

HEAD = ("recipe", "variant", "training_set", "test_set", "fraction", "split", "seed", "protocol", "selection")
COLUMNS = ("cell", *HEAD, "path", "reference", "distortion", "level", "score", "predicted", "human", "quality")
MAY_BE_EMPTY = ("variant", "reference", "distortion", "level")
SLACK = 1e-4  # of the scale: a table may hold rounded numbers
Array = NDArray[np.float64]
Row = dict[str, str]


class Model(NamedTuple):
    """What is averaged over splits: all but split and seed.

    Attributes:
        recipe: name of the method.
        variant: name of the set of options; empty where there is one only.
        training_set: name of a data set.
        test_set: likewise.
        fraction: share of the training part that was used, in (0, 1].
        protocol: crops at test: `grid` or `paper`.
        selection: how the epoch was chosen: `last`, `validation`, or `test`, which is too good.
    """

    recipe: str
    variant: str
    training_set: str
    test_set: str
    fraction: float
    protocol: str
    selection: str


@dataclass(frozen=True)
class Cell:
    """One trained model judged on one test set of M images.

    Attributes:
        name: as the table calls it.
        model: what it is averaged with.
        split: number of the repeat or fold.
        seed: of the training.
        paths: (M,) names of the images below their data set's folder.
        references: (M,) empty where there is none.
        distortions: (M,) likewise.
        levels: (M,) None where it is not known; 1 is the faintest.
        score: (M,) human scores in raw units, range and direction of the test set.
        predicted: (M,) predictions in the same units.
        human: (M,) human scores as quality in [0, 1], higher is better.
        quality: (M,) predictions as quality, about [0, 1], higher is better.
        trouble: why no correlation is defined; empty where one is.
    """

    name: str
    model: Model
    split: int
    seed: int
    paths: tuple[str, ...]
    references: tuple[str, ...]
    distortions: tuple[str, ...]
    levels: tuple[int | None, ...]
    score: Array
    predicted: Array
    human: Array
    quality: Array
    trouble: str = ""

    @property
    def units(self) -> tuple[str, ...]:
        """(M,) what is drawn in a bootstrap: the reference where every image has one, else the image."""
        return self.references if all(self.references) else self.paths


@dataclass(frozen=True)
class Results:
    """A table and what is known beside it.

    Attributes:
        table: the file.
        cells: in the table's order.
        scales: test set -> range and direction of its raw scores.
        about: content of `bench.json`; empty where there is none.
    """

    table: Path
    cells: tuple[Cell, ...]
    scales: Mapping[str, Scale]
    about: Mapping[str, Any] = field(default_factory=dict)

    def data(self, name: str) -> Mapping[str, Any]:
        """What the bench says of a data set; empty where it says nothing."""
        return part(self.about, "data", name)


def part(about: Any, *keys: str) -> Mapping[str, Any]:
    """An inner object of JSON; empty where it is absent or something else.

    Example:
        >>> part({"data": {"livec": {"images": 931}}}, "data", "livec")
        {'images': 931}
        >>> part({"data": None}, "data", "livec")
        {}
    """
    for key in keys:
        about = about.get(key) if isinstance(about, Mapping) else None
    return about if isinstance(about, Mapping) else {}


def read_results(path: Path) -> Results:
    """Read a bench's folder, or a table of predictions alone.

    Args:
        path: a folder with `predictions.csv` or `predictions.parquet`, and `bench.json` if there is one; or a table,
            beside which `bench.json` may lie.

    Raises:
        OptionError: no such file, or a folder without a table.
        DataError: a table or a `bench.json` that cannot be trusted; names file, line and reason.
        MissingExtraError: a Parquet file, and pandas is not installed.
    """
    table = path
    if path.is_dir():
        found = [path / name for name in ("predictions.csv", "predictions.parquet") if (path / name).is_file()]
        if not found:
            raise OptionError(f"{path}: no predictions.csv in it; a bench that has not finished one run has none yet")
        table = found[0]
    elif not path.exists():
        raise OptionError(f"{path}: no such file or folder")
    about = _read_about(table.with_name("bench.json"))
    rows = list(_rows(table))
    if not rows:
        raise DataError(f"{table}: no predictions in it; is no run done yet?")
    scales = _scales(table, rows, about)
    return Results(table, tuple(_cells(table, rows, scales)), scales, about)


def _read_about(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: not what a bench writes")
    if content.get("format", 1) != 1:
        raise DataError(f"{path}: format {content['format']!r}; upgrade noref")
    return content


def _rows(table: Path) -> Iterator[tuple[int, Row]]:
    rows = _parquet(table) if table.suffix.lower() == ".parquet" else read_csv(table, COLUMNS)
    for line, row in rows:
        for column in COLUMNS:
            if not row[column] and column not in MAY_BE_EMPTY:
                raise DataError(f"{table}, line {line}: {column} is empty")
        yield line, row


def _parquet(table: Path) -> Iterator[tuple[int, Row]]:
    """Rows as `read_csv` gives them; a row's number counts from 1."""
    try:
        from pandas import isna, read_parquet
    except ImportError as error:
        raise MissingExtraError("train", f"reading {table.name}") from error
    try:
        frame = read_parquet(table)
    except OSError as error:
        raise DataError(f"{table}: {error.strerror or error}") from error
    except Exception as error:  # pyarrow raises whatever its parser stumbles over
        raise DataError(f"{table}: not a Parquet file: {error}") from error
    missing = [column for column in COLUMNS if column not in frame.columns]
    if missing:
        raise DataError(f"{table}: column {' and '.join(missing)} missing; the file has {', '.join(frame.columns)}")
    for line, values in enumerate(frame[list(COLUMNS)].itertuples(index=False, name=None), start=1):
        yield line, {key: "" if isna(value) else str(value) for key, value in zip(COLUMNS, values, strict=True)}


def _scales(table: Path, rows: Sequence[tuple[int, Row]], about: Mapping[str, Any]) -> dict[str, Scale]:
    """The scale of each test set: what the bench says, or what raw score and quality of the rows say together."""
    ends: dict[str, list[tuple[float, float]]] = {}
    for line, row in rows:
        pair = number(row["human"], table, line, "human"), number(row["score"], table, line)
        known = ends.setdefault(row["test_set"], [pair, pair])
        ends[row["test_set"]] = [min(known[0], pair), max(known[1], pair)]
    scales = {}
    for name, ((low, worst), (high, best)) in ends.items():
        said = part(about, "data", name, "scale")
        try:
            scales[name] = Scale(**said) if said else _scale_between(low, worst, high, best)
        except (TypeError, ValueError) as error:
            where = table.with_name("bench.json") if said else table
            raise DataError(f"{where}: no scale for the scores of {name}: {error}") from error
    return scales


def _scale_between(low: float, worst: float, high: float, best: float) -> Scale:
    """From two images, human quality and raw score each, to the scale: a straight line between them."""
    if high == low:
        raise ValueError("all human scores are the same")
    rise = (best - worst) / (high - low)
    if rise == 0:
        raise ValueError("quality changes and the score does not")
    digits = 5 - math.floor(math.log10(abs(rise)))
    ends = round(worst - low * rise, digits) + 0.0, round(worst + (1 - low) * rise, digits) + 0.0
    return Scale(min(ends), max(ends), higher_is_better=rise > 0)


def _cells(table: Path, rows: Sequence[tuple[int, Row]], scales: Mapping[str, Scale]) -> Iterator[Cell]:
    parts: dict[str, list[tuple[int, Row]]] = {}
    for line, row in rows:
        parts.setdefault(row["cell"], []).append((line, row))
    known: dict[tuple[Any, ...], str] = {}
    for name, members in parts.items():
        line, first = members[0]
        _check_members(table, name, members)
        fraction = number(first["fraction"], table, line, "fraction")
        if not 0 < fraction <= 1:
            raise DataError(f"{table}, line {line}: fraction {fraction:g} is not in (0, 1]")
        split, seed = (whole_number(first[key], table, line, key) for key in ("split", "seed"))
        model = Model(
            first["recipe"],
            first["variant"],
            first["training_set"],
            first["test_set"],
            fraction,
            first["protocol"],
            first["selection"],
        )
        twin = known.setdefault((model, split, seed), name)
        if twin != name:
            raise DataError(f"{table}, line {line}: cell {name!r} is the same model and test set as cell {twin!r}")
        yield _cell(table, name, model, split, seed, members, scales[model.test_set])


def _check_members(table: Path, name: str, members: Iterable[tuple[int, Row]]) -> None:
    seen: dict[str, int] = {}
    first: Row = {}
    for line, row in members:
        first = first or row
        other = [column for column in HEAD if row[column] != first[column]]
        if other:
            column = other[0]
            raise DataError(
                f"{table}, line {line}: {column} {row[column]!r}; cell {name!r} began with {first[column]!r}"
            )
        if row["path"] in seen:
            raise DataError(
                f"{table}, line {line}: {row['path']} is in cell {name!r} already, in line {seen[row['path']]}"
            )
        seen[row["path"]] = line


def _cell(
    table: Path, name: str, model: Model, split: int, seed: int, members: Sequence[tuple[int, Row]], scale: Scale
) -> Cell:
    values = np.array([_numbers(table, line, row, scale) for line, row in members])
    score, predicted, human, quality = (np.ascontiguousarray(column) for column in values.T)
    levels = [whole_number(row["level"], table, line, "level") if row["level"] else None for line, row in members]
    return Cell(
        name,
        model,
        split,
        seed,
        tuple(row["path"] for _, row in members),
        tuple(row["reference"] for _, row in members),
        tuple(row["distortion"] for _, row in members),
        tuple(levels),
        score,
        predicted,
        human,
        quality,
        _trouble(score, quality),
    )


def _numbers(table: Path, line: int, row: Row, scale: Scale) -> tuple[float, float, float, float]:
    """Score, prediction and both as quality; the two pairs must say the same."""
    score, predicted = (number(row[key], table, line, key) for key in ("score", "predicted"))
    human, quality = (number(row[key], table, line, key) for key in ("human", "quality"))
    for raw, share, words in ((score, human, "score"), (predicted, quality, "predicted")):
        if abs(scale.quality(raw) - share) > SLACK * max(1.0, abs(share)):
            raise DataError(
                f"{table}, line {line}: {words} {raw:g} is quality {scale.quality(raw):.4f} on the scale {scale}, "
                f"the row says {share:g}"
            )
    return score, predicted, human, quality


def _trouble(score: Array, quality: Array) -> str:
    """Why a part has no correlation; empty where it has one."""
    if len(score) < 3:
        return f"{len(score)} images: a correlation needs 3"
    if quality.min() == quality.max():
        return f"constant predictions: every image has quality {quality[0]:g}"
    if score.min() == score.max():
        return f"every human score is {score[0]:g}"
    return ""
