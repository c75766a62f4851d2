"""JPEG 2000 of more than 8 bits and with a palette."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from noref.images import read

from ..made_pictures import packed, picture

cv2 = pytest.importorskip("cv2")
PIXELS = picture(64, 48)
PIXELS[:12], PIXELS[12:20] = 255, 0


def of_depth(bits, quality=1000):
    """A lossless JPEG 2000 of `bits` bits a sample: 16 bits, whose header then says fewer."""
    values = np.rint(PIXELS[..., ::-1] * ((2**bits - 1) / 255.0)) + 2**15 - 2 ** (bits - 1)
    content = bytearray(
        cv2.imencode(".jp2", values.astype(np.uint16), [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, quality])[1]
    )
    start = content.index(b"\xff\x4f\xff\x51")
    for component in range(3):
        content[start + 42 + 3 * component] = bits - 1
    return bytes(content)


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_colours_of_more_than_8_bits(bits):
    np.testing.assert_allclose(read(of_depth(bits)).astype(int), PIXELS, atol=1)


def test_lossy_16_bit_keeps_white_and_black_apart():
    found = read(of_depth(16, quality=500)).astype(int)
    assert found[:11].min() > 200
    assert found[13:19].max() < 50


def test_grey_of_16_bits():
    content = packed(Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257), "jpeg2000", irreversible=False)
    np.testing.assert_array_equal(read(content)[..., 0], PIXELS[..., 0])


def box(kind, data):
    return struct.pack(">I4s", 8 + len(data), kind) + data


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("columns", [3, 4])
def test_palettes(repeated, columns):
    rng = np.random.default_rng(0)
    index = rng.integers(0, 16, (48, 64)).astype(np.uint8)
    palette = rng.integers(0, 256, (16, columns)).astype(np.uint8)
    if columns == 4:
        palette[:, 3] = 255
    if repeated:
        palette[1::2] = palette[::2]
    code = packed(Image.fromarray(index), "jpeg2000", irreversible=False, no_jp2=True)
    header = box(b"ihdr", struct.pack(">IIHBBBB", 48, 64, 1, 7, 7, 0, 0)) + box(
        b"colr", struct.pack(">BBBI", 1, 0, 0, 16)
    )
    header += box(b"pclr", struct.pack(">HB", 16, columns) + bytes([7] * columns) + palette.tobytes())
    header += box(b"cmap", b"".join(struct.pack(">HBB", 0, 1, i) for i in range(columns)))
    content = (
        box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 \0\0\0\0jp2 ") + box(b"jp2h", header) + box(b"jp2c", code)
    )
    np.testing.assert_array_equal(read(content), palette[index][..., :3])
