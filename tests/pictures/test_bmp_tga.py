"""A fourth byte that is zero everywhere is unused; one with values is transparency."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from noref.images import read

from ..made_pictures import packed, picture


def bmp32(pixels, alpha):
    """A BMP with bit fields for four channels."""
    height, width = pixels.shape[:2]
    body = np.concatenate([pixels[..., ::-1], alpha[..., None]], axis=-1)[::-1].tobytes()
    head = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, len(body), 0, 0, 0, 0)
    head += struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + bytes(48)
    return b"BM" + struct.pack("<IHHI", 14 + len(head) + len(body), 0, 0, 14 + len(head)) + head + body


def tga32(pixels, alpha):
    return packed(Image.fromarray(np.concatenate([pixels, alpha[..., None]], axis=-1)), "tga")


@pytest.mark.parametrize("made", [bmp32, tga32])
def test_32_bits_without_alpha(made):
    pixels = picture()
    np.testing.assert_array_equal(read(made(pixels, np.zeros((30, 40), np.uint8))), pixels)
    np.testing.assert_array_equal(read(made(pixels, np.full((30, 40), 255, np.uint8))), pixels)


@pytest.mark.parametrize("made", [bmp32, tga32])
def test_32_bits_with_alpha(made):
    alpha = np.zeros((30, 40), np.uint8)
    alpha[:15] = 255
    found = read(made(picture(), alpha))
    np.testing.assert_array_equal(found[:15], picture()[:15])
    assert (found[15:] == 255).all()
