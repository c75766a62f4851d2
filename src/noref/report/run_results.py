"""The predictions of a training run as rows of the table of a report, and what is known of its data set."""

from __future__ import annotations

import csv
import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noref.data.check import shortfall
from noref.data.readers import describe
from noref.data.records import Record, Scale, names
from noref.data.splits import checksum, load_split
from noref.data.tables import number, read_csv
from noref.errors import DataError, NorefError
from noref.report.table import Row, read_json

if TYPE_CHECKING:
    from noref.train.run_folder import DataSet

RUN_COLUMNS = ("path", "predicted", "score", "quality")


def is_run_table(table: Path) -> bool:
    """Whether a table is the `predictions.csv` of a training run."""
    with table.open(newline="", encoding="utf-8", errors="replace") as file:
        header = next(csv.reader(file), [])
    return "cell" not in header and set(RUN_COLUMNS) <= set(header)


def prediction_rows(
    predictions: Path, tested: Sequence[int], records: Sequence[Record], shared: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """A run's predictions as rows of a table of predictions; `shared` are the columns that are the same in all rows.

    `predictions` is the file of `noref.train.run_folder.Run.write_predictions`; `tested` are the indices of its images
    among the records, in its order.

    Raises:
        DataError: the file is not of these images; names file and line.
    """
    rows, keys = list(read_csv(predictions, RUN_COLUMNS)), names(records)
    if len(rows) != len(tested):
        raise DataError(f"{predictions}: {len(rows)} rows for {len(tested)} images")
    found = []
    for (line, row), index in zip(rows, tested, strict=True):
        record = records[index]
        if row["path"] != keys[index].strip() or float(row["score"]) != record.raw_score:
            raise DataError(f"{predictions}, line {line}: {row['path']} with score {row['score']}, not {keys[index]}")
        level = "" if record.level is None else record.level
        labels = {"reference": record.reference or "", "distortion": record.distortion or "", "level": level}
        human = {"path": keys[index], "score": record.raw_score, "human": record.quality}
        found.append({**shared, **labels, **human, "predicted": row["predicted"], "quality": row["quality"]})
    return found


def describe_data(data: DataSet) -> dict[str, Any]:
    """What `bench.json` says of a data set: folder, images, scale, and what is missing of the release."""
    first, name = os.path.abspath(data.records[0].path), names(data.records)[0]
    return {
        "path": data.path,
        "root": first[: -len(name) - 1],
        "images": len(data.records),
        "scale": dataclasses.asdict(data.records[0].scale),
        "note": describe(data.name),
        "shortfall": shortfall(data.name, Path(data.path), **data.table),
        "cautions": list(data.cautions),
        "spanned": _spanned(data.records),
        "checksum": checksum(data.records),
    }


def _spanned(records: Sequence[Record]) -> bool:
    """Whether the scores reach both ends of their scale, as where it is taken from them: predictions then leave it."""
    raw = [record.raw_score for record in records]
    return (min(raw), max(raw)) == (records[0].scale.low, records[0].scale.high)


def describe_split(path: Path) -> dict[str, Any]:
    """What `bench.json` says of the file of a split: how it was drawn, its checksum, and the size of each part."""
    content = read_json(path)
    kept = {key: content[key] for key in ("description", "seed", "checksum")}
    return {**kept, **{part: len(content[part]) for part in ("train", "validation", "test")}}


def read_run(table: Path) -> tuple[list[tuple[int, Row]], dict[str, Any]]:
    """A training run as a bench of one cell: its rows with their lines, and what `bench.json` would say.

    The table is `predictions.csv` in the run's folder, beside `config.yaml`, `split.json` and `model.card.json`.
    References, distortions and the folder of the images are known where the data set is still at its place.

    Raises:
        DataError: one of these files is missing or broken; names the file.
        MissingExtraError: the `train` extra is not installed.
    """
    if not table.with_name("config.yaml").is_file():
        raise DataError(f"{table}: predictions of one model; the config.yaml of its run is needed and not beside it")
    from noref.train import run_folder

    head, options = run_folder.read_run(table.parent)
    values = {key: value for key, (value, _) in options.items()}
    name, _, place = str(head["data"]).partition("=")
    label = Path(place).stem if name == "csv" else name
    shared = {"cell": f"{table.parent.resolve().name} on {label}", "recipe": head["recipe"], "variant": ""}
    shared |= {"training_set": label, "test_set": label, "fraction": 1, "split": 0, "seed": values.get("seed", 0)}
    shared["protocol"] = read_json(table.with_name("results.json")).get("protocol", "grid")
    shared["selection"] = values.get("select", "last")
    file = table.with_name("split.json")
    try:
        data = run_folder.read_data(str(head["data"]), table=head["table"])
        rows = prediction_rows(table, load_split(file, data.records).test, data.records, shared)
        known = describe_data(data)
    except NorefError:  # the data set is not on this machine, or has changed
        scale = read_json(table.with_name("model.card.json"))["scale"]
        rows = _rows_without_records(table, Scale(**scale), shared)
        known = {"scale": scale}
    split = {"split": 0, "training_set": label, "file": file.name, **describe_split(file)}
    metadata = {"recipe": head["recipe"], "options": values, "data": {label: known}, "splits": [split]}
    return [(line, {key: str(value) for key, value in row.items()}) for line, row in enumerate(rows, start=2)], metadata


def _rows_without_records(table: Path, scale: Scale, shared: Mapping[str, Any]) -> list[dict[str, Any]]:
    unknown = {"reference": "", "distortion": "", "level": ""}
    return [
        {**shared, **unknown, **row, "human": scale.quality(number(row["score"], table, line))}
        for line, row in read_csv(table, RUN_COLUMNS)
    ]
