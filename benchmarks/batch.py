"""What `noref batch` costs, and whether it loses a row: python benchmarks/batch.py [speed] [kills] [nodes]

speed  pictures/s of `noref batch` over as many `noref score` processes as cores, in turns; scores equal; peak memory
kills  the driver is killed with SIGKILL three times, then `--resume`: all rows once, each with its score
nodes  a cluster of two node processes on this machine, one killed in the middle, another added: all rows once

`--pictures N`: 20000 are what the figures are about; fewer show only that it runs, since Ray's start weighs on them.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import pyarrow.parquet as pq
from scoring import machine, picture

DISTINCT = 200  # pictures; the others are links to them
NOREF = str(Path(sys.executable).parent / "noref")


def photos(folder: Path, count: int) -> Path:
    """A folder of pictures of 512 x 384."""
    made = folder / "photos"
    made.mkdir()
    for number in range(count):
        path = made / f"{number:06}.jpg"
        if number < DISTINCT:
            picture(number).save(path, quality=90)
        else:
            os.link(made / f"{number % DISTINCT:06}.jpg", path)
    return made


def speed(folder: Path, count: int, rounds: int) -> dict[str, float]:
    made, cores = photos(folder, count), len(os.sched_getaffinity(0))
    names = sorted(str(path) for path in made.iterdir())
    for number in range(cores):
        (folder / f"{number}.txt").write_text("\n".join(names[number::cores]))

    def processes() -> None:
        words = [NOREF, "score", "--threads", "1", "--quiet", "--overwrite"]
        each = [[*words, "--from", f"{folder}/{n}.txt", "--output", f"{folder}/{n}.csv"] for n in range(cores)]
        started = [subprocess.Popen(command) for command in each]
        if sum(process.wait() for process in started):
            raise SystemExit("noref score failed")

    peaks: list[list[float]] = []

    def batch() -> None:
        command = [NOREF, "batch", str(made), "--out", str(folder / "rows.parquet"), "--quiet", "--overwrite"]
        with memory_of(subprocess.Popen(command)) as (process, seen):
            if process.wait():
                raise SystemExit("noref batch failed")
        peaks.append(seen)

    pairs = [(seconds(processes), seconds(batch)) for _ in range(rounds)]
    theirs = {path: float(score) for n in range(cores) for path, score in table(folder / f"{n}.csv")}
    ours = {row["path"]: row["score"] for row in pq.read_table(folder / "rows.parquet").to_pylist()}
    thirds = [(max(seen[: len(seen) // 3 * 2]), max(seen[len(seen) // 3 * 2 :])) for seen in peaks if len(seen) > 9]
    return {
        "pictures": count,
        "processes, pictures/s": count / median(a for a, _ in pairs),
        "batch, pictures/s": count / median(b for _, b in pairs),
        "ratio (bar 0.85)": median(a / b for a, b in pairs),
        "largest difference of a score (bar 1e-3)": max(abs(theirs[path] - ours[path]) for path in theirs),
        "rows missing": len(theirs.keys() ^ ours.keys()),
        "peak memory of all processes, MB": max(max(seen) for seen in peaks),
        "peak of the last third over that before": median(b / a for a, b in thirds) if thirds else 0,
    }


def kills(folder: Path, count: int, _rounds: int) -> dict[str, float]:
    made, out, written = photos(folder, count), folder / "rows.parquet", list[int]()
    command = [NOREF, "batch", str(made), "--out", str(out), "--resume"]
    for number in range(3):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while process.poll() is None and parts(out) <= 2 * number + 1:
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()
        written.append(pq.read_table(f"{out}.parts").num_rows)
    if subprocess.run(command).returncode:
        raise SystemExit("the last run failed")
    return {
        "pictures": count,
        **{f"rows after kill {n + 1}": rows for n, rows in enumerate(written)},
        **once(out, made),
    }


def nodes(folder: Path, count: int, _rounds: int) -> dict[str, float]:
    from noref.serve.batch_cluster import load_ray
    from noref.serve.batch_run import score_batches

    load_ray()
    from ray.cluster_utils import Cluster

    made, out = photos(folder, count), folder / "rows.parquet"
    options: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 10**8, "include_dashboard": False}
    cluster: Any = Cluster(initialize_head=True, head_node_args=options)
    node = cluster.add_node(**options)
    killed = list[float]()

    def kill() -> None:
        while parts(out) < 2:
            time.sleep(0.1)
        cluster.remove_node(node, allow_graceful=False)
        killed.append(pq.read_table(f"{out}.parts").num_rows)
        cluster.add_node(**options)

    threading.Thread(target=kill, daemon=True).start()
    score_batches([str(made)], str(out), address=cluster.address)
    cluster.shutdown()
    return {"pictures": count, "rows when the node was killed": killed[0], **once(out, made)}


def parts(out: Path) -> int:
    folder = Path(f"{out}.parts")
    return len(list(folder.glob("part-*"))) if folder.exists() else 0


def once(out: Path, made: Path) -> dict[str, float]:
    rows = pq.read_table(out).to_pylist()
    paths = [row["path"] for row in rows]
    return {
        "missing": len({str(path) for path in made.iterdir()} - set(paths)),
        "twice": len(paths) - len(set(paths)),
        "without a score": sum(row["score"] is None for row in rows),
    }


def table(path: Path) -> Iterator[tuple[str, str]]:
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            yield row["path"], row["score"]


@contextmanager
def memory_of(process: subprocess.Popen[bytes]) -> Iterator[tuple[subprocess.Popen[bytes], list[float]]]:
    """Megabytes of the process and all below it, their own pages only, twice a second."""
    seen, ended = list[float](), threading.Event()

    def watch() -> None:
        root = psutil.Process(process.pid)
        while not ended.wait(0.5):
            total = 0.0
            try:
                for each in [root, *root.children(recursive=True)]:
                    total += each.memory_full_info().uss / 1e6
            except psutil.Error:  # one has just ended
                continue
            seen.append(total)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield process, seen
    finally:
        ended.set()
        watcher.join()


def seconds(call: Callable[[], object]) -> float:
    start = time.monotonic()
    call()
    return time.monotonic() - start


FIGURES = {"speed": speed, "kills": kills, "nodes": nodes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", nargs="*", choices=[*FIGURES, []], metavar="|".join(FIGURES))
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print(json.dumps(machine()), flush=True)
    for name in given.figures or FIGURES:
        with tempfile.TemporaryDirectory() as folder:
            found = FIGURES[name](Path(folder), given.pictures, given.rounds)
        for key, value in found.items():
            print(f"{name}: {key}: {value:.4g}", flush=True)


if __name__ == "__main__":
    main()
