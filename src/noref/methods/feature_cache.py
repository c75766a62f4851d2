"""Crops as the frozen stages see them, kept on disk: what comes behind is then trained several times as fast.

The random crops of an image are drawn once (or `sets` times, for as many epochs) and computed once for all runs that
share split, seed, crops and frozen weights: the rows of a sweep. Crops that move, such as salient ones, go through the
frozen stages when they are needed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from filelock import FileLock
from lightning_fabric import Fabric
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from noref.data.loading import Batch, Crops, make_loader
from noref.data.records import Record
from noref.errors import OptionError
from noref.models.frozen_stages import TailNet
from noref.models.network import QualityNet
from noref.train.loop import Loaders
from noref.writing import replacing

if TYPE_CHECKING:
    from noref.methods.deiqt import Config

AT_ONCE = 4  # images


def kept(config: Config, loaders: Loaders, crops: Crops, network: nn.Module | Tensor, fabric: Fabric) -> Loaders:
    """The batches as a network wants them: as they are, or, for a `TailNet`, with maps from a bank.

    Args:
        config: its `bank`, `bank_sets` and `crops`.
        loaders: the batches.
        crops: what they are cut by.
        network: what is trained, bare.
        fabric: device and precision.

    Raises:
        OptionError: as `Bank` says.
    """
    if not isinstance(network, TailNet):
        return loaders
    bank = Bank(Path(config.bank), crops, network, count=config.crops, sets=config.bank_sets, fabric=fabric)
    return bank.through(loaders)


def cut(config: Config, network: QualityNet) -> QualityNet | TailNet:
    """What is trained: the network, or, if a bank is asked for, what comes behind its frozen stages."""
    return TailNet(network, config.frozen) if config.bank else network


def cut_alike(teacher: QualityNet, student: nn.Module | Tensor) -> QualityNet | TailNet:
    """A teacher as it looks at images again and again: cut like its student if their frozen stages are the same."""
    if not isinstance(student, TailNet):
        return teacher
    theirs = dict(teacher.backbone.named_parameters())
    frozen = [item for item in student.whole.backbone.named_parameters() if not item[1].requires_grad]
    if any(name not in theirs or not torch.equal(theirs[name], value) for name, value in frozen):
        return teacher
    return TailNet(teacher, student.stages)


def check(config: Config) -> None:
    """Refuse a bank that could not be.

    Raises:
        OptionError: says what it needs.
    """
    if config.bank and (config.frozen < 1 or config.together != config.crops):
        raise OptionError(
            "bank: needs frozen stages (--frozen 6: a MobileNetV2's up to stride 16), and that all crops of an image "
            f"come in one batch, together {config.together} = crops {config.crops}"
        )
    if config.bank and config.average:
        raise OptionError("bank: the averaged network cannot follow one that is cut; leave one of the two out")


class Bank:
    """The kept maps of fixed random crops.

    Args:
        folder: where banks are kept; made.
        crops: the random crops; their `cycle` is set to `sets`.
        network: whose first stages are frozen.
        count: H, random crops of an image.
        sets: after so many epochs the same crops come again.
        fabric: device and precision; one process.

    Raises:
        OptionError: several processes, or a number that makes no sense.
    """

    def __init__(self, folder: Path, crops: Crops, network: TailNet, *, count: int, sets: int, fabric: Fabric) -> None:
        if sets < 1 or fabric.world_size > 1:
            raise OptionError(f"a bank needs a single process and at least one set of crops, got {sets}")
        self.crops, self.network, self.count, self.sets, self.fabric = crops, network, count, sets, fabric
        crops.cycle = sets
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / f"bank-{self._key()}.npy"
        with FileLock(f"{self.file}.lock"):  # another run may want the same one
            if not self.file.exists():
                self._fill()
        self.maps: NDArray[np.int16] = np.load(self.file, mmap_mode="r")  # (sets, M, H, C, h, w), bfloat16 as bits

    def through(self, loaders: Loaders) -> Loaders:
        """The same batches with maps, (N, H or H + 1, C, h, w) bfloat16, in place of crops."""

        def beside(epoch: int, batches: Callable[[], Iterable[Batch]]) -> Iterator[Batch]:
            for batch in batches():
                kept = self.maps[epoch % self.sets, batch.indices.numpy()]
                maps = torch.from_numpy(kept).view(torch.bfloat16)
                moving = batch.crops[:, self.count :]
                if moving.shape[1]:
                    maps = torch.cat([maps, self._of_images(moving)], dim=1)
                yield batch._replace(crops=maps)

        return loaders.through(beside)

    def chill(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) uint8 -> (B, C, h, w) bfloat16, on the CPU."""
        with self.fabric.autocast():
            return self.network.frozen_features(self.fabric.to_device(images)).bfloat16().cpu()

    def _of_images(self, crops: Tensor) -> Tensor:
        """(N, K, 3, S, S) -> (N, K, C, h, w)."""
        found = self.chill(crops.flatten(0, 1))
        return found.view(*crops.shape[:2], *found.shape[1:])

    def _key(self) -> str:
        """Of everything that decides the maps: the files' bytes, where crops lie, the frozen weights."""
        found = hashlib.sha256()
        facts = (self.crops.preprocessing, self.crops.seed, self.count, self.sets, self.network.stages)
        found.update(repr((facts, self.network.whole.plan, self.fabric._precision.precision)).encode())
        for record in self.crops.records:
            found.update(hashlib.sha256((record.path if isinstance(record, Record) else record).read_bytes()).digest())
        backbone = self.network.whole.backbone
        frozen = [(name, value) for name, value in backbone.named_parameters() if not value.requires_grad]
        for name, value in (*frozen, *backbone.named_buffers()):  # batch norms' statistics never move
            found.update(name.encode() + value.detach().cpu().float().numpy().tobytes())
        return found.hexdigest()[:16]

    def _fill(self) -> None:
        plain = Crops(
            self.crops.records,
            size=self.crops.preprocessing.crop,
            crops=self.count,
            seed=self.crops.seed,
            preprocessing=self.crops.preprocessing,
            cache_bytes=0,
        )
        maps: np.memmap[Any, np.dtype[np.int16]] | None = None
        with replacing(self.file) as partial:
            for number in range(self.sets):
                batches = make_loader(plain, batch_images=AT_ONCE, epoch=number, shuffle=False)
                words = f"frozen stages, set {number + 1} of {self.sets}"
                for batch in track(batches, description=words, console=Console(stderr=True), total=len(batches)):
                    found = self._of_images(batch.crops)
                    if maps is None:
                        shape = (self.sets, len(plain), *found.shape[1:])
                        maps = np.lib.format.open_memmap(partial, mode="w+", dtype=np.int16, shape=shape)
                    maps[number, batch.indices.numpy()] = found.view(torch.int16).numpy()
            if maps is not None:
                maps.flush()
