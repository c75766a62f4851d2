"""The image type of the degradation model, and the filters that several distortions share."""

from __future__ import annotations

import math
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]


def filtered(image: Image, kernel: Image) -> Image:
    """Correlate an (H, W) or (H, W, C) image with an (h, w) kernel, the border replicated."""
    return as_image(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REPLICATE))


def blurred(image: Image, taps: Image) -> Image:
    """Correlate an (H, W) or (H, W, C) image with `taps` along both axes, the border replicated."""
    return as_image(cv2.sepFilter2D(image, -1, taps, taps, borderType=cv2.BORDER_REPLICATE))


@cache
def gaussian_taps(sigma: float, radius: int | None = None) -> Image:
    """One axis of a Gaussian kernel: (2 * radius + 1,) weights that sum to 1; radius ceil(2 * sigma) if not given."""
    radius = math.ceil(2 * sigma) if radius is None else radius
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-(offsets**2) / (2 * sigma**2))
    return constant(weights / weights.sum())


def constant(values: NDArray[np.float64]) -> Image:
    """The values as a float32 array that is read-only, so that it can be cached."""
    result = np.ascontiguousarray(values, dtype=np.float32)
    result.flags.writeable = False
    return result


def as_image(result: object) -> Image:
    """What OpenCV returned, with a type that type checkers know."""
    return np.asarray(result, dtype=np.float32)
