"""Pairs of photos that are made worse in the same way: two images, one degradation, crops at full and at half scale.

What makes them worse is a callable that this module is given; it knows no degradation. All chance is a pure function
of (seed, pass, place): any number of workers, and a resumed run, see the same pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor
from torch.utils.data import Dataset

from noref.card import Preprocessing
from noref.data.loading import Batches, ImageCache
from noref.data.loading import Image as Image
from noref.errors import DataError, ImageError, OptionError

Degrade = Callable[[Image, Generator], NDArray[np.uint8]]
Draw = Callable[[Generator], Degrade]
Pad = Literal["reflect", "zero"]
TRIES = 20  # photos drawn in place of broken ones before it is the folder that is broken


class PairBatch(NamedTuple):
    """N pairs, or one without the leading N."""

    crops: Tensor  # (N, V, 2, 3, S, S) uint8 RGB; V scales, full first, then half where there is one; 2 images
    small: Tensor  # (N,) how many of the pair's images had to be padded to fill a crop
    broken: tuple[int, ...]  # photos that could not be read and were replaced, by their place in the list


class Pairs(Dataset[PairBatch]):
    """The pair of each photo with another one, drawn afresh in every pass.

    The degradation is drawn once for a pair: kinds and levels are shared. What is random inside it, such as the
    noise itself or the angle of a blur, is drawn for each image and scale on its own. Crops are cut first.

    Args:
        photos: image files; an unreadable one is replaced by another and reported in `broken`.
        draw: generator -> a function (crop, generator) -> degraded crop, (S, S, 3) uint8 both.
        size: side of the crops in pixels.
        half: whether there are crops of the image at half its size too, at places of their own.
        same_image: both crops from one photo, instead of from two.
        pad: as for `random_crop`.
        max_pixels: larger photos are shrunk to this many pixels; None: never.
        seed: with pass and place it decides everything.
        cache_bytes: size of the `ImageCache`.

    Raises:
        OptionError: a number that makes no sense.
        DataError: no photo, or one alone where two are wanted.
    """

    def __init__(
        self,
        photos: Sequence[Path],
        *,
        draw: Draw,
        size: int = 224,
        half: bool = True,
        same_image: bool = False,
        pad: Pad = "reflect",
        max_pixels: int | None = None,
        seed: int = 0,
        cache_bytes: int = 2 << 30,
    ) -> None:
        if size < 8 or seed < 0 or pad not in ("reflect", "zero"):
            raise OptionError(f"no pairs of crops with size {size}, seed {seed}, pad {pad!r}")
        if len(photos) < (1 if same_image else 2):
            raise DataError(f"{len(photos)} photos make no pair")
        self.photos, self.draw, self.size, self.half, self.pad = list(photos), draw, size, half, pad
        self.same_image, self.seed, self.passed = same_image, seed, 0
        self._cache = ImageCache(self.photos, Preprocessing(max_pixels=max_pixels, min_side=1), cache_bytes)

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> PairBatch:
        """The pair of one photo; a DataError where most photos cannot be read."""
        rng = np.random.default_rng([self.seed, self.passed, index])
        broken: list[int] = []
        first, taken = self._readable(index, rng, broken, but=None)
        second = first if self.same_image else self._readable(None, rng, broken, but=taken)[0]
        degrade = self.draw(rng)
        scales, small = [], 0
        for image in (first, second):
            sizes = [image, half_size(image)] if self.half else [image]
            small += min(sizes[-1].shape[:2]) < self.size
            cut = [random_crop(scaled, rng, size=self.size, pad=self.pad) for scaled in sizes]
            scales.append([degrade(crop, rng) for crop in cut])
        crops = np.stack([np.stack(views) for views in zip(*scales, strict=True)]).transpose(0, 1, 4, 2, 3)
        return PairBatch(torch.from_numpy(np.ascontiguousarray(crops)), torch.tensor(small), tuple(broken))

    def set_pass(self, number: int) -> None:
        """From now on the pairs are those of this pass over the photos."""
        self.passed = number

    def preload(self) -> int:
        """As that of `ImageCache`, without the unreadable photos."""
        return self._cache.preload(skip_broken=True)

    def _readable(self, index: int | None, rng: Generator, broken: list[int], *, but: int | None) -> tuple[Image, int]:
        """The photo at `index`; where there is none, or it cannot be read, another one by chance."""
        for _ in range(TRIES):
            if index is None:
                index = int(rng.integers(len(self.photos) - (but is not None)))
                index += but is not None and index >= but
            try:
                return self._cache[index], index
            except ImageError as error:
                broken.append(index)
                index, reason = None, error
        raise DataError(f"{TRIES} photos in a row cannot be read; the last: {reason}")


def hold_out(found: list[Path], count: int, seed: int) -> tuple[list[Path], list[Path]]:
    """Photos that train, and `count` that never do, by the seed, in their order; a DataError where none would train."""
    if count >= len(found):
        raise DataError(f"{count} photos held out of {len(found)} leave none to train on")
    apart = set(np.random.default_rng([7, seed]).permutation(len(found))[:count].tolist())
    return [p for i, p in enumerate(found) if i not in apart], [p for i, p in enumerate(found) if i in apart]


def half_size(image: Image) -> Image:
    """The image at half its width and height, rounded down, by Pillow's bicubic filter (a = -0.5, antialiased).

    Source:
        The filter that ARNIQA was trained and tested with; other toolkits use three others on its weights.
    """
    height, width = image.shape[:2]
    size = (max(1, width // 2), max(1, height // 2))
    return np.asarray(Pillow.fromarray(image).resize(size, Pillow.Resampling.BICUBIC))


def random_crop(image: Image, rng: Generator, *, size: int, pad: Pad = "reflect") -> Image:
    """A square at a uniform place; where the image is smaller, a square that holds all of that side.

    With black around it the smaller image always lies at the square's top left, as the authors have it.

    Args:
        image: (H, W, 3).
        rng: where the place comes from.
        size: side of the square in pixels.
        pad: what lies beyond the border: the image mirrored at it (the border row is not repeated), or black.
    """
    least = [0 if pad == "zero" else min(0, side - size) for side in image.shape[:2]]
    most = [max(0, side - size) for side in image.shape[:2]]
    starts = [int(rng.integers(a, b, endpoint=True)) for a, b in zip(least, most, strict=True)]
    return cut(image, starts[0], starts[1], size=size, pad=pad)


def cut(image: Image, top: int, left: int, *, size: int, pad: Pad = "reflect") -> Image:
    """The square from (top, left) on, which may lie outside of the image: (size, size, 3).

    Example:
        >>> cut(np.arange(3, dtype=np.uint8).reshape(1, 3, 1), 0, -1, size=4)[0, :, 0]
        array([1, 0, 1, 2], dtype=uint8)
    """
    rows, columns = (np.arange(start, start + size) for start in (top, left))
    found = image[mirrored(rows, image.shape[0])][:, mirrored(columns, image.shape[1])]
    if pad == "zero":
        inside = [(place >= 0) & (place < side) for place, side in zip((rows, columns), image.shape[:2], strict=True)]
        found = found * np.logical_and.outer(*inside)[..., None].astype(image.dtype)
    return found


def mirrored(places: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Places on a line that is continued by its mirror image at both ends -> places on the line itself.

    Example:
        >>> mirrored(np.arange(-3, 6), 3)
        array([1, 2, 1, 0, 1, 2, 1, 0, 1])
    """
    period = max(1, 2 * (length - 1))
    folded = places % period
    return np.minimum(folded, period - folded) if length > 1 else np.zeros_like(places)


def pair_batches(
    pairs: Pairs, *, batch: int, number: int, start: int = 0, stop: int | None = None, workers: int = 0
) -> Iterator[PairBatch]:
    """Batches of one pass over the photos, in an order of its own; what does not fill a batch is left out.

    Args:
        pairs: where they come from.
        batch: pairs in a batch.
        number: of the pass; also decides the order.
        start: the first batch wanted, for a run that goes on in the middle; `stop` is the first not wanted.
        workers: as for `Batches`.

    Raises:
        DataError: fewer photos than a batch, or, while iterating, too many unreadable ones.
    """
    order = np.random.default_rng([pairs.seed, number]).permutation(len(pairs))
    places = [[int(i) for i in order[at : at + batch]] for at in range(0, len(pairs) - batch + 1, batch)]
    if not places:
        raise DataError(f"{len(pairs)} photos do not fill a batch of {batch} pairs")
    pairs.set_pass(number)
    yield from Batches(pairs, places[start:stop], _collate, workers)


def _collate(items: Sequence[PairBatch]) -> PairBatch:
    crops, small, broken = zip(*items, strict=True)
    return PairBatch(torch.stack(crops), torch.stack(small), tuple(sorted({i for found in broken for i in found})))
