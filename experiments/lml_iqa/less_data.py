"""Draw SRCC over the share of the training part that was used, a line a row of the grid, with the folds as dots.

python experiments/lml_iqa/less_data.py BENCH --longer BENCH --picture docs/papers/lml_iqa_less_data.png

BENCH is a folder of `noref bench ... --fractions 20,40,60,100`. `--longer`, which may be repeated, names one whose
runs saw as many crops as the runs on all of the training part; its rows are drawn hollow.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

COLOURS = ("#555555", "#0072b2", "#d55e00", "#009e73")

Rows = dict[str, dict[float, list[float]]]


def read(*benches: Path) -> Rows:
    """Row of the grid -> share of the training part in percent -> SRCC of each fold and seed."""
    found: Rows = defaultdict(lambda: defaultdict(list))
    for file in sorted(file for bench in benches for file in bench.glob("runs/*/*/cell.json")):
        cell = json.loads(file.read_text(encoding="utf-8"))
        (metrics,) = cell["figures"].values()
        found[cell["variant"]][100 * cell["fraction"]].append(metrics["srcc"])
    return found


def draw(axis: Any, rows: Rows, labels: list[str], *, hollow: bool) -> None:
    """One line a row; where a row has one share only, its mark stands alone."""
    for at, label in enumerate(labels):
        if label not in rows:
            continue
        points = sorted(rows[label].items())
        shift = 0.7 * (at - (len(labels) - 1) / 2)
        face = "white" if hollow else COLOURS[at]
        for share, values in points:
            axis.plot([share + shift] * len(values), values, ".", color=COLOURS[at], alpha=0.3, markersize=5)
        means = [mean(values) for _, values in points]
        name = f"{label}, as many crops as on all" if hollow else label
        axis.plot([share + shift for share, _ in points], means, marker="o", label=name, color=COLOURS[at], mfc=face)


def main() -> None:
    """Read, draw, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("--longer", type=Path, action="append", default=[])
    parser.add_argument("--picture", type=Path, required=True)
    given = parser.parse_args()
    import matplotlib.pyplot as plt

    rows = read(given.bench)
    figure, axis = plt.subplots(figsize=(7.5, 4.6), layout="constrained")
    labels = sorted(rows, key=lambda row: (row != "baseline", mean(rows[row][min(rows[row])])))
    draw(axis, rows, labels, hollow=False)
    draw(axis, read(*given.longer), labels, hollow=True)
    axis.set(xlabel="share of the training part, %", ylabel="SRCC on the fold's photos")
    axis.set_xticks(sorted({share for row in rows.values() for share in row}))
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize=9, loc="lower right")
    figure.savefig(given.picture, dpi=130)


if __name__ == "__main__":
    main()
