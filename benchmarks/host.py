"""What a training step costs the process that drives a GPU besides the GPU: Python, batches, copies.

python benchmarks/host.py FOLDER [--workers 1] [--epochs 4]

The loop of `noref train` with real photos and batches of 80 crops, on a network of one number, so that all that is left
is the loop and its batches. Two ways in one run: worker processes that live through all passes, and, as it was before,
a new loader for each pass. Printed: milliseconds a step of the driving thread's own CPU time, and of the clock.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from noref.card import Preprocessing, Scale
from noref.data.loading import Batch, make_loader
from noref.data.records import Record
from noref.methods.deiqt import Config
from noref.train import setup
from noref.train.loop import Loaders, Schedule, fit
from noref.train.state import State


class OneNumber(nn.Module):
    """The smallest network that learns."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, crops: Tensor) -> Tensor:
        """(N, C, 3, S, S) uint8 -> (N, C); it looks at one pixel."""
        return crops[:, :, 0, 0, 0] * self.weight


def main() -> None:
    """Measure both ways, print a line each."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("photos", type=Path)
    words.add_argument("--count", type=int, default=400, help="photos")
    words.add_argument("--workers", type=int, default=1)
    words.add_argument("--epochs", type=int, default=4)
    given = words.parse_args()
    paths = sorted(path for path in given.photos.iterdir() if path.suffix == ".jpg")[: given.count]
    records = [Record(path, 50.0, Scale(0, 100)) for path in paths]
    config = Config(batch=80, crop=196, crops=5, together=1, epochs=given.epochs, workers=given.workers)
    fabric = Fabric(accelerator="cpu", devices=1)
    rule = Preprocessing(max_pixels=config.max_pixels, min_side=config.crop, crop=config.crop)
    crops = setup.random_crops(config, records, rule)
    crops.preload()
    for name in ("workers that live", "a loader a pass"):
        loaders = setup.batches(config, crops, fabric)
        if name == "a loader a pass":

            def passes(number: int) -> Iterator[Batch]:
                for place in range(config.crops):
                    epoch = number * config.crops + place
                    yield from make_loader(crops, batch_images=config.batch, epoch=epoch, workers=config.workers or 0)

            loaders = Loaders(passes, loaders.batches)
        network = OneNumber()
        wrapped, optimizer = fabric.setup(network, torch.optim.AdamW(network.parameters()))
        state = State(wrapped, optimizer)

        def step(network: nn.Module, batch: Batch) -> dict[str, Tensor]:
            return {"loss": (network(batch.crops) - batch.quality[:, None]).square().mean()}

        clock, own = time.perf_counter(), time.thread_time()
        fit(step, loaders, state, fabric, schedule=Schedule(config.epochs, lr=lambda epoch: 1e-4, clip=5.0))
        clock, own = time.perf_counter() - clock, time.thread_time() - own
        milliseconds = f"{1000 * own / state.step:.2f} ms own, {1000 * clock / state.step:.2f} ms by the clock"
        print(f"{name}: {milliseconds}, a step of {config.batch} crops, {state.step} steps")


if __name__ == "__main__":
    main()
