"""The margin of one colour around a picture, as product shots and scans have it."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops

from noref.decoding.cautions import TRIMMED

Box = tuple[int, int, int, int]  # left, top, right, bottom

SAME = 2  # of 255: what JPEG does to a margin
RINGING, NEAR = 32, 16  # and what it does to the margin beside the picture, and how many pixels far


def trimmed(image: Image.Image, found: list[str]) -> Image.Image:
    """An RGB picture without its margin, which is said in `found`; the picture itself where there is none.

    A margin are the rows and columns at the sides that have the colour of the corners, within `SAME`, from end to end;
    where there is one, the traces of JPEG beside it are cut off too. Where corners differ there is no margin, and a
    picture of one colour stays as it is.
    """
    width, height = image.size
    page = Image.new("RGB", image.size, image.getpixel((0, 0)))
    away = _differs(image, page, SAME)
    if np.asarray(away)[:: max(1, height - 1), :: max(1, width - 1)].any():  # the corners
        return image
    box = away.getbbox()
    if box is None or box == (0, 0, width, height):
        return image
    inner = image.crop(_without_ringing(box, _differs(image, page, RINGING).getbbox() or box, image.size))
    share = inner.width * inner.height / (width * height)
    found.append(f"{TRIMMED}{100 * share:.0f} % of the picture are left")
    return inner


def _without_ringing(box: Box, inside: Box, size: tuple[int, int]) -> Box:
    """The box moved in by at most `NEAR` at the sides that have a margin, and never beyond `inside`."""
    left, top, right, bottom = (
        outer if outer == edge else outer + max(-NEAR, min(NEAR, inner - outer))
        for outer, inner, edge in zip(box, inside, (0, 0, *size), strict=True)
    )
    return left, top, right, bottom


def _differs(one: Image.Image, other: Image.Image, most: int) -> Image.Image:
    """Where two pictures differ by more than `most` in a channel."""
    return ImageChops.difference(one, other).point(lambda value: 255 * (value > most))
