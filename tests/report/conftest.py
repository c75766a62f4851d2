"""A table of predictions as a bench writes it, small, with numbers that a test can work out again."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

COLUMNS = [
    "cell", "recipe", "variant", "training_set", "test_set", "fraction", "split", "seed", "protocol", "selection",
    "path", "reference", "distortion", "level", "score", "predicted", "human", "quality",
]  # fmt: skip


def cell_rows(
    *,
    variant="",
    training_set="livec",
    test_set="livec",
    fraction=1.0,
    split=0,
    images=12,
    low=0.0,
    high=100.0,
    higher_is_better=True,
    noise=0.1,
    distortions=(),
    seed=None,
    recipe="deiqt",
    protocol="grid",
    selection="last",
    names=None,
):
    """Rows of one cell; noise decides how far predictions lie from the human scores."""
    rng = np.random.default_rng([split, *map(ord, variant), round(100 * fraction), len(test_set)])
    names = names or [f"img/{split * (images // 2) + i:03}.png" for i in range(images)]
    rows = []
    for i, name in enumerate(names):
        human = float(np.random.default_rng([ord(c) for c in f"{test_set}{name}"]).uniform(0.05, 0.95))
        quality = human + noise * float(rng.normal())
        score, predicted = (low + (q if higher_is_better else 1 - q) * (high - low) for q in (human, quality))
        kind = distortions[i % len(distortions)] if distortions else ""
        cell = f"{variant or 'all'}/{training_set}-{split}-{fraction:g} on {test_set}"
        values = (
            cell, recipe, variant, training_set, test_set, fraction, split, split if seed is None else seed, protocol,
            selection, name, f"ref{i % 4}" if kind else "", kind, i % 5 + 1 if kind else "",
            score, predicted, human, quality,
        )  # fmt: skip
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


@pytest.fixture(scope="session")
def rows_of():
    """`cell_rows`."""
    return cell_rows


@pytest.fixture(scope="session")
def write_bench():
    """Write a folder: `write_bench(folder, rows, about)`; without `about` the table stands alone."""

    def write(folder: Path, rows, about=None) -> Path:
        folder.mkdir(exist_ok=True)
        with (folder / "predictions.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        if about is not None:
            (folder / "bench.json").write_text(json.dumps({"format": 1, **about}), encoding="utf-8")
        return folder

    return write


@pytest.fixture
def make_bench(tmp_path, write_bench):
    """The same in a folder of this test: `make_bench(rows, about)`."""
    return lambda rows, about=None, name="bench": write_bench(tmp_path / name, rows, about)
