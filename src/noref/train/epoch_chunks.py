"""The steps of a long pass over photos, cut into chunks between checkpoints, and what happens to the data meanwhile."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from rich.console import Console
from torch import Tensor

from noref.data.pairs import PairBatch, Pairs, pair_batches
from noref.errors import DataError
from noref.train.run_folder import Run


@dataclass(frozen=True)
class EpochChunks:
    """How a run's steps are cut into epochs, which are passes over the photos, and those into chunks."""

    chunk: int  # steps between two checkpoints
    epoch: int  # steps of a pass
    total: int  # steps in all
    pairs: int  # in a step

    @classmethod
    def of(cls, photos: int, *, pairs: int, most: int, epochs: int, steps: int | None) -> EpochChunks:
        """Of so many photos: an epoch is cut into equal chunks of at most `most` steps; `steps` None: of all epochs.

        Raises:
            DataError: the photos do not fill a batch.
        """
        whole = photos // pairs
        if not whole:
            raise DataError(f"{photos} photos do not fill a batch of {pairs} pairs")
        chunks = math.ceil(whole / most)
        epoch = whole // chunks * chunks
        return cls(epoch // chunks, epoch, steps or epochs * epoch, pairs)

    @property
    def count(self) -> int:
        """Chunks in all."""
        return math.ceil(self.total / self.chunk)

    def batches(self, number: int, pairs: Pairs, workers: int) -> Iterator[PairBatch]:
        """The batches of one chunk, the same whenever they are asked for."""
        epoch, start = divmod(number * self.chunk, self.epoch)
        stop = start + min(self.chunk, self.total - number * self.chunk)
        return pair_batches(pairs, batch=self.pairs, number=epoch, start=start, stop=stop, workers=workers)


class DataMonitor:
    """Counts unreadable photos, says once that some are smaller than a crop, and times the waiting for data.

    Args:
        photos: in the order that batches number them.
        run: gets skipped.csv.
    """

    def __init__(self, photos: list[Path], run: Run) -> None:
        self.photos, self.run, self.broken, self.said = photos, run, set[int](), False
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
                console.print(f"{self.photos[index]}: cannot be read; skipped", highlight=False)
            self.run.write_table("skipped.csv", [{"path": str(self.photos[i])} for i in sorted(self.broken)])
        if not self.said and bool(batch.small.any()):
            self.said = True
            console.print("some photos are smaller than a crop, at full or half scale: padded", highlight=False)
        return batch.crops
