"""What a step of LML-IQA costs, beside a step of its baseline on as many crops; real photos, time and memory.

python benchmarks/lml.py mobilenetv2_100 --photos FOLDER --steps 5 --bf16
python benchmarks/lml.py deit3_small_patch16_224 --photos FOLDER --steps 20 --out vit.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import time
from pathlib import Path

import torch
from lightning_fabric import Fabric

from noref.card import Preprocessing, Scale
from noref.checkout import commit
from noref.data.loading import Batch, make_loader
from noref.data.records import Record
from noref.methods import deiqt, lml_iqa
from noref.methods.lml_iqa import Config, MutualLearning
from noref.train import setup
from noref.train.loop import Step
from noref.train.run_folder import DataSet, Run
from noref.train.state import State
from noref.train.supervised import step_of


def main() -> None:
    """Measure, print, write JSON."""
    given = options()
    torch.set_num_threads(given.threads)
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed" if given.bf16 else "32-true")
    config = Config(backbone=given.backbone, weights="none", batch=10 * given.images, pad_type=given.pad)
    scale, records = Scale(0, 100), photos(given)
    hooks = MutualLearning(config, DataSet("photos", given.photos, records), Run(Path()), fabric)
    rule = Preprocessing(max_pixels=config.max_pixels, min_side=config.crop, crop=config.crop)
    crops = hooks.crops(config, records, rule)
    state = setup.new_state(config, fabric)
    state.network.train()
    hooks.start(state, crops)
    begun = time.process_time()
    hooks.before_epoch(state)  # finds the windows
    windows = (time.process_time() - begun) / len(crops)
    batches = list(make_loader(crops, batch_images=given.images, drop_last=True))
    baseline = [deiqt.score_term(scale, distance=config.loss, beta=config.beta)]
    steps = {
        "deiqt": step_of(baseline, config.crops + 1),  # all crops get a score
        "lml_iqa": step_of(lml_iqa.terms(config, scale, fabric), config.crops),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    losses = []
    for number in range(given.steps + 1):
        batch = batches[number % len(batches)]
        for name, step in steps.items():
            cpu, wall = time.process_time(), time.perf_counter()
            loss = one_step(step, state, fabric, batch)
            if name == "lml_iqa":
                hooks.after_step(state)  # the teacher follows
            if number:  # the first warms up
                times[name].append((time.process_time() - cpu, time.perf_counter() - wall))
                losses += [loss] if name == "lml_iqa" else []
    report(given, times, losses, windows)


def photos(given: argparse.Namespace) -> list[Record]:
    """The first photos of a folder, with made-up scores: only time is measured."""
    paths = sorted(path for path in Path(given.photos).rglob("*") if path.suffix.lower() in (".jpg", ".bmp", ".png"))
    return [Record(path, 50.0, Scale(0, 100)) for path in paths[: given.images * 4]]


def one_step(step: Step, state: State, fabric: Fabric, batch: Batch) -> float:
    """Forward, backward, clip, update; the loss."""
    values = step(state.network, batch)
    fabric.backward(values["loss"])
    fabric.clip_gradients(state.network, state.optimizer, max_norm=5.0)
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    return float(values["loss"].detach())


def report(
    given: argparse.Namespace, times: dict[str, list[tuple[float, float]]], losses: list[float], windows: float
) -> None:
    """Medians and their ratio, with hardware and commit."""
    crops = 11 * given.images
    medians = {
        name: [round(statistics.median(column), 4) for column in zip(*rows, strict=True)]
        for name, rows in times.items()
    }
    found = {
        "backbone": given.backbone,
        "crops a step": crops,
        "precision": "bf16" if given.bf16 else "float32",
        "steps": given.steps,
        "threads": given.threads,
        "seconds a step, of the processor and by the clock": medians,
        "ratio lml_iqa / deiqt, processor": round(medians["lml_iqa"][0] / medians["deiqt"][0], 3),
        "crops a second of one processor": {name: round(crops / rows[0], 1) for name, rows in medians.items()},
        "seconds of the processor to find an image's window": round(windows, 4),
        "losses": [round(loss, 3) for loss in losses],
        "memory, GB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "load": os.getloadavg()[0],
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "torch": torch.__version__,
        "commit": commit(),
    }
    text = json.dumps(found, indent=2)
    print(text)
    if given.out:
        Path(given.out).write_text(text + "\n", encoding="utf-8")


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backbone")
    parser.add_argument("--photos", required=True, help="a folder of photographs")
    parser.add_argument("--images", type=int, default=4, help="a batch")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pad", default="")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--out", help="a JSON file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
