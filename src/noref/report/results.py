"""A table of predictions, and what is written beside it: read, checked, cut into cells.

A cell is one trained model tested on one data set. A table with missing, broken or contradictory rows is an error that
names file and line.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from noref.data.records import Scale
from noref.data.tables import existing, number, whole_number
from noref.errors import DataError, OptionError
from noref.report.run_results import is_run_table, read_run
from noref.report.table import SHARED, Row, nested, read_json, read_table

SLACK = 1e-4  # of the scale: a table may hold rounded numbers
Array = NDArray[np.float64]
Rows = Sequence[tuple[int, Row]]


class Model(NamedTuple):
    """What is averaged over splits: all but split and seed."""

    recipe: str  # name of the method
    variant: str  # name of the set of options; empty where there is one only
    training_set: str  # name of a data set
    test_set: str  # likewise
    fraction: float  # share of the training part that was used, in (0, 1]
    protocol: str  # crops at test: `grid` or `paper`
    selection: str  # how the epoch was chosen: `last`, `validation`, or `test`, which is too good


@dataclass(frozen=True)
class Cell:
    """One trained model tested on a data set of M images."""

    name: str  # as the table calls it
    model: Model  # what it is averaged with
    split: int  # number of the repeat or fold
    seed: int  # of the training
    paths: tuple[str, ...]  # (M,) names of the images below their data set's folder
    references: tuple[str, ...]  # (M,) empty where there is none
    distortions: tuple[str, ...]  # (M,) likewise
    levels: tuple[int | None, ...]  # (M,) None where it is not known; 1 is the faintest
    score: Array  # (M,) human scores in raw units, range and direction of the test set
    predicted: Array  # (M,) predictions in the same units
    human: Array  # (M,) human scores as quality in [0, 1], higher is better
    quality: Array  # (M,) predictions as quality, about [0, 1], higher is better
    trouble: str = ""  # why no correlation is defined; empty where one is

    @property
    def units(self) -> tuple[str, ...]:
        """(M,) what is drawn in a bootstrap: the reference where every image has one, else the image."""
        return self.references if all(self.references) else self.paths


@dataclass(frozen=True)
class Results:
    """A table and what is known beside it."""

    table: Path  # the file
    cells: tuple[Cell, ...]  # in the table's order
    scales: Mapping[str, Scale]  # test set -> range and direction of its raw scores
    metadata: Mapping[str, Any]  # content of `bench.json`, or what a run says instead; may be empty

    def data(self, name: str) -> Mapping[str, Any]:
        """What the metadata say of a data set; empty where they say nothing."""
        return nested(self.metadata, "data", name)


def read_results(path: Path) -> Results:
    """Read the folder of a bench or of a training run, or a table of predictions alone.

    The folder holds `predictions.csv` or `predictions.parquet`, and `bench.json` if there is one; they may stand beside
    the table too.

    Raises:
        OptionError: no such file, or a folder without a table.
        DataError: a table or a `bench.json` with missing, broken or contradictory values; names file, line and reason.
        MissingExtraError: a Parquet file or a training run without the `train` extra.
    """
    table = existing(path)
    if path.is_dir():
        found = [path / name for name in ("predictions.csv", "predictions.parquet") if (path / name).is_file()]
        if not found:
            reason = "no predictions.csv in it; a run has one at its end, a bench after its first run"
            raise OptionError(f"{path}: {reason}")
        table = found[0]
    if table.suffix.lower() == ".csv" and is_run_table(table):
        rows, metadata = read_run(table)
    else:
        file = table.with_name("bench.json")
        metadata, rows = read_json(file) if file.is_file() else {}, list(read_table(table))
        if metadata.get("format", 1) != 1:
            raise DataError(f"{file}: format {metadata['format']!r}; upgrade noref")
    if not rows:
        raise DataError(f"{table}: no predictions in it; is no run done yet?")
    scales = _scales(table, rows, metadata)
    return Results(table, tuple(_cells(table, rows, scales)), scales, metadata)


def _scales(table: Path, rows: Rows, metadata: Mapping[str, Any]) -> dict[str, Scale]:
    """The scale of each test set: from the metadata, or from what raw score and quality of the rows say together."""
    pairs: dict[str, list[tuple[float, float]]] = {}
    for line, row in rows:
        pair = number(row["human"], table, line, "human"), number(row["score"], table, line)
        pairs.setdefault(row["test_set"], []).append(pair)
    scales = {}
    for name, own in pairs.items():
        given = nested(metadata, "data", name, "scale")
        try:
            scales[name] = Scale(**given) if given else _scale_between(*min(own), *max(own))
        except (TypeError, ValueError) as error:
            where = table.with_name("bench.json") if given else table
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


def _cells(table: Path, rows: Rows, scales: Mapping[str, Scale]) -> Iterator[Cell]:
    members: dict[str, list[tuple[int, Row]]] = {}
    for line, row in rows:
        members.setdefault(row["cell"], []).append((line, row))
    known: dict[tuple[Any, ...], str] = {}
    for name, own in members.items():
        line, first = own[0]
        _check_rows(table, name, own)
        cell = _cell(table, name, own, scales[first["test_set"]])
        if not 0 < cell.model.fraction <= 1:
            raise DataError(f"{table}, line {line}: fraction {cell.model.fraction:g} is not in (0, 1]")
        twin = known.setdefault((cell.model, cell.split, cell.seed), name)
        if twin != name:
            raise DataError(f"{table}, line {line}: cell {name!r} is the same model and test set as cell {twin!r}")
        yield cell


def _check_rows(table: Path, name: str, rows: Rows) -> None:
    """The rows of a cell agree in the columns of the cell, and no image is there twice."""
    seen: dict[str, int] = {}
    first = rows[0][1]
    for line, row in rows:
        for column in SHARED:
            if row[column] != first[column]:
                reason = f"{column} {row[column]!r}; cell {name!r} began with {first[column]!r}"
                raise DataError(f"{table}, line {line}: {reason}")
        if (other := seen.setdefault(row["path"], line)) != line:
            raise DataError(f"{table}, line {line}: {row['path']} is in cell {name!r} already, in line {other}")


def _cell(table: Path, name: str, rows: Rows, scale: Scale) -> Cell:
    line, first = rows[0]
    split, seed = (whole_number(first[key], table, line, key) for key in ("split", "seed"))
    shared: dict[str, Any] = {**first, "fraction": number(first["fraction"], table, line, "fraction")}
    values = np.array([_scores(table, line, row, scale) for line, row in rows])
    score, predicted, human, quality = (np.ascontiguousarray(column) for column in values.T)
    levels = tuple(whole_number(row["level"], table, line, "level") if row["level"] else None for line, row in rows)
    texts = ([row[column] for _, row in rows] for column in ("path", "reference", "distortion"))
    paths, references, kinds = map(tuple, texts)
    model, reason = Model(**{key: shared[key] for key in Model._fields}), _trouble(score, quality)
    return Cell(name, model, split, seed, paths, references, kinds, levels, score, predicted, human, quality, reason)


def _scores(table: Path, line: int, row: Row, scale: Scale) -> tuple[float, float, float, float]:
    """Score, prediction and both as quality; the two pairs must say the same."""
    score, predicted = (number(row[key], table, line, key) for key in ("score", "predicted"))
    human, quality = (number(row[key], table, line, key) for key in ("human", "quality"))
    for raw, share, column in ((score, human, "score"), (predicted, quality, "predicted")):
        if abs(scale.quality(raw) - share) > SLACK * max(1.0, abs(share)):
            right = f"{column} {raw:g} is quality {scale.quality(raw):.4f} on the scale {scale}"
            raise DataError(f"{table}, line {line}: {right}, the row says {share:g}")
    return score, predicted, human, quality


def _trouble(score: Array, quality: Array) -> str:
    """Why a test part has no correlation; empty where it has one."""
    if len(score) < 3:
        return f"{len(score)} images: a correlation needs 3"
    if quality.min() == quality.max():
        return f"constant predictions: every image has quality {quality[0]:g}"
    if score.min() == score.max():
        return f"every human score is {score[0]:g}"
    return ""
