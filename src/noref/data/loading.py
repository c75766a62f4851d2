"""From records to crops: each image is decoded once an epoch and all its crops come together.

Crops are (C, S, S, 3) uint8 inside views and (C, 3, S, S) uint8 in what the loader gives, RGB, C crops of an image.
All chance is a pure function of (seed, epoch, index): any number of workers, and a resumed run, see the same crops.
"""

from __future__ import annotations

import copy
import dataclasses
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from noref import images
from noref.card import Preprocessing
from noref.data.records import Record
from noref.errors import DataError, ImageError, NorefError, OptionError, unknown

Image = NDArray[np.uint8]
View = Callable[[Image, Generator], NDArray[np.uint8]]
Protocol = Literal["grid", "paper"]
Item = TypeVar("Item")
Collate = Callable[[Sequence[Item]], Item]
PAPER_CROPS = 10


class Batch(NamedTuple):
    """What the loader gives for N images, and the dataset for one, without the leading N."""

    crops: Tensor  # (N, C, 3, S, S) uint8 RGB
    quality: Tensor  # (N,) float32 in [0, 1], 1 is best; NaN for an image without a score
    indices: Tensor  # (N,) int64 place in the dataset's list of records


def random_crops(image: Image, rng: Generator, *, size: int, count: int, flip: bool) -> NDArray[np.uint8]:
    """`count` square crops at uniform places, (count, size, size, 3); with `flip` half of them are mirrored left-right.

    Both sides of the image are at least `size`.
    """
    free = np.array(image.shape[:2]) - size + 1
    crops = []
    for down, right, turn in rng.random((count, 3)):  # a row a crop: crop h is the same however many come behind it
        top, left = (np.array([down, right]) * free).astype(int)
        crop = image[top : top + size, left : left + size]
        crops.append(crop[:, ::-1] if flip and turn < 0.5 else crop)
    return np.stack(crops)


def grid_crops(image: Image, rng: Generator, *, size: int) -> NDArray[np.uint8]:
    """Square crops on the grid of `images.grid`, which reaches every border; no chance in it."""
    corners = images.grid(image.shape[0], image.shape[1], size)
    return np.stack([image[top : top + size, left : left + size] for top, left in corners])


def whole_image(image: Image, rng: Generator, *, flip: bool) -> NDArray[np.uint8]:
    """The image itself as its only crop, mirrored left-right with probability 1/2 if `flip`."""
    return image[None, :, ::-1] if flip and rng.random() < 0.5 else image[None]


def evaluation_crops(path: Path, rule: Preprocessing) -> NDArray[np.uint8]:
    """(C, S, S, 3), an image the input of a network at test: crops of a grid, or the image as its only one."""
    view = _view(rule.crop, 1, train=False, protocol="grid")
    return view(images.read(path, preprocessing=rule), np.random.default_rng(0))  # no chance in it


class ImageCache:
    """Decoded images, kept in memory up to a size; a worker process has its share of it.

    Args:
        paths: image files.
        rule: how they are resized.
        size: in bytes, of all workers together.
    """

    def __init__(self, paths: Sequence[Path], rule: Preprocessing, size: int) -> None:
        self.paths, self.rule, self._left = paths, rule, size
        self._images: dict[int, Image] = {}

    def __getitem__(self, index: int) -> Image:
        """(H, W, 3) uint8, not to be written to; an ImageError that names the file where it cannot be read."""
        if index in self._images:
            return self._images[index]
        image, worker = images.read(self.paths[index], preprocessing=self.rule), get_worker_info()
        share = image.nbytes * (worker.num_workers if worker else 1)
        if share <= self._left:
            self._left -= share
            self._images[index] = image
        return image

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_images": {}}  # a spawned worker fills its own

    def preload(self, *, skip_broken: bool = False) -> int:
        """Decode images in this process until the cache is full; forked workers then share it. Returns how many."""

        def decode(index: int) -> int:
            with suppress(*([ImageError] if skip_broken else [])):
                return self[index].nbytes
            return 0

        with ThreadPoolExecutor(2) as pool:
            for start in range(0, len(self.paths), 64):
                if self._left < max(pool.map(decode, range(start, min(start + 64, len(self.paths))))):
                    break
        return len(self._images)


