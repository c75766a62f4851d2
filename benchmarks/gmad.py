"""Speed of the gMAD competition: python benchmarks/gmad.py [--rows 100000] [--json FILE]

Both roles, 6 levels, 4 pairs a level: the search alone, and the way from two CSV files; CPU time, as others may use
the machine. Beside it what numpy takes to sort the two columns once, timed in between. The peak of memory is that of
numpy and Python objects during the search: a matrix of pairs would show.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from noref.gmad.pairs import both_roles
from noref.gmad.score_table import ScoreTable, align, read_score_table

LEVELS, TOP, RUNS = 6, 4, 7


def seconds(run: Callable[[], object]) -> float:
    """CPU time of one run."""
    start = time.process_time()
    run()
    return time.process_time() - start


def columns(rows: int) -> tuple[ScoreTable, ScoreTable]:
    """Two models that agree in part: correlation 0.8, scores to four digits as tables have them."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=rows)
    paths = tuple(f"images/{row // 1000:03}/{row:06}.png" for row in range(rows))
    first, second = (np.round(50 + 15 * (truth + 0.5 * rng.normal(size=rows)), 4) for _ in range(2))
    return ScoreTable("first", paths, first), ScoreTable("second", paths, second)


def write(table: ScoreTable, path: Path) -> None:
    lines = (f"{name},{score}\n" for name, score in zip(table.paths, table.scores, strict=True))
    path.write_text("path,score\n" + "".join(lines), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    first, second = columns(chosen.rows)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / "first.csv", Path(folder) / "second.csv"]
        for table, file in zip((first, second), files, strict=True):
            write(table, file)

        def search() -> object:
            return both_roles(first, second, levels=LEVELS, top=TOP)

        def from_files() -> object:
            return both_roles(*align(*(read_score_table(file) for file in files)), levels=LEVELS, top=TOP)

        def sort() -> object:
            return np.sort(first.scores), np.sort(second.scores)

        taken: dict[str, list[float]] = {"search": [], "from_files": [], "sort_alone": []}
        for _ in range(RUNS):
            for name, run in zip(taken, (search, from_files, sort), strict=True):
                taken[name].append(seconds(run))
        tracemalloc.start()
        search()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    metrics = {f"{name}_cpu_s": round(median(times), 4) for name, times in taken.items()}
    metrics |= {"rows": chosen.rows, "search_peak_mb": round(peak / 1e6, 1), "square_matrix_mb": chosen.rows**2 * 8e-6}
    for name, value in metrics.items():
        print(f"{name}\t{value:g}")
    if chosen.json:
        machine = {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
        chosen.json.write_text(json.dumps(metrics | machine | {"numpy": np.__version__}, indent=2) + "\n")


if __name__ == "__main__":
    main()
