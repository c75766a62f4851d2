"""Damaged PNG files are never decoded: Pillow alone gives noise for a wrong bit inside the pixels."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image

from noref.errors import ImageError
from noref.images import read

from ..made_pictures import packed, picture

CONTENT = packed(Image.fromarray(picture(200, 150)), "png")


def flipped(content, place, bit):
    changed = bytearray(content)
    changed[place] ^= 1 << bit
    return bytes(changed)


def test_one_wrong_bit_in_the_pixels_is_an_error():
    first = CONTENT.index(b"IDAT") + 4
    rng = random.Random(0)
    for _ in range(200):
        place = rng.randrange(first, len(CONTENT) - 16)
        with pytest.raises(ImageError, match=r"^<bytes>: damaged: wrong checksum in the IDAT chunk"):
            read(flipped(CONTENT, place, rng.randrange(8)))


def test_a_wrong_bit_anywhere_is_an_error():
    for place in range(0, len(CONTENT), 97):
        with pytest.raises(ImageError, match=r"^<bytes>: ."):
            read(flipped(CONTENT, place, place % 8))


@pytest.mark.parametrize("lost", [1, 4, 11, 12, 13, 20, 400])
def test_a_png_without_its_end_is_an_error(lost):
    with pytest.raises(ImageError, match=r"^<bytes>: damaged: "):
        read(CONTENT[:-lost])


def test_bytes_behind_the_end_do_not_matter():
    np.testing.assert_array_equal(read(CONTENT + b"left over"), picture(200, 150))


def test_later_frames_of_an_animation_do_not_matter():
    frames = [Image.fromarray(picture(seed=seed)) for seed in range(3)]
    content = packed(frames[0], "png", save_all=True, append_images=frames[1:])
    place = content.index(b"fdAT") + 20
    np.testing.assert_array_equal(read(flipped(content, place, 3)), picture(seed=0))
