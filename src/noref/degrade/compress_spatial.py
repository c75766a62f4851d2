"""Compression and spatial damage: two groups of the degradation model.

As everywhere in this package: `f(image, value, rng) -> image`, (H, W, 3) float32 RGB in [0, 1] in, a new array out
that may leave [0, 1].
"""

from __future__ import annotations

import io

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image as PillowImage

from noref.degrade.blur_noise import Image, normal


def jpeg2000(image: Image, ratio: float, _rng: Generator) -> Image:
    """Through JPEG 2000 at `ratio` times fewer bytes, 8 resolutions (fewer where the image is below 128 pixels)."""
    pixels = _bytes(image)
    buffer = io.BytesIO()
    resolutions = min(8, min(image.shape[:2]).bit_length())
    PillowImage.fromarray(pixels).save(
        buffer,
        format="JPEG2000",
        quality_mode="rates",
        quality_layers=[ratio],
        num_resolutions=resolutions,
        progression="LRCP",
    )
    with PillowImage.open(buffer) as decoded:
        return np.asarray(decoded) * np.float32(1 / 255)


def jpeg(image: Image, quality: float, _rng: Generator) -> Image:
    """Through baseline JPEG at `quality` (1 to 100), colour at half resolution."""
    blue_first = cv2.cvtColor(_bytes(image), cv2.COLOR_RGB2BGR)
    _, stream = cv2.imencode(".jpg", blue_first, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    decoded = np.asarray(cv2.imdecode(stream, cv2.IMREAD_COLOR), dtype=np.uint8)
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)) * np.float32(1 / 255)


def jitter(image: Image, scale: float, rng: Generator) -> Image:
    """Five times: each pixel from a place a Gaussian step of `scale` pixels away, bilinear, the border replicated."""
    height, width = image.shape[:2]
    x = np.arange(width, dtype=np.float32)[None, :]
    y = np.arange(height, dtype=np.float32)[:, None]
    moved = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)  # OpenCV moves four channels in half the time of three
    for _ in range(5):
        step = normal((2, height, width), scale, rng)
        moved = cv2.remap(moved, x + step[0], y + step[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.cvtColor(moved, cv2.COLOR_RGBA2RGB), dtype=np.float32)


def non_eccentricity_patch(image: Image, patches: float, rng: Generator) -> Image:
    """Copy 16 x 16 `patches`, one after the other, to places up to 8 pixels away."""
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
    """Down to 0.95 - strength ** 0.6 of the size and back up, both by nearest neighbour."""
    scale = 0.95 - strength**0.6
    rows, columns = (_there_and_back(size, max(1, int(size * scale))) for size in image.shape[:2])
    return np.take(np.take(image, rows, axis=0), columns, axis=1)


def quantization(image: Image, levels: float, _rng: Generator) -> Image:
    """Keep `levels` steps: ceil(x * levels) / levels."""
    n = np.float32(levels)
    steps = image * n
    steps -= np.float32(1e-5)  # a sample on a step stays there, although float32 puts some a little above it
    result: Image = np.ceil(steps) / n
    return result


def color_block(image: Image, blocks: float, rng: Generator) -> Image:
    """Paint 32 x 32 `blocks` of one random colour each at random places."""
    result = image.copy()
    height, width = image.shape[:2]
    side = min(32, min(height, width) // 2)
    for _ in range(int(blocks)):
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        result[top : top + side, left : left + side] = rng.random(3, dtype=np.float32)
    return result


def _there_and_back(size: int, small: int) -> NDArray[np.intp]:
    """For each of `size` places the place it shows after nearest neighbour down to `small` and up again."""
    down = np.arange(small) * size // small
    return down[np.arange(size) * small // size]


def _bytes(image: Image) -> NDArray[np.uint8]:
    return np.asarray(cv2.convertScaleAbs(image, alpha=255.0), dtype=np.uint8)
