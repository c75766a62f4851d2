"""The papers' network: choose a rate on inner splits, then the rows of both papers by importance.

    python experiments/vit_s/measure.py LIVEC WEIGHTS OUT [--processes 12]         one GPU
    python experiments/vit_s/measure.py LIVEC WEIGHTS OUT --processes 1 --frozen   CPU

Several processes share the card and the work. First every candidate is trained on inner splits of one fold's training
part and scored on the rest of that part; the best mean SRCC decides. Then `noref bench` runs the grids of this folder,
five folds, the most important rows first; killed at any moment, the benches are a report of what is done, and the same
command goes on.

With `--frozen`, for a CPU: the patch embedding and nine blocks do not learn, their tokens of one set of crops are kept
in OUT/cache, three candidates on one inner split.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CANDIDATES = {  # rate, layer decay, start
    "5e-5, 1.0": (5e-5, 1.0, "mean"),
    "1e-4, 0.8": (1e-4, 0.8, "mean"),
    "2e-4, 0.8": (2e-4, 0.8, "mean"),
    "2e-4, 0.65": (2e-4, 0.65, "mean"),
    "5e-4, 0.65": (5e-4, 0.65, "mean"),
    "1e-3, 0.65": (1e-3, 0.65, "mean"),
    "2e-4, 0.65, from zero": (2e-4, 0.65, "zero"),
    "5e-4, 0.65, from zero": (5e-4, 0.65, "zero"),
}
INNER_SEEDS = (0, 1)
FROZEN = {"5e-5, 0.75": (5e-5, 0.75, "mean"), "2e-4, 0.75": (2e-4, 0.75, "mean"), "6e-4, 0.75": (6e-4, 0.75, "mean")}
BENCHES = (  # method, variants, more words; the most important first
    ("lml_iqa", ("baseline", "LML-IQA"), ()),
    ("csiqa", ("a", "k EA HA MA LD"), ()),
    ("lml_iqa", (), ()),
    ("csiqa", (), ()),
    ("lml_iqa", ("baseline", "LML-IQA"), ("--runs", "2")),
)


def main() -> None:
    """Start the processes, or be one of them."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("livec", type=Path, help="LIVE In the Wild as it is released")
    words.add_argument("weights", type=Path, help="the ViT-S")
    words.add_argument("out", type=Path, help="folder of the runs")
    words.add_argument("--processes", type=int, default=12)
    words.add_argument("--frozen", action="store_true", help="nine frozen blocks, cached: for a CPU")
    words.add_argument("--precision", default="32-true", help="with --frozen; bf16-mixed where the CPU has bfloat16")
    words.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = words.parse_args()
    if given.worker:
        work(given.livec, given.weights, given.out, frozen=given.frozen, precision=given.precision)
        return
    given.out.mkdir(parents=True, exist_ok=True)
    call = [sys.executable, __file__, str(given.livec), str(given.weights), str(given.out), "--worker"]
    call += [*["--frozen"] * given.frozen, "--precision", given.precision]
    own = dict(os.environ) if given.processes == 1 else {**os.environ, "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(call, env=own, stdout=log, stderr=subprocess.STDOUT)
        for log in ((given.out / f"process-{number}.log").open("w") for number in range(given.processes))
    ]
    sys.exit(max(process.wait() for process in started))


def work(livec: Path, weights: Path, out: Path, *, frozen: bool, precision: str) -> None:
    """One process: inner splits until all are done, then the benches."""
    from noref.cli import run

    candidates, seeds = (FROZEN, INNER_SEEDS[:1]) if frozen else (CANDIDATES, INNER_SEEDS)
    cpu = {"frozen": 10, "feature_cache": str(out / "cache"), "precision": precision, "accelerator": "cpu"}
    shared = {"weights": str(weights), **(cpu if frozen else {})}
    # cached: an image's crops come together, so a batch of 40 images has one of each, and a pass of 5 crops is 5 epochs
    single = {"crops": 1, "crop_sets": 5, "epochs": 30, "warmup_epochs": 5, "decay_every": 20} if frozen else {}
    chosen = choose(livec, out, candidates, seeds, shared | single)
    rate, decay, start = candidates[chosen]
    for method, variants, more in BENCHES:
        words = ["bench", method, "--data", f"livec={livec}", "--folds", "5", "--out", str(out / method), "--no-report"]
        words += ["--config", str(ROOT / "experiments" / method / "livec_vit_s.yaml")]
        own = shared | (single if method == "csiqa" else {})
        words += [word for name, value in own.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        words += ["--grid", str(HERE / f"table4_{method.removesuffix('_iqa')}.yaml"), "--lr", str(rate)]
        words += ["--layer-decay", str(decay), "--start", start, *more]
        words += ["--teachers", str(out / "teachers")] if method == "csiqa" else []
        run([*words, *(word for name in variants for word in ("--only", name))])


def choose(
    livec: Path,
    out: Path,
    candidates: Mapping[str, tuple[float, float, str]],
    seeds: Sequence[int],
    shared: Mapping[str, Any],
) -> str:
    """The candidate with the best mean SRCC over the inner splits; every process does what no other has begun."""
    import numpy as np
    from filelock import FileLock, Timeout

    from noref.data.readers import READERS
    from noref.data.splits import Split, folds, random_split, save_split
    from noref.methods import deiqt
    from noref.train.options import build, read_yaml
    from noref.train.run_folder import open_run

    records = READERS["livec"](livec)
    outer = folds(records, 5, seed=0)[0]
    config = build(deiqt.Config, read_yaml(ROOT / "experiments" / "csiqa" / "livec_vit_s.yaml"))
    jobs = [(name, seed) for seed in seeds for name in candidates]
    inner = out / "inner"
    for number, (name, seed) in enumerate(jobs):
        folder = inner / f"{number}"
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock", blocking=False)
        try:
            lock.acquire()
        except Timeout:
            continue
        if (folder / "result.json").exists():
            continue
        part = [records[index] for index in outer.train]
        own = random_split(part, test=0.2, seed=seed)
        split = Split(*(tuple(outer.train[i] for i in getattr(own, kind)) for kind in ("train", "validation", "test")),
                      seed, "an inner split")  # fmt: skip
        save_split(split, records, folder / "split.json")
        rate, decay, start = candidates[name]
        changed = {"lr": rate, "layer_decay": decay, "start": start, "validation": 0.0, **shared}
        chosen = type(config)(**{**vars(config), **changed, "split": str(folder / "split.json")})
        began = time.time()
        run = open_run(folder / "run", resume=(folder / "run" / "config.yaml").exists())
        found = deiqt.train(chosen, f"livec={livec}", run)
        words = {"candidate": name, "seed": seed, "srcc": found["srcc"], "plcc": found["plcc"]}
        (folder / "part.json").write_text(json.dumps({**words, "seconds": time.time() - began}))
        (folder / "part.json").rename(folder / "result.json")
        (folder / "run" / "checkpoint.safetensors").unlink()
    while len(results := [json.loads(file.read_text()) for file in inner.glob("*/result.json")]) < len(jobs):
        time.sleep(0.5)
    means = {name: float(np.mean([r["srcc"] for r in results if r["candidate"] == name])) for name in candidates}
    best = max(means, key=lambda name: means[name])
    table = out / f".inner.{os.getpid()}"
    table.write_text(json.dumps({"chosen": best, "mean SRCC": means, "runs": results}, indent=2))
    shutil.move(table, out / "inner.json")
    return best


if __name__ == "__main__":
    main()
