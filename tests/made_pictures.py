"""Pictures and files made by program, for the tests of the decoder."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np


def picture(width=40, height=30, seed=0):
    """Smooth shapes with some grain: compresses like a photo."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 7.0
    waves = np.stack([np.sin(x + k) * np.cos(y - k) for k in range(3)], axis=-1)
    return np.uint8((110 + 90 * waves + rng.normal(0, 4, (height, width, 3))).clip(0, 255))


def packed(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def packed_png(chunks):
    """A PNG from its chunks, each (type, data)."""
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def png_header(width, height, depth=8, color=2):
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
