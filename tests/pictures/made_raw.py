"""DNG files made by program."""

from __future__ import annotations

import struct

import numpy as np

from .made_tiff import tiff
from .profiles import linear


def sensor_picture(width=1200, height=800):
    """A smooth picture and its DNG: what a sensor under a Bayer mosaic of red, green and blue sees of it."""
    y, x = np.mgrid[:height, :width] / 90.0
    pixels = np.rint(128 + 100 * np.stack([np.sin(x), np.cos(y), np.sin(x + y)], axis=-1))
    light = linear(pixels / 255)
    mosaic = light[..., 1].copy()
    mosaic[::2, ::2], mosaic[1::2, 1::2] = light[::2, ::2, 0], light[1::2, 1::2, 2]
    return pixels, np.rint(mosaic * 65535).astype(np.uint16)


def numbers(*values):
    """Signed fractions, as a tag of a TIFF."""
    return 10, len(values), b"".join(struct.pack("<ii", round(value * 10000), 10000) for value in values)


def dng(mosaic, *previews, **more):
    to_camera = (3.2406, -1.5372, -0.4986, -0.9689, 1.8758, 0.0415, 0.0557, -0.2040, 1.0570)  # of XYZ: sRGB's own
    tags = {50706: (1, 4, b"\1\4\0\0"), 271: (2, 5, b"made\0"), 272: (2, 5, b"made\0"), 50708: (2, 5, b"made\0")}
    tags |= {33421: (3, 2, struct.pack("<2H", 2, 2)), 33422: (1, 4, b"\0\1\1\2")}
    tags |= {50721: numbers(*to_camera), 50778: 21, 50717: 65535}
    tags[50728] = (5, 3, struct.pack("<6I", 1, 1, 1, 1, 1, 1))
    return tiff([{"pixels": mosaic, "photometric": 32803, "tags": tags | more.get("tags", {})}, *previews])