class Crops(Dataset[Batch]):
    """The crops of each record's image, with its quality.

    Args:
        records: rated images; a bare path is an image without a score.
        size: side of a crop in pixels; None: the whole image is the only crop.
        crops: number of random crops of an image in training.
        seed: with epoch and index it decides every random crop.
        preprocessing: the resize rule; its `crop` is replaced by `size`, to which smaller images are enlarged.
        train: random crops, mirrored by chance, new ones every epoch. Otherwise `protocol` decides.
        protocol: "grid", deterministic, every border reached; or "paper", ten random crops, the same in every epoch.
        view: takes the place of all these crops: (H, W, 3) and a generator -> (C, h, w, 3). Must be picklable
            where workers are started by spawning.
        cache_bytes: decoded images are kept in memory up to this size (of all workers together).

    Raises:
        OptionError: no records, or a number or protocol that makes no sense.
    """

    def __init__(
        self,
        records: Sequence[Record | Path],
        *,
        size: int | None,
        crops: int = 10,
        seed: int = 0,
        preprocessing: Preprocessing | None = None,
        train: bool = True,
        protocol: Protocol = "grid",
        view: View | None = None,
        cache_bytes: int = 2 << 30,
    ) -> None:
        if not records or crops < 1 or seed < 0 or (size is not None and size < 1):
            raise OptionError(f"no crops from {len(records)} records with size {size}, crops {crops}, seed {seed}")
        self.records = list(records)
        self.preprocessing = dataclasses.replace(preprocessing or Preprocessing(), crop=size)
        self.view = view or _view(size, crops, train, protocol)
        self.seed, self.epoch, self._varies = seed, 0, train
        self.cycle: int | None = None  # after so many epochs the random crops come again
        paths = [record.path if isinstance(record, Record) else record for record in records]
        self._cache = ImageCache(paths, self.preprocessing, cache_bytes)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Batch:
        """All crops of one image; raises an ImageError where it cannot be read."""
        record = self.records[index]
        rng = np.random.default_rng([self.seed, self.epoch if self._varies else 0, index])
        crops = np.ascontiguousarray(self.cut(index, rng).transpose(0, 3, 1, 2))
        quality = record.quality if isinstance(record, Record) else float("nan")
        return Batch(torch.from_numpy(crops), torch.tensor(quality, dtype=torch.float32), torch.tensor(index))

    def cut(self, index: int, rng: Generator) -> NDArray[np.uint8]:
        """The (C, S, S, 3) crops of one image; `rng` is where all their chance comes from."""
        return self.view(self.image(index), rng)

    def through(self, view: View) -> Crops:
        """The same images, and those that are decoded already, seen through another view, the same in every epoch."""
        other = Crops(self.records, size=self.preprocessing.crop, seed=self.seed, train=False, view=view)
        other.preprocessing, other._cache = self.preprocessing, self._cache
        return other

    def set_epoch(self, epoch: int) -> None:
        """From now on the random crops are those of this epoch; no effect outside of training."""
        self.epoch = epoch % self.cycle if self.cycle else epoch

    def state(self, places: Sequence[int]) -> Any:
        """What changes between epochs and decides the crops of these images, for `restore` in another process."""
        return self.epoch

    def restore(self, state: Any, places: Sequence[int]) -> None:
        """From now on crops are those of a `state` of the same places."""
        self.epoch = state

    def image(self, index: int) -> Image:
        """The decoded image, resized by the preprocessing rule: (H, W, 3) uint8; not to be written to."""
        return self._cache[index]

    def preload(self) -> int:
        """Decode images in this process until the cache is full; forked workers then share it. Returns how many."""
        return self._cache.preload()


def _view(size: int | None, crops: int, train: bool, protocol: str) -> View:
    if protocol not in ("grid", "paper"):
        raise unknown("test protocol", protocol, ("grid", "paper"))
    if size is None:
        return partial(whole_image, flip=train)
    if train:
        return partial(random_crops, size=size, count=crops, flip=True)
    if protocol == "paper":
        return partial(random_crops, size=size, count=PAPER_CROPS, flip=False)
    return partial(grid_crops, size=size)


class Batches(Generic[Item]):
    """Batches of a dataset, each a list of places in it; `len` is how many. Errors of a worker arrive as they are.

    `collate` makes a batch of items. `workers` processes decode; with 0 this one does.
    """

    def __init__(
        self, dataset: Dataset[Item], batches: Sequence[Sequence[int]], collate: Collate[Item], workers: int
    ) -> None:
        self._loader: DataLoader[Any] = DataLoader(
            batches,  # type: ignore[arg-type]
            batch_size=None,
            num_workers=workers,
            collate_fn=partial(_batch, dataset, collate),
            generator=torch.Generator(),  # torch's own would move with every loader that is made
            worker_init_fn=_ignore_interrupts,
        )

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Item]:
        for batch in self._loader:
            if isinstance(batch, NorefError):
                raise batch
            yield batch


Loader = Batches[Batch]


