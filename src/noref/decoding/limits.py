"""How large a picture may be, and that large ones are decoded one at a time."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

from noref.errors import ImageError

LARGE = 16_000_000  # pixels; larger images are decoded one at a time, whatever the number of threads
_one_large = threading.Lock()


class Limits(NamedTuple):
    """The budget in millions of pixels, the least side in pixels, and whether a margin is cut off first."""

    megapixels: float
    least_side: int
    trim: bool = False

    def budget(self, pixels: int) -> None:
        """Raise an `ImageError` for more pixels."""
        if pixels > self.megapixels * 1e6:
            raise ImageError(f"{pixels / 1e6:.0f} megapixels are over the budget of {self.megapixels:g}")

    def check(self, width: int, height: int) -> None:
        """Raise an `ImageError` for a size outside the limits."""
        self.budget(width * height)
        if min(width, height) < self.least_side:
            raise ImageError(f"{width} x {height} pixels are too few: the least side is {self.least_side}")


def one_large(pixels: int) -> AbstractContextManager[object]:
    """Wait here while another large image is decoded."""
    return _one_large if pixels > LARGE else nullcontext()
