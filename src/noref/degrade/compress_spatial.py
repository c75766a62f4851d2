"""Compression and spatial damage: two groups of the degradation model.

Functions `f(image, value, rng) -> image` as in `blur_noise`.
"""

from __future__ import annotations

import io

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image as PillowImage

from noref.degrade.blur_noise import normal
from noref.degrade.filters import Image


def jpeg2000(image: Image, ratio: float, _rng: Generator) -> Image:
    """Compress by JPEG 2000 at `ratio` times fewer bytes, 8 resolutions (fewer where a side is below 128 pixels)."""
    buffer = io.BytesIO()
    resolutions = min(8, min(image.shape[:2]).bit_length())
    options = {"quality_mode": "rates", "num_resolutions": resolutions, "progression": "LRCP"}
    PillowImage.fromarray(_bytes(image)).save(buffer, "JPEG2000", quality_layers=[ratio], **options)
    with PillowImage.open(buffer) as decoded:
        return np.asarray(decoded) * np.float32(1 / 255)


def jpeg(image: Image, quality: float, _rng: Generator) -> Image:
    """Compress by baseline JPEG at `quality` (1 to 100), chroma at half resolution."""
    swapped = cv2.cvtColor(_bytes(image), cv2.COLOR_RGB2BGR)
    _, stream = cv2.imencode(".jpg", swapped, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    decoded = np.asarray(cv2.imdecode(stream, cv2.IMREAD_COLOR), dtype=np.uint8)
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)) * np.float32(1 / 255)


def jitter(image: Image, scale: float, rng: Generator) -> Image:
    """Five times, take each pixel from a place a Gaussian step of `scale` pixels away, bilinear, border replicated."""
    height, width = image.shape[:2]
    x = np.arange(width, dtype=np.float32)[None, :]
    y = np.arange(height, dtype=np.float32)[:, None]
    moved = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)  # OpenCV moves four channels in half the time of three
    for _ in range(5):
        step = normal((2, height, width), scale, rng)
        moved = cv2.remap(moved, x + step[0], y + step[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.cvtColor(moved, cv2.COLOR_RGBA2RGB), dtype=np.float32)


def non_eccentricity_patch(image: Image, patches: float, rng: Generator) -> Image:
    """Copy `patches` squares of 16 x 16 pixels, one after the other, to places up to 8 pixels away."""
    result = image.copy()
    height, width = image.shape[:2]
    side = min(16, min(height, width) // 2)
    limits = np.array([height - side, width - side])
    margin = np.minimum(16, limits // 2)
    starts = rng.integers(margin, limits - margin, size=(int(patches), 2), endpoint=True)
    targets = np.clip(starts + rng.integers(-8, 8, size=starts.shape, endpoint=True), 0, limits)
    for (top, left), (down, right) in zip(starts.tolist(), targets.tolist(), strict=True):
        result[down : down + side, right : right + side] = result[top : top + side, left : left + side].copy()
    return result


def pixelate(image: Image, strength: float, _rng: Generator) -> Image:
    """Shrink to 0.95 - strength ** 0.6 of the size and enlarge again, both by nearest neighbour."""
    for axis, size in enumerate(image.shape[:2]):
        small = max(1, int(size * (0.95 - strength**0.6)))
        sources = np.arange(small) * size // small  # of the pixels of the small image
        image = np.take(image, sources[np.arange(size) * small // size], axis=axis)
    return image


def quantization(image: Image, levels: float, _rng: Generator) -> Image:
    """Round up to one of `levels` steps: ceil(x * levels) / levels."""
    steps = image * np.float32(levels) - np.float32(1e-5)  # a sample on a step stays there, however float32 rounds it
    result: Image = np.ceil(steps) / np.float32(levels)
    return result


def color_block(image: Image, blocks: float, rng: Generator) -> Image:
    """Paint `blocks` squares of 32 x 32 pixels, each of one random colour, at random places."""
    result = image.copy()
    height, width = image.shape[:2]
    side = min(32, min(height, width) // 2)
    for _ in range(int(blocks)):
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        result[top : top + side, left : left + side] = rng.random(3, dtype=np.float32)
    return result


def _bytes(image: Image) -> NDArray[np.uint8]:
    return np.asarray(cv2.convertScaleAbs(image, alpha=255.0), dtype=np.uint8)
