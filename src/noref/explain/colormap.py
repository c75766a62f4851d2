"""Numbers of a map -> colours that are laid over a photo. numpy and Pillow only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from noref.explain.map_types import MAP_TYPES, Colormap, Map, Plane
from noref.images import Pixels

Rgba = NDArray[np.uint8]
# stops of (red, green, blue, cover), evenly spaced from the low end to the high end; hue says the value, so that it
# survives on dark and light photos, and none of the pairs of ends is red and green
COLORMAPS: dict[Colormap, tuple[tuple[int, int, int, int], ...]] = {
    "quality": (
        (158, 26, 20, 175),
        (226, 106, 42, 165),
        (248, 208, 130, 150),
        (196, 222, 226, 150),
        (84, 154, 204, 165),
        (20, 74, 150, 175),
    ),
    "lift": ((20, 110, 180, 0), (40, 140, 205, 110), (24, 96, 190, 185), (8, 48, 140, 225)),
    "lower": ((235, 150, 40, 0), (238, 130, 36, 110), (214, 70, 22, 185), (140, 16, 16, 225)),
    "attention": ((180, 90, 190, 0), (188, 96, 196, 110), (150, 50, 170, 185), (84, 12, 120, 225)),
}
FRAME, RIM, DIM = (255, 214, 10, 255), (20, 20, 20, 255), (10, 10, 10, 130)


def paint(values: Plane, colormap: Colormap, low: float, high: float) -> Rgba:
    """Colours of a map: what lies outside of the range has the colour of its end.

    Args:
        values: (h, w).
        colormap: a key of `COLORMAPS`.
        low, high: values of the first and the last colour, low < high.

    Returns:
        (h, w, 4) uint8: red, green, blue and how much of the photo they cover; 0 shows the photo alone.

    Example:
        >>> paint(np.array([[0.0, 1.0]]), "lift", 0.0, 1.0)[0, :, 3].tolist()
        [0, 225]
    """
    stops = np.array(COLORMAPS[colormap], dtype=np.float64)
    place = np.clip((values - low) / (high - low), 0.0, 1.0) * (len(stops) - 1)
    channels = [np.interp(place, np.arange(len(stops)), stops[:, channel]) for channel in range(4)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def overlay(one: Map, ends: tuple[float, float], size: tuple[int, int]) -> Image.Image:
    """A map as a picture to lay over its photo: smooth between cells, or its window.

    Args:
        one: the map.
        ends: numbers of both ends of the colours.
        size: (width, height) of the photo as it is shown.

    Returns:
        RGBA of that size.
    """
    if one.window is not None:
        return draw_window(one.window, size)
    return Image.fromarray(paint(resized(one.values, size), MAP_TYPES[one.type].colormap, *ends), "RGBA")


def resized(plane: Plane, size: tuple[int, int]) -> Plane:
    """The values of a map at (width, height) points, bilinear."""
    picture = Image.fromarray(plane.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(picture, dtype=np.float64)


def draw_window(window: tuple[float, float, float, float], size: tuple[int, int]) -> Image.Image:
    """A salient window: its border, drawn inside of it, the inside clear and the rest dimmed. As `overlay`."""
    width, height = size
    picture = Image.new("RGBA", size, DIM)
    top, left, bottom, right = window
    box = (round(left * width), round(top * height), round(right * width) - 1, round(bottom * height) - 1)
    line = max(2, round(min(width, height) / 120))
    draw = ImageDraw.Draw(picture)
    draw.rectangle(box, fill=(0, 0, 0, 0), outline=RIM, width=line + 2)
    draw.rectangle((box[0] + 1, box[1] + 1, box[2] - 1, box[3] - 1), outline=FRAME, width=line)
    return picture


def laid_over(photo: Pixels, cover: Image.Image, *, grey: bool = True) -> Image.Image:
    """An overlay on its photo, (H, W, 3) uint8 RGB; `grey` takes the photo's own colours out. RGB of the same size."""
    base = Image.fromarray(photo).convert("L" if grey else "RGB")
    return Image.alpha_composite(base.convert("RGBA"), cover).convert("RGB")


def legend(colormap: Colormap, size: tuple[int, int]) -> Image.Image:
    """The colours from the low end to the high end, over the grey of a photo. RGB of (width, height)."""
    ramp = np.broadcast_to(np.linspace(0, 1, size[0]), (size[1], size[0]))
    colours = Image.fromarray(paint(np.array(ramp, dtype=np.float64), colormap, 0.0, 1.0), "RGBA")
    return Image.alpha_composite(Image.new("RGBA", size, (190, 190, 188, 255)), colours).convert("RGB")
