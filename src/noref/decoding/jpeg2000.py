"""JPEG 2000 where Pillow decodes wrongly: colours of more than 8 bits, and palettes.

Pillow rounds a sample of more than 8 bits up without a limit: white becomes 256, which is stored as 0, black. And it
drops repeated colours of a palette, which moves all that follow.
"""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image

from noref.errors import ImageError

START = b"\xff\x4f\xff\x51"  # of the codestream: markers SOC and SIZ
COMPONENTS = 40  # bytes from the start to the number of components; three bytes for each follow
SYCC = 18  # a colour space in the `colr` box


def corrected(image: Image.Image, content: bytes) -> Image.Image:
    """The picture with right colours.

    Args:
        image: as Pillow decoded it.
        content: the bytes of its file.

    Raises:
        ImageError: its kind of colours is not supported.
    """
    start = content.find(START)
    boxes = content[:start]
    count = struct.unpack_from(">H", content, start + COMPONENTS)[0]
    depths = [1 + (content[start + COMPONENTS + 2 + 3 * i] & 0x7F) for i in range(count)]
    at = boxes.find(b"pclr")
    if at >= 0 and count == 1:
        return _painted(image, boxes[at + 4 :], depths[0])
    if max(depths) > 8 and count > 1:
        colour = boxes.find(b"colr\x01")
        if image.mode == "CMYK" or (colour >= 0 and boxes[colour + 7 : colour + 11] == SYCC.to_bytes(4, "big")):
            raise ImageError(f"this kind of JPEG 2000 is not supported: CMYK or YCC of {max(depths)} bits")
        return _white_restored(image, content, start, count)
    return image


def _painted(image: Image.Image, palette: bytes, depth: int) -> Image.Image:
    entries, columns = struct.unpack_from(">HB", palette)
    depths = [1 + (b & 0x7F) for b in palette[3 : 3 + columns]]
    if columns not in (3, 4) or max(depths) > 8 or depth > 8:
        raise ImageError(f"this kind of JPEG 2000 is not supported: a palette of {columns} x {max(depths)} bits")
    body = np.frombuffer(palette, np.uint8, entries * columns, 3 + columns).reshape(entries, columns)
    colours = np.zeros((256, columns), np.uint8)
    colours[:entries] = np.rint(body * (255.0 / (2.0 ** np.array(depths) - 1)))
    return Image.fromarray(colours[np.asarray(image) >> (8 - depth)])


def _white_restored(image: Image.Image, content: bytes, start: int, count: int) -> Image.Image:
    """Tells white from black by decoding again as if samples had one bit more, which gives 64 to 192, never 256."""
    values = np.asarray(image)
    if values.all():
        return image
    deeper = bytearray(content)
    for component in range(count):
        deeper[start + COMPONENTS + 2 + 3 * component] += 1
    with Image.open(io.BytesIO(deeper)) as again:
        bright = np.asarray(again) >= 128
    return Image.fromarray(np.where((values == 0) & bright, np.uint8(255), values))
