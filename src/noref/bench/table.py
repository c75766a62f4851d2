"""The tables of a bench: a row for each image in `predictions.csv`, and the means that are printed at its end."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from noref.report.table import COLUMNS, read_json
from noref.writing import replacing

TEXTS = ("variant", "trained on", "tested on")
MEANS = ("SRCC mean", "PLCC mean")
HEAD = (*TEXTS, "runs", "SRCC mean", "median", "std", "PLCC mean", "median", "std", "PLCC logistic mean")


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows of predictions as CSV in one step."""
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def done_cells(out: Path) -> list[Path]:
    """The `cell.json` of every cell that is done, in the order of their folders."""
    return sorted(out.glob("runs/*/*/cell.json"))


def collect_predictions(out: Path) -> None:
    """Put the rows of all cells that are done into `predictions.csv`."""

    def rows() -> Iterable[dict[str, str]]:
        for cell in done_cells(out):
            with cell.with_name("cell.csv").open(newline="", encoding="utf-8") as file:
                yield from csv.DictReader(file)

    write_rows(out / "predictions.csv", rows())


def mean_rows(out: Path) -> list[tuple[str, ...]]:
    """Means over runs: a row, in the columns of `HEAD`, for each variant, training set, fraction and test set."""
    found: dict[tuple[str, str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for file in done_cells(out):
        cell = read_json(file)
        learnt = cell["training_set"] + (f" {100 * cell['fraction']:g} %" if cell["fraction"] != 1 else "")
        for test_set, metrics in cell["figures"].items():
            for name in ("srcc", "plcc", "plcc_logistic4"):
                found[cell["variant"] or "-", learnt, test_set][name].append(metrics[name])
    rows = []
    for texts, values in sorted(found.items()):
        numbers = []
        for name in ("srcc", "plcc"):
            std = np.std(values[name], ddof=1) if len(values[name]) > 1 else np.nan
            numbers += [np.mean(values[name]), np.median(values[name]), std]
        numbers.append(np.mean(values["plcc_logistic4"]))
        shown = ("-" if np.isnan(number) else f"{number:.4f}" for number in numbers)
        rows.append((*texts, str(len(values["srcc"])), *shown))
    return rows


def tab_separated(rows: Sequence[tuple[str, ...]]) -> str:
    """The rows of `mean_rows` with their head for other programs: columns apart by tabs."""
    return "\n".join("\t".join(row) for row in (HEAD, *rows))


def for_terminal(rows: Sequence[tuple[str, ...]], width: int) -> str:
    """The rows of `mean_rows` for people: no word and no number is broken where that can be had.

    What does not fit is left out in this order, and a last line says so: text that is the same in all rows, the
    medians and PLCC after the logistic, the standard deviations. The width is in characters.
    """
    shown = [i for i in range(len(HEAD)) if HEAD[i] not in TEXTS or len({row[i] for row in rows}) > 1]
    choices = [
        range(len(HEAD)),
        shown,
        [i for i in shown if HEAD[i] not in ("median", "PLCC logistic mean")],
        [i for i in shown if HEAD[i] in (*TEXTS, "runs", *MEANS)],
    ]
    columns = next((c for c in choices if _narrowest(rows, c) <= width), choices[-1])
    table, spare = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False), width - _narrowest(rows, columns)
    for i in columns:
        word, line = _longest_word(rows, i), max(len(row[i]) for row in (HEAD, *rows))
        more = max(0, min(spare, line - word))
        spare -= more
        table.add_column(HEAD[i], justify="left" if HEAD[i] in TEXTS else "right", width=word + more, overflow="fold")
    for row in rows:
        table.add_row(*(Text(row[i]) for i in columns))
    text = io.StringIO()
    Console(file=text, width=width, color_system=None).print(table)
    fixed = [f"{HEAD[i]} {rows[0][i]}" for i in range(len(TEXTS)) if rows and i not in columns and rows[0][i] != "-"]
    left_out = dict.fromkeys(HEAD[i] for i in range(len(TEXTS), len(HEAD)) if i not in columns)
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    lines += [f"all rows: {', '.join(fixed)}"] if fixed else []
    lines += [f"a wider terminal also shows: {', '.join(left_out)}"] if left_out else []
    return "\n".join(lines)


def _narrowest(rows: Sequence[tuple[str, ...]], columns: Iterable[int]) -> int:
    """Characters of the table if each column is as wide as its longest word, with three between two columns."""
    return sum(3 + _longest_word(rows, i) for i in columns) - 3


def _longest_word(rows: Sequence[tuple[str, ...]], column: int) -> int:
    return max(len(word) for row in (HEAD, *rows) for word in row[column].split())
