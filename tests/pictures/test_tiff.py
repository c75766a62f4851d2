"""TIFF: samples of every kind, and files whose first directory is not the picture."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
from PIL import Image

from noref.errors import ImageError
from noref.images import read

from ..made_pictures import packed, picture
from .made_tiff import grey, tiff

PIXELS = picture(60, 45)
GREY = grey(PIXELS)
BLACK_TO_WHITE = np.tile(np.linspace(0, 255, 60).astype(np.uint8), (45, 1))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535), (np.int16, 32767), (np.int32, 2**31 - 1), (np.float32, 1)]
)
def test_grey_of_every_sample_type(dtype, top, order):
    values = (BLACK_TO_WHITE / 255.0 * top).astype(dtype)
    found = read(tiff([{"pixels": values}], order))
    np.testing.assert_allclose(found[..., 0].astype(int), BLACK_TO_WHITE, atol=1)


def test_unsigned_32_bits():
    values = (BLACK_TO_WHITE / 255.0 * (2**32 - 1)).astype(np.uint32)
    np.testing.assert_allclose(read(tiff([{"pixels": values}]))[..., 0].astype(int), BLACK_TO_WHITE, atol=1)


def test_a_dark_int16_is_not_taken_for_unsigned():
    values = np.rint(GREY / 255.0 * 32767 / 4).astype(np.int16)
    np.testing.assert_allclose(read(tiff([{"pixels": values}]))[..., 0], GREY / 4.0, atol=1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_is_zero(dtype):
    scale = 257 if dtype == np.uint16 else 1
    values = (255 - GREY).astype(dtype) * dtype(scale)
    np.testing.assert_array_equal(read(tiff([{"pixels": values, "photometric": 0}]))[..., 0], GREY)


UNSUPPORTED = {
    "float RGB": (
        {"pixels": (PIXELS / 255.0).astype(np.float32), "photometric": 2},
        "<",
        False,
        "RGB, 3 x 32 bits, float",
    ),
    "double": ({"pixels": GREY / 255.0}, "<", False, "grey, 1 x 64 bits, float"),
    "ICCLAB": ({"pixels": PIXELS, "photometric": 9}, "<", False, "ICCLAB, 3 x 8 bits, unsigned"),
    "RGB of 32 bits": (
        {"pixels": PIXELS.astype(np.uint32), "photometric": 2},
        "<",
        False,
        "RGB, 3 x 32 bits, unsigned",
    ),
}


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_healthy_files_of_unsupported_kinds_say_so(kind):
    one, order, big, words = UNSUPPORTED[kind]
    with pytest.raises(ImageError, match=f"^<bytes>: this kind of TIFF is not supported: {words}$"):
        read(tiff([one], order, big))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_bigtiff(order):
    content = tiff([{"pixels": PIXELS, "photometric": 2}], order, big=True)
    if order == "<":
        np.testing.assert_array_equal(read(content), PIXELS)
    else:
        with pytest.raises(ImageError, match=r"this kind of TIFF is not supported: .* with the high byte first"):
            read(content)


SMALL = {"pixels": picture(16, 12, seed=1), "photometric": 2, "tags": {254: 1}}
FULL = {"pixels": PIXELS, "photometric": 2}
LARGE = picture(1200, 80)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("child", [True, False])
def test_a_preview_in_front_is_not_the_picture(child, order):
    np.testing.assert_array_equal(read(tiff([SMALL, FULL | {"child": child}], order)), PIXELS)


def test_the_orientation_of_the_first_directory_counts():
    turned = SMALL | {"tags": {254: 1, 274: 6}}
    np.testing.assert_array_equal(read(tiff([turned, FULL | {"child": True}])), np.rot90(PIXELS, -1))


def test_pages_are_pictures_of_their_own():
    first = {"pixels": picture(30, 20, seed=3), "photometric": 2}
    np.testing.assert_array_equal(read(tiff([first, FULL])), first["pixels"])


def test_a_smaller_child_is_not_taken():
    np.testing.assert_array_equal(read(tiff([FULL, SMALL | {"child": True}])), PIXELS)


def sensor(width, height):
    return {"pixels": np.zeros((height, width), np.uint16), "photometric": 32803, "child": True}


@pytest.mark.parametrize("jpeg", [True, False])
def test_a_raw_file_gives_its_largest_preview(jpeg):
    preview = {"pixels": LARGE, "photometric": 2, "child": True, "tags": {254: 1}}
    expected = LARGE
    if jpeg:
        data = packed(Image.fromarray(LARGE), "jpeg", quality=95)
        preview = {"data": data, "size": (1200, 80), "photometric": 6, "child": True, "tags": {254: 1, 259: 7}}
        expected = read(data)
    cautions = []
    found = read(tiff([SMALL, sensor(2400, 160), preview]), cautions=cautions)
    np.testing.assert_array_equal(found, expected)
    assert cautions == ["a raw file: its preview of 1200 x 80 was taken"]


def test_a_raw_file_with_a_thumbnail_only_needs_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    words = "a raw file with a preview of only 16 x 12; developing it needs an extra: pip install 'noref[formats]'"
    with pytest.raises(ImageError, match=re.escape(words)):
        read(tiff([SMALL, sensor(2400, 160)]))


def test_a_cr2_gives_its_largest_preview():
    data = packed(Image.fromarray(LARGE), "jpeg", quality=95)
    preview = {"data": data, "size": (1200, 80), "photometric": 6, "tags": {259: 6}}
    raw = {"data": b"\xff\xd8\xff\xc3", "size": (0, 0), "photometric": 0, "tags": {259: 6}}
    cautions = []
    np.testing.assert_array_equal(read(tiff([preview, SMALL, raw], canon=True), cautions=cautions), read(data))
    assert cautions == ["a raw file: its preview of 1200 x 80 was taken"]


def test_the_budget_is_checked_with_the_size_of_the_picture_that_is_taken():
    with pytest.raises(ImageError, match="over the budget"):
        read(tiff([SMALL, FULL | {"child": True}]), max_megapixels=0.002)


def test_directories_in_a_circle_end():
    content = bytearray(tiff([SMALL, FULL]))
    content[-4:] = content[4:8]
    np.testing.assert_array_equal(read(bytes(content)), PIXELS)
