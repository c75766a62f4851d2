"""How ARNIQA's steps are cut into passes over the photos, and what is watched while the batches come."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from rich.console import Console
from torch import Tensor

from noref.data.pairs import PairBatch, Pairs, pair_batches
from noref.errors import DataError
from noref.train.run_folder import Run

if TYPE_CHECKING:
    from noref.methods.arniqa import Config


@dataclass(frozen=True)
class Steps:
    """How a run's steps are cut into epochs, which are passes over the photos, and those into parts.

    Args:
        part: steps between two checkpoints.
        epoch: steps of a pass.
        total: steps in all.
        pairs: in a step.
    """

    part: int
    epoch: int
    total: int
    pairs: int

    @classmethod
    def of(cls, config: Config, count: int) -> Steps:
        """Of so many photos.

        Raises:
            DataError: they do not fill a batch.
        """
        pairs = config.batch if config.hard_negatives else 2 * config.batch
        whole = count // pairs
        if not whole:
            raise DataError(f"{count} photos do not fill a batch of {pairs} pairs")
        parts = math.ceil(whole / config.part)
        epoch = whole // parts * parts
        return cls(epoch // parts, epoch, config.steps or config.epochs * epoch, pairs)

    @property
    def parts(self) -> int:
        """In all."""
        return math.ceil(self.total / self.part)

    def batches(self, part: int, pairs: Pairs, workers: int) -> Iterator[PairBatch]:
        """The batches of one part, the same whenever they are asked for."""
        number, start = divmod(part * self.part, self.epoch)
        stop = start + min(self.part, self.total - part * self.part)
        return pair_batches(pairs, batch=self.pairs, number=number, start=start, stop=stop, workers=workers)


class Watch:
    """Counts photos that cannot be read, says once that some are smaller than a crop, and times the waiting for data.

    Args:
        learning: the photos, in the order that batches number them.
        run: gets skipped.csv.
    """

    def __init__(self, learning: list[Path], run: Run) -> None:
        self.learning, self.run, self.broken, self.said = learning, run, set[int](), False
        self.waited = self.spent = 0.0

    @property
    def waiting(self) -> float:
        """Share of the time so far in which the training step waited for its batch."""
        return self.waited / self.spent if self.spent else 0.0

    def over(self, batches: Iterator[PairBatch]) -> Iterator[Tensor]:
        """The crops of the batches."""
        while True:
            asked = perf_counter()
            batch = next(batches, None)
            self.waited += perf_counter() - asked
            if batch is None:
                return
            yield self.seen(batch)
            self.spent += perf_counter() - asked

    def seen(self, batch: PairBatch) -> Tensor:
        """The batch's crops."""
        console = Console(stderr=True, soft_wrap=True, quiet=not self.run.writes)
        if new := set(batch.broken) - self.broken:
            self.broken |= new
            for index in sorted(new):
                console.print(f"{self.learning[index]}: cannot be read; skipped", highlight=False)
            self.run.write_table("skipped.csv", [{"path": str(self.learning[i])} for i in sorted(self.broken)])
        if not self.said and bool(batch.small.any()):
            self.said = True
            console.print("some photos are smaller than a crop, at full or half scale: padded", highlight=False)
        return batch.crops
