"""Blur and noise: the first and the fourth group of the degradation model.

Every distortion of this package is a function `f(image, value, rng) -> image`. `image` is (H, W, 3) float32 RGB in
[0, 1] and is not changed; the result is a new array that may leave [0, 1], which the caller clips.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache

import cv2
import numpy as np
from numpy.random import Generator
from scipy.special import ndtri

from noref.degrade.filters import Image, as_image, blurred, constant, filtered, gaussian_taps

# RGB change per unit of (Y, Cb, Cr): the inverse of the JFIF / BT.601 full-range matrix.
_YCBCR_TO_RGB = np.array([[1.0, 0.0, 1.402], [1.0, -0.344136, -0.714136], [1.0, 1.772, 0.0]], dtype=np.float32)


def gaussian_blur(image: Image, sigma: float, _rng: Generator) -> Image:
    """Blur by a Gaussian of `sigma` pixels, 2 * ceil(2 * sigma) + 1 taps as in MATLAB's fspecial, border replicated."""
    return blurred(image, gaussian_taps(sigma))


def lens_blur(image: Image, radius: float, _rng: Generator) -> Image:
    """Blur by a disk of `radius` pixels, an out-of-focus lens, the border replicated."""
    return filtered(image, disk_kernel(radius))


def motion_blur(image: Image, length: float, rng: Generator) -> Image:
    """Blur along a line of `length` pixels at a random whole angle in [0, 180) degrees, the border replicated."""
    return filtered(image, motion_kernel(length, int(rng.integers(180))))


def white_noise(image: Image, variance: float, rng: Generator) -> Image:
    """Add Gaussian noise of `variance` (image in [0, 1]), independent per pixel and channel."""
    return image + normal(image.shape, math.sqrt(variance), rng)


def white_noise_color(image: Image, variance: float, rng: Generator) -> Image:
    """Add Gaussian noise of `variance` to Y, Cb and Cr; since YCbCr is linear in RGB, only the noise is converted."""
    noise = cv2.transform(normal(image.shape, math.sqrt(variance), rng), _YCBCR_TO_RGB)
    return as_image(cv2.add(image, noise))


def impulse_noise(image: Image, fraction: float, rng: Generator) -> Image:
    """Set a `fraction` of the samples (not of the pixels) to 1 or 0, half and half."""
    result = image.copy()
    count = round(fraction * image.size)
    places = rng.choice(image.size, count, replace=False, shuffle=False)
    result.reshape(-1)[places] = rng.permutation(np.arange(count) < count // 2)
    return result


def multiplicative_noise(image: Image, variance: float, rng: Generator) -> Image:
    """Add x times Gaussian noise of `variance` to every sample x: speckle, absent in the dark."""
    return image * (normal(image.shape, math.sqrt(variance), rng) + np.float32(1))


@cache
def disk_kernel(radius: float) -> Image:
    """A disk of `radius` pixels: each weight is the pixel's area inside the circle; they sum to 1."""
    reach = math.ceil(radius - 0.5)
    side, fine = 2 * reach + 1, 256  # the area is a sum over 256 vertical lines a pixel, each of exact length
    across = (np.arange(side * fine) + 0.5) / fine - side / 2
    half_height = np.sqrt(np.maximum(radius**2 - across**2, 0.0))
    rows = np.arange(side)[:, None] - reach
    covered = np.minimum(rows + 0.5, half_height) - np.maximum(rows - 0.5, -half_height)
    area = np.maximum(covered, 0.0).reshape(side, side, fine).mean(axis=2)
    return constant(area / area.sum())


@cache
def motion_kernel(length: float, angle: int) -> Image:
    """A line of `length` pixels at `angle` degrees from the x axis, counter-clockwise; the weights sum to 1.

    As MATLAB's fspecial('motion'): a weight is 1 minus the pixel's distance to the line segment, at least 0.
    """
    half = (max(1.0, length) - 1) / 2
    reach = math.ceil(half)
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    y, x = np.mgrid[reach : -reach - 1 : -1, -reach : reach + 1]
    aside, along = np.abs(y * cosine - x * sine), np.abs(x * cosine + y * sine)
    distance = np.where(np.hypot(x, y) >= half, np.hypot(aside, half - along), aside)
    weights = np.maximum(1.0 - distance, 0.0)
    return constant(weights / weights.sum())


def normal(shape: tuple[int, ...], deviation: float, rng: Generator) -> Image:
    """Gaussian noise of mean 0 and standard `deviation`, float32.

    Each sample is one of 65536 equally likely quantiles, rescaled to the exact variance; the largest is 4.3 deviations.
    Several times faster than `rng.standard_normal`, without a difference that one can see.
    """
    size = math.prod(shape)
    words = rng.integers(0, np.iinfo(np.uint64).max, size=-(-size // 4), dtype=np.uint64, endpoint=True)
    return np.take(_quantiles(deviation), words.view(np.uint16)[:size].reshape(shape), mode="clip")


@lru_cache(maxsize=32)
def _quantiles(deviation: float) -> Image:
    values = ndtri((np.arange(65536) + 0.5) / 65536)
    return constant(values * (deviation / values.std()))