class EpochLoader:
    """Batches of one epoch after the other, cut by worker processes that live through all of them.

    Args:
        dataset: where the images come from; what changes between epochs travels with every batch.
        workers: processes that decode and cut; 0: this one.
        pin: batches lie in page-locked memory, from which a GPU copies while it computes.
    """

    def __init__(self, dataset: Crops, *, workers: int = 0, pin: bool = False) -> None:
        self._dataset = dataset
        self._tasks: list[tuple[Any, Sequence[int]]] = []
        self._loader: DataLoader[Any] = DataLoader(
            _Tasks(dataset),
            batch_size=None,
            sampler=self._tasks,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin,
            generator=torch.Generator(),
            worker_init_fn=_ignore_interrupts,
        )

    def load(self, passes: Sequence[tuple[int, Sequence[Sequence[int]]]]) -> Iterator[Batch]:
        """The batches of several passes over the images, each a number, by which crops differ, and its batches.

        Raises:
            ImageError: while iterating, an unreadable image; names the file.
        """
        self._tasks.clear()
        for number, batches in passes:
            self._dataset.set_epoch(number)
            self._tasks += [(self._dataset.state(places), places) for places in batches]
        for batch in self._loader:
            if isinstance(batch, NorefError):
                raise batch
            yield batch


class _Tasks(Dataset[Any]):
    """A batch, or an error instead, of what the loader is told to do."""

    def __init__(self, dataset: Crops) -> None:
        self.dataset = copy.copy(dataset)  # with its decoded images, but an epoch of its own

    def __getitem__(self, task: tuple[Any, Sequence[int]]) -> Any:
        self.dataset.restore(*task)
        return _batch(self.dataset, _collate, task[1])


def _batch(dataset: Dataset[Item], collate: Collate[Item], places: Sequence[int]) -> Any:
    """A batch, or an error instead: one raised in a worker reaches the user as a traceback in a message."""
    try:
        return collate([dataset[place] for place in places])
    except NorefError as error:
        return error


def _ignore_interrupts(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; the main one decides when to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def make_loader(
    dataset: Crops,
    *,
    batch_images: int,
    seed: int = 0,
    epoch: int = 0,
    shuffle: bool = True,
    start_batch: int = 0,
    workers: int = 0,
    drop_last: bool = False,
    rank: int = 0,
    ranks: int = 1,
) -> Loader:
    """The batches of one epoch, from `start_batch` on: make one loader an epoch, or use `EpochLoader`.

    It also calls `dataset.set_epoch(epoch)`.

    Args:
        dataset: where the images come from.
        batch_images: as for `pass_batches`, like all that is not listed here.
        start_batch: batches of this epoch that were done before an interruption.
        workers: as for `Batches`.

    Raises:
        OptionError: a number that makes no sense.
        DataError: not one batch to be had.
        ImageError: while iterating, an unreadable image; names the file.
    """
    if min(start_batch, workers) < 0:
        raise OptionError(f"no batches from {start_batch} on by {workers} workers")
    batches = pass_batches(
        len(dataset),
        batch_images=batch_images,
        seed=seed,
        epoch=epoch,
        shuffle=shuffle,
        drop_last=drop_last,
        rank=rank,
        ranks=ranks,
    )
    dataset.set_epoch(epoch)
    return Loader(dataset, batches[start_batch:], _collate, workers)


def pass_batches(
    count: int,
    *,
    batch_images: int,
    seed: int = 0,
    epoch: int = 0,
    shuffle: bool = True,
    drop_last: bool = False,
    rank: int = 0,
    ranks: int = 1,
) -> list[list[int]]:
    """The images of each batch of one pass over `count` images: a pure function of its arguments.

    Args:
        count: of images.
        batch_images: images (not crops) in a batch, of each process.
        seed: with `epoch` it decides the order.
        epoch: see `seed`.
        shuffle: false: in the order of the records.
        drop_last: leave out what does not fill a batch of all processes; needed when several train together.
        rank: this process among the `ranks` that train together.
        ranks: how many there are.

    Raises:
        OptionError: a number that makes no sense.
        DataError: not one batch to be had: fewer records than a batch, and `drop_last`.
    """
    if batch_images < 1 or min(seed, epoch) < 0 or not 0 <= rank < ranks:
        raise OptionError(f"no batches of {batch_images} images, seed {seed}, epoch {epoch}, rank {rank} of {ranks}")
    order = np.random.default_rng([seed, epoch]).permutation(count) if shuffle else np.arange(count)
    used = count - count % (batch_images * ranks) if drop_last else count
    if used == 0:
        raise DataError(f"{count} images do not fill one batch of {batch_images * ranks}")
    mine = [int(index) for index in order[:used][rank::ranks]]
    return [mine[at : at + batch_images] for at in range(0, len(mine), batch_images)]


def _collate(items: Sequence[Batch]) -> Batch:
    shapes = {tuple(item.crops.shape) for item in items}
    if len(shapes) > 1:
        raise DataError(f"images of one batch give crops of shapes {sorted(shapes)}: use batch_images=1")
    return Batch(*(torch.stack(parts) for parts in zip(*items, strict=True)))
