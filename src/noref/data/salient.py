"""An image's random crops with its salient region beside them, and the whole image as the input of the attention model.

A window is M x M cells of a 14 x 14 grid over the whole image, whatever its shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image as Pillow

from noref.card import Preprocessing
from noref.data.loading import Crops, Image
from noref.data.records import Record
from noref.errors import OptionError
from noref.images import FILTERS

GRID = 14


def region(height: int, width: int, row: int, column: int, size: int) -> tuple[slice, slice]:
    """Rows and columns of the pixels whose centres lie in a window of `size` x `size` cells, first cell (row, column).

    Example:
        >>> region(28, 42, 0, 6, 8)
        (slice(0, 16, None), slice(18, 42, None))
    """
    rows = slice(_edge(row, height), _edge(row + size, height))
    return rows, slice(_edge(column, width), _edge(column + size, width))


def _edge(cell: int, length: int) -> int:
    """The first pixel whose centre, half a pixel on, does not lie before a cell's border: in whole numbers."""
    return max(0, -((GRID - 2 * cell * length) // (2 * GRID)))


def squashed(image: Image, side: int, resample: str = "bicubic") -> Image:
    """(H, W, 3) -> (side, side, 3); the aspect is lost."""
    return np.asarray(Pillow.fromarray(image).resize((side, side), FILTERS[resample]))


def whole(image: Image, rng: Generator, *, side: int, resample: str = "bicubic") -> NDArray[np.uint8]:
    """A view for `Crops`: the whole image, squashed, as its only crop."""
    return squashed(image, side, resample)[None]


class SalientCrops(Crops):
    """The random crops of each image, and behind them its salient region, brought to their size.

    The region is cut from the image at the size at which the crops are cut, its aspect is lost like that of the whole
    image in `views`, and it is mirrored by chance as they are. The random crops are those of `Crops`.

    Args:
        records: as for `Crops`, like all that is not listed here.
        crops: H, without the salient one.
        window: M, cells of a 14 x 14 grid.

    Raises:
        OptionError: a window that does not fit, or what `Crops` finds wrong.
    """

    def __init__(
        self,
        records: Sequence[Record | Path],
        *,
        size: int,
        crops: int,
        seed: int = 0,
        preprocessing: Preprocessing | None = None,
        window: int = 8,
        cache_bytes: int = 2 << 30,
    ) -> None:
        if not 1 <= window <= GRID:
            raise OptionError(f"window must be 1 to {GRID} cells, got {window}")
        super().__init__(
            records, size=size, crops=crops, seed=seed, preprocessing=preprocessing, cache_bytes=cache_bytes
        )
        self.size, self.window = size, window
        # (M, 2) row and column of each image's window, for this epoch
        self.places: NDArray[np.int64] | Mapping[int, NDArray[np.int64]] | None = None

    def cut(self, index: int, rng: Generator) -> NDArray[np.uint8]:
        """(H + 1, S, S, 3), the salient one last; an OptionError before `places` are set."""
        if self.places is None:
            raise OptionError("salient crops need `places` before the first epoch")
        image, (row, column) = self.image(index), map(int, self.places[index])
        crops = self.view(image, rng)
        place = region(len(image), image.shape[1], row, column, self.window)
        salient = squashed(image[place], self.size, self.preprocessing.resample)
        return np.concatenate([crops, (salient[:, ::-1] if rng.random() < 0.5 else salient)[None]])

    def state(self, places: Sequence[int]) -> Any:
        """The epoch, and the windows of these images."""
        if self.places is None:
            raise OptionError("salient crops need `places` before the first epoch")
        return super().state(places), {index: self.places[index] for index in places}

    def restore(self, state: Any, places: Sequence[int]) -> None:
        """From now on crops are those of a `state` of the same places; the windows of other images are left out."""
        super().restore(state[0], places)
        self.places = state[1]

    def views(self, side: int) -> Crops:
        """The whole images in the order of the records, one crop each, sharing what is decoded."""
        return self.through(partial(whole, side=side, resample=self.preprocessing.resample))
