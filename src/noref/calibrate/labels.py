"""Reading labels: a table `path,score` or `path,good`, and what makes it no use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noref.card import Scale
from noref.data import own_csv
from noref.data.own_table import OwnTable, read_own_table
from noref.data.tables import existing
from noref.errors import DataError, OptionError

FEWEST = 20
YES = {"yes", "y", "true", "t", "1", "good", "keep"}
NO = {"no", "n", "false", "f", "0", "bad", "reject"}
YES_NO = Scale(0.0, 1.0)


@dataclass(frozen=True)
class Labels:
    """N labels, in the order of the table."""

    paths: list[Path]  # (N,), also of files that are not there
    values: NDArray[np.float64]  # (N,) quality in [0, 1], higher is better; 1 and 0 for yes and no
    references: list[str | None]
    scale: Scale  # of the raw labels
    yes_no: bool
    cautions: list[str]  # what was taken for granted, one sentence each


def read_labels(file: Path, said: Mapping[str, Any] | None = None) -> Labels:
    """Labels of a table, in whatever form spreadsheets write one; see `noref.data.own_table`.

    Args:
        file: with the columns `path` and `score` or `good`, and `reference` where it is known.
        said: of the table, as `noref.data.own_csv.options` gives it.

    Raises:
        DataError: names file and reason: no such column, a score that is no number or outside of the range, a word that
            is neither yes nor no, fewer than 20 labels, all the same.
        OptionError: a column that is not there; a range or a direction for yes and no.
    """
    said = said or {}
    columns, images = said.get("columns"), said.get("images")
    folder = None if images is None else Path(images)
    table = read_own_table(existing(file), ["path"], ["score", "good", "reference"], columns=columns, images=folder)
    found = [name for name in ("score", "good") if name in table.rows[0][1]]
    if len(found) != 1:
        what = "both columns score and good" if found else "no column score or good"
        raise DataError(f"{file}: {what}; --columns score=NAME or --columns good=NAME says which one counts")
    if len(table.rows) < FEWEST:
        raise DataError(f"{file}: {len(table.rows)} labels, {FEWEST} or more are needed")
    labels = _answers(table, said) if found == ["good"] else _scores(file, said)
    if labels.values.min() == labels.values.max():
        raise DataError(f"{file}: every label is {table.rows[0][1][found[0]]}; there is nothing to learn")
    return labels


def _scores(file: Path, said: Mapping[str, Any]) -> Labels:
    records = own_csv.csv(file, every=True, **said)
    values = np.array([record.quality for record in records])
    references = [record.reference for record in records]
    paths = [record.path for record in records]
    return Labels(paths, values, references, records[0].scale, False, own_csv.cautions(file, **said))


def _answers(table: OwnTable, said: Mapping[str, Any]) -> Labels:
    if said.keys() & {"low", "high", "higher_is_better"}:
        raise OptionError(f"{table.file}: labels of yes and no have neither range nor direction")
    values = np.zeros(len(table.rows))
    for place, (line, row) in enumerate(table.rows):
        word = row["good"].casefold()
        if word not in YES | NO:
            raise table.error(line, f"good {row['good']!r} is neither yes nor no")
        values[place] = word in YES
    references = [row.get("reference") or None for _, row in table.rows]
    return Labels(table.images(every=True), values, references, YES_NO, True, [])
