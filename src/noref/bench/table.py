"""The tidy result table of a bench: a row for each image of each test part."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from noref.bench.grid import Cell
from noref.data.records import Record, names
from noref.errors import DataError
from noref.writing import replacing, write_text

COLUMNS = (
    "cell", "recipe", "variant", "training_set", "test_set", "fraction", "split", "seed", "protocol", "selection",
    "path", "reference", "distortion", "level", "score", "predicted", "human", "quality",
)  # fmt: skip


def tidy(
    predictions: Path, judged: Sequence[int], records: Sequence[Record], head: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """A run's predictions as rows of the table.

    Args:
        predictions: as `Run.write_predictions` wrote them.
        judged: indices of the images that were judged, in the order of the file.
        records: the whole data set.
        head: the columns that are the same in all rows.

    Raises:
        DataError: the file is not of these images; names file and line.
    """
    rows, keys = read_rows(predictions), names(records)
    if len(rows) != len(judged):
        raise DataError(f"{predictions}: {len(rows)} rows for {len(judged)} images")
    found = []
    for line, (row, index) in enumerate(zip(rows, judged, strict=True), start=2):
        record = records[index]
        if row["path"] != keys[index] or float(row["score"]) != record.raw_score:
            raise DataError(f"{predictions}, line {line}: {row['path']} with score {row['score']}, not {keys[index]}")
        found.append(
            {
                **head,
                "path": keys[index],
                "reference": record.reference or "",
                "distortion": record.distortion or "",
                "level": "" if record.level is None else record.level,
                "score": record.raw_score,
                "predicted": row["predicted"],
                "human": record.quality,
                "quality": row["quality"],
            }
        )
    return found


def head(cell: Cell, test_set: str, recipe: str, seed: int, protocol: str, selection: str) -> dict[str, Any]:
    """The columns that all rows of a cell's test set share."""
    return {
        "cell": f"{cell.folder.removeprefix('runs/')} on {test_set}",
        "recipe": recipe,
        "variant": cell.variant,
        "training_set": cell.training_set,
        "test_set": test_set,
        "fraction": cell.fraction,
        "split": cell.split,
        "seed": seed,
        "protocol": protocol,
        "selection": selection,
    }


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file that a run wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows of the table in one step."""
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def collect(out: Path) -> int:
    """Put the rows of all cells that are done into `predictions.csv`; how many cells those are."""
    done = sorted(out.glob("runs/*/*/cell.json"))
    write_rows(out / "predictions.csv", (row for file in done for row in read_rows(file.with_name("cell.csv"))))
    return len(done)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON in one step."""
    write_text(path, json.dumps(dict(content), indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """JSON that `write_json` wrote.

    Raises:
        DataError: missing or broken.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: not what a bench writes")
    return content
