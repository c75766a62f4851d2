"""Gather a sweep on inner folds and draw it: SRCC and PLCC over a, one line a fold.

python experiments/lml_iqa/curve.py BENCH --csv experiments/lml_iqa/results/inner.csv
    --picture docs/papers/lml_iqa_a.png
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from pathlib import Path

import yaml

OPTIONS = ("alpha", "temperature", "lr", "crops", "batch", "positive", "intra_negatives", "inter_negatives")
MORE = ("positive_in_denominator", "teacher_update")
METRICS = ("srcc", "plcc")
PLAIN = {"crops": 2, "batch": 32, "temperature": 0.3, "lr": 2e-4}
PAPER = {"positive": "salient", "intra_negatives": True, "inter_negatives": "crops", "positive_in_denominator": False}


def cells(bench: Path) -> list[dict[str, object]]:
    """A row a run that is done: its options, its fold, its metrics on the fold's test part."""
    rows = []
    for file in sorted(bench.glob("runs/*/*/cell.json")):
        (metrics,) = json.loads(file.read_text(encoding="utf-8"))["figures"].values()
        options = yaml.safe_load((file.parent / "config.yaml").read_text(encoding="utf-8"))
        split = file.parent.name.rpartition("split")[2]
        known = {name: options[name] for name in (*OPTIONS, *MORE)}
        rows.append({"fold": int(split), **known, **{name: round(metrics[name], 4) for name in METRICS}})
    return sorted(rows, key=lambda row: [str(value) for value in row.values()])


def draw(rows: list[dict[str, object]], path: Path) -> None:
    """The rows that differ from the paper's method in a alone."""
    import matplotlib.pyplot as plt

    wanted = {**PLAIN, **PAPER, "teacher_update": "step"}
    kept = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    places = {value: at for at, value in enumerate(sorted({float(str(row["alpha"])) for row in kept}))}
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharex=True, layout="constrained")
    for axis, metric in zip(axes, METRICS, strict=True):
        lines: dict[object, list[tuple[int, float]]] = defaultdict(list)
        for row in kept:
            lines[row["fold"]].append((places[float(str(row["alpha"]))], float(str(row[metric]))))
        for fold, points in sorted(lines.items(), key=str):
            axis.plot(*zip(*sorted(points), strict=True), marker="o", label=f"inner fold {fold}")
        axis.set(xlabel="a, share of the contrast in the loss", ylabel=metric.upper())
        axis.set_xticks(list(places.values()), [f"{value:g}" for value in places])
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=130)


def main() -> None:
    """Write the table, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument("--picture", type=Path, required=True)
    given = parser.parse_args()
    rows = cells(given.bench)
    with given.csv.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    draw(rows, given.picture)
    print(f"{len(rows)} runs: {given.csv}, {given.picture}")


if __name__ == "__main__":
    main()
