"""What CSIQA costs, and how runs converge: python benchmarks/csiqa.py cost|paper|teacher|epochs [RUN...]

cost     a CSIQA step with a cached teacher over the plain step, same crops, in turns: median of ratios
         (of CPU time on a CPU, so that other work does not count)
paper    a few steps of the ViT-S as the paper trains it, random weights: time and memory
teacher  a teacher's scores of whole crops over its scores of cached features of its frozen stages
epochs   the validation SRCC of runs by epoch, side by side (Fig. 6)
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import torch
from lightning_fabric import Fabric

from noref.card import Scale
from noref.checkout import commit
from noref.methods import csiqa, deiqt
from noref.models.frozen_stages import TailNet
from noref.train import setup
from noref.train.config import Supervised
from noref.train.distillation import ScoredBatch
from noref.train.supervised import Term, step_of

Row = dict[str, Any]
VIT: dict[str, Any] = {"backbone": "deit3_small_patch16_224", "weights": "none"}
SCALE = Scale(0, 100)
MOBILE: dict[str, Any] = {"backbone": "mobilenetv2_100", "weights": "none"}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "mobilenetv2_100, plug-in": (MOBILE, {"head": "panel", "mask": None}),
    "ViT-S, plug-in": (VIT, {"head": "panel", "mask": None}),
    "ViT-S, with the quality token": (VIT, {}),
}


def batch_of(crops: int) -> ScoredBatch:
    """Noise with labels and a teacher's scores, every crop of another image."""
    source = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (crops, 1, 3, 224, 224), dtype=torch.uint8, generator=source)
    return ScoredBatch(images, torch.rand(crops, generator=source), torch.arange(crops), torch.rand(crops, 1))


def plain_terms(config: deiqt.Config) -> list[Term]:
    """DEIQT's loss."""
    return [deiqt.score_term(SCALE, beta=config.beta)]


def csiqa_terms(config: csiqa.Config, fabric: Fabric) -> list[Term]:
    """CSIQA's loss: distance to labels and to the teacher, and the contrast."""
    label = deiqt.score_term(SCALE, distance=config.loss, beta=config.beta, name="label", weight=config.label_weight)
    return [label, *csiqa.terms(config, SCALE, fabric, beta=config.beta)]


def stepper(config: Supervised, terms: Sequence[Term], batch: ScoredBatch, fabric: Fabric) -> Callable[[], float]:
    """A function that trains one step and says how many seconds it took."""
    state = setup.new_state(config, fabric)
    state.network.train()
    step = step_of(terms, config.together)
    given = fabric.to_device(batch)
    clock = perf_counter if fabric.device.type == "cuda" else process_time  # other work on the CPU does not count

    def run() -> float:
        begun = clock()
        fabric.backward(step(state.network, given)["loss"])
        fabric.clip_gradients(state.network, state.optimizer, max_norm=5.0)
        state.optimizer.step()
        state.optimizer.zero_grad()
        if fabric.device.type == "cuda":
            torch.cuda.synchronize()
        return clock() - begun

    return run


def cost(fabric: Fabric, *, crops: int, rounds: int) -> list[Row]:
    """A row a case; plain and CSIQA steps take turns, so that a busy machine slows both."""
    rows = []
    for name, (shared, more) in CASES.items():
        batch = batch_of(crops)
        baseline, config = deiqt.Config(**shared), csiqa.Config(**shared, **more)
        plain = stepper(baseline, plain_terms(baseline), batch, fabric)
        ours = stepper(config, csiqa_terms(config, fabric), batch, fabric)
        plain(), ours()
        pairs = [(plain(), ours()) for _ in range(rounds)]
        ratio = statistics.median(mine / other for other, mine in pairs)
        seconds = [statistics.median(times) for times in zip(*pairs, strict=True)]
        rows.append({"case": name, "crops": crops, "plain s": seconds[0], "csiqa s": seconds[1], "ratio": ratio})
        print(rows[-1], flush=True)
    return rows


def paper(fabric: Fabric, *, crops: int, steps: int) -> list[Row]:
    """The ViT-S with everything on, at LIVE In the Wild's batch."""
    config = csiqa.Config(**VIT)
    run = stepper(config, csiqa_terms(config, fabric), batch_of(crops), fabric)
    seconds = statistics.median([run() for _ in range(steps + 1)][1:])
    if fabric.device.type == "cuda":
        memory = torch.cuda.max_memory_allocated() / 2**30
    else:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return [{"case": "ViT-S, paper", "crops": crops, "seconds a step": seconds, "peak GiB": memory}]


@torch.no_grad()
def teacher(fabric: Fabric, *, crops: int, rounds: int, frozen: int = 4) -> list[Row]:
    """A MobileNetV2 in bfloat16, as a training run with a feature cache has it."""
    network = setup.network_of(deiqt.Config(**MOBILE, frozen=frozen), weights="none").to(fabric.device).eval()
    tail = TailNet(network, frozen)
    images = fabric.to_device(batch_of(crops).crops.flatten(0, 1))

    def seconds(call: Callable[[], Any]) -> float:
        begun = process_time()
        with torch.autocast(fabric.device.type, torch.bfloat16):
            call()
        return process_time() - begun

    with torch.autocast(fabric.device.type, torch.bfloat16):
        maps = tail.frozen_features(images).bfloat16()
    pairs = [(seconds(lambda: network(images)), seconds(lambda: tail(maps))) for _ in range(rounds + 1)][1:]
    whole, cut = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(one / other for one, other in pairs)
    return [{"case": f"mobilenetv2_100, frozen {frozen}", "whole s": whole, "cached features s": cut, "ratio": ratio}]


def epochs(runs: list[Path]) -> list[Row]:
    """A row an epoch, a column a run."""
    rows: dict[str, Row] = {}
    for run in runs:
        with (run / "log.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                found = row.get("validation_srcc") or row.get("test_plcc") or "nan"
                rows.setdefault(row["epoch"], {"epoch": int(row["epoch"])})[run.name] = float(found)
    return list(rows.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["cost", "paper", "teacher", "epochs"])
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--crops", type=int, default=16, help="in a step")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of steps that are timed")
    given = parser.parse_args()
    fabric = Fabric(accelerator="auto", devices=1)
    fabric.launch()
    rows = {
        "cost": lambda: cost(fabric, crops=given.crops, rounds=given.rounds),
        "paper": lambda: paper(fabric, crops=given.crops, steps=given.rounds),
        "teacher": lambda: teacher(fabric, crops=given.crops, rounds=given.rounds),
        "epochs": lambda: epochs(given.runs),
    }
    found = rows[given.what]()
    hardware = (
        torch.cuda.get_device_name() if fabric.device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    )
    text = json.dumps({"what": given.what, "rows": found, "hardware": hardware, "commit": commit()}, indent=2)
    print(text)
    if given.out is not None:
        given.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
