"""A margin of one colour is cut off where that is asked for."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from noref.card import Preprocessing
from noref.errors import ImageError
from noref.images import read

from ..made_pictures import packed, picture

PIXELS = picture(120, 90)


def on_page(colour=(255, 255, 255), top=20, left=40, bottom=10, right=0):
    page = np.full((90 + top + bottom, 120 + left + right, 3), colour, np.uint8)
    page[top : top + 90, left : left + 120] = PIXELS
    return page


@pytest.mark.parametrize("preprocessing", [None, Preprocessing(max_pixels=3000, min_side=1)])
@pytest.mark.parametrize("turned", [1, 6])
def test_the_picture_inside_is_read(preprocessing, turned):
    exif = Image.Exif()
    exif[274] = turned
    page, alone = (packed(Image.fromarray(one), "png", exif=exif) for one in (on_page(right=10), PIXELS))
    found = []
    trimmed = read(page, preprocessing=preprocessing, trim=True, cautions=found)
    np.testing.assert_array_equal(trimmed, read(alone, preprocessing=preprocessing))
    assert found == [f"margin trimmed: {100 * 120 * 90 / (170 * 120):.0f} % of the picture are left"]


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (200, 230, 120)])
def test_every_kind_of_source(colour):
    page = on_page(colour, right=10)
    for source in (page, Image.fromarray(page), io.BytesIO(packed(Image.fromarray(page), "tiff"))):
        np.testing.assert_array_equal(read(source, trim=True), PIXELS)


def test_the_margin_of_a_jpeg():
    page = packed(Image.fromarray(on_page(top=64, left=64, bottom=64, right=64)), "jpeg", quality=80)
    height, width, _ = read(page, trim=True).shape
    assert 90 <= height <= 106
    assert 120 <= width <= 136
    assert read(page).shape == (218, 248, 3)


@pytest.mark.parametrize(
    "pixels",
    [PIXELS, np.full((40, 60, 3), 255, np.uint8), np.vstack([0 * PIXELS, 0 * PIXELS + 255, PIXELS])],
    ids=["a photo", "one colour", "corners of two colours"],
)
def test_what_has_no_margin_stays(pixels):
    found = []
    np.testing.assert_array_equal(read(pixels, trim=True, cautions=found), pixels)
    assert found == []


def test_what_is_left_must_be_large_enough():
    page = np.full((200, 200, 3), 255, np.uint8)
    page[100:110, 100:150] = 0
    with pytest.raises(ImageError, match=r"^<array>: 50 x 10 pixels are too few: the least side is 16$"):
        read(page, trim=True, least_side=16)
