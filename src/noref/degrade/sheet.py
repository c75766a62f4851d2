"""The contact sheet: one picture under all 24 distortions at all five levels."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from noref.degrade.pipeline import DISTORTIONS, LEVELS, Distortion, apply

_PAPER, _INK, _GAP = (255, 255, 255), (30, 30, 30), 4


def draw_sheet(image: NDArray[Any], rng: Generator, *, cell: int = 160) -> NDArray[np.uint8]:
    """Draw a contact sheet: 12 rows, two distortions a row, levels 1 to 5 from left to right, with names and values.

    Args:
        image: (H, W, 3) uint8 RGB, at least 8 x 8; its middle square is shrunk, then degraded.
        cell: side of a thumbnail in pixels, 8 or more; never more than the image's shorter side.

    Returns:
        (h, w, 3) uint8 RGB; about 1670 x 2200 for the default cell.

    Raises:
        ImageError: as `noref.degrade.pipeline.apply`.
    """
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    square = np.asarray(image[top : top + side, left : left + side], dtype=np.uint8)
    if side > cell:
        square = np.asarray(cv2.resize(square, (cell, cell), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    strips = [_strip(square, entry, rng) for entry in DISTORTIONS.values()]
    half = len(strips) // 2
    columns = np.concatenate(strips[:half]), np.concatenate(strips[half:])
    gap = np.full((len(columns[0]), 4 * _GAP, 3), _PAPER, dtype=np.uint8)
    return np.concatenate([columns[0], gap, columns[1]], axis=1)


def _strip(square: NDArray[np.uint8], entry: Distortion, rng: Generator) -> NDArray[np.uint8]:
    """Five thumbnails side by side under a line of text."""
    cell = len(square)
    size = max(9, cell // 11)
    head, width = 2 * size, LEVELS * (cell + _GAP) + _GAP
    strip = PillowImage.new("RGB", (width, head + cell + _GAP), _PAPER)
    values = ", ".join(f"{value:g}" for value in entry.levels)
    text, font = f"{entry.name}   {entry.quantity}: {values}", ImageFont.load_default(size)
    ImageDraw.Draw(strip).text((_GAP, head // 4), text, fill=_INK, font=font)
    for level in range(1, LEVELS + 1):
        degraded = apply(square, entry.name, level, rng)
        strip.paste(PillowImage.fromarray(degraded), (_GAP + (level - 1) * (cell + _GAP), head))
    return np.asarray(strip)
