"""Damage that Pillow alone does not see: it decodes such files to noise, or to another picture."""

from __future__ import annotations

import struct
import sys

import numpy as np
import pytest
from PIL import Image

from noref.decoding.cautions import AVIF_DOUBTFUL
from noref.errors import ImageError
from noref.images import read

from ..made_pictures import packed, picture
from .made_tiff import tiff

RGB = Image.fromarray(picture(64, 48))
OTHER = Image.fromarray(picture(64, 48, seed=1))


def test_a_gif_whose_blocks_are_moved():
    content = packed(RGB.quantize(64), "gif")
    with pytest.raises(ImageError, match=r"^<bytes>: damaged: the GIF has bytes that belong to no block$"):
        read(content[:50] + b"abcd" + content[50:])
    for end in (11, 13, 100, content.index(b",", 13 + 3 * 64)):
        with pytest.raises(ImageError, match=r"^<bytes>: .*(damaged|not an image)"):
            read(content[:end])


def test_a_gif_whose_data_is_moved():
    content = packed(RGB.quantize(64), "gif")
    with pytest.raises(ImageError, match=r"^<bytes>: damaged"):
        read(content[:-300] + content[-400:])


def test_comments_before_the_picture_of_a_gif_are_blocks():
    plain, commented = (packed(RGB.quantize(64), "gif", comment=b"x" * size) for size in (0, 700))
    np.testing.assert_array_equal(read(commented), read(plain))


@pytest.mark.parametrize("place", ["length", "frame"])
def test_a_jpeg_whose_header_is_damaged_is_not_the_next_picture(place):
    content = bytearray(packed(RGB, "mpo", save_all=True, append_images=[OTHER], quality=90))
    frame = content.index(b"\xff\xc0")
    first_end = content.index(b"\xff\xd9")
    if place == "frame":
        content[frame:first_end] = bytes(first_end - frame)
    else:
        content[frame + 2 : frame + 4] = struct.pack(">H", first_end - frame - 2)
    with pytest.raises(ImageError, match=r"^<bytes>: (damaged|not an image)"):
        read(bytes(content))


def test_padding_between_the_segments_of_a_jpeg_is_no_damage():
    content = packed(RGB, "jpeg", quality=90)
    np.testing.assert_array_equal(read(content[:2] + b"\xff\xff\xff" + content[2:]), read(content))


@pytest.mark.parametrize(
    "wrong",
    [
        {284: (99, 1, struct.pack("<H", 1))},  # a type that does not exist
        {279: (4, 2, struct.pack("<2I", 100, 100))},  # lengths of two strips, places of one
        {273: (4, 1000, struct.pack("<I", 8))},  # an array that leads out of the file
        {259: (3, 2, struct.pack("<2H", 1, 1))},  # two compressions
    ],
)
def test_a_tiff_whose_directory_contradicts_itself(wrong):
    content = tiff([{"pixels": picture(64, 48), "photometric": 2, "tags": wrong}])
    with pytest.raises(ImageError, match=r"^<bytes>: damaged: the directory of the TIFF contradicts itself$"):
        read(content)


def test_a_tiff_that_does_not_say_what_black_is():
    content = tiff([{"pixels": picture(64, 48)[..., 0]}])
    with pytest.raises(ImageError, match="contradicts itself"):
        read(content.replace(struct.pack("<HHI", 262, 3, 1), struct.pack("<HHI", 261, 3, 1)))


def test_a_tiff_whose_chain_leads_out_of_the_file():
    content = tiff([{"pixels": picture(64, 48), "photometric": 2}])
    with pytest.raises(ImageError, match="contradicts itself"):
        read(content[:-4] + b"\0\0\0\x7f")


@pytest.fixture
def damaged_avif():
    content = bytearray(packed(RGB, "avif", quality=90))
    middle = content.index(b"mdat") + 600
    content[middle : middle + 16] = bytes(16)
    return bytes(content)


def test_a_damaged_avif_has_a_caution(damaged_avif, monkeypatch, capfd):
    pytest.importorskip("cv2")
    found = []
    read(damaged_avif, cautions=found)
    assert found == [AVIF_DOUBTFUL]
    assert capfd.readouterr().err == ""
    monkeypatch.setitem(sys.modules, "cv2", None)
    found = []
    read(damaged_avif, cautions=found)
    assert found == []


def test_pillows_unsupported_kinds_are_not_called_damaged():
    content = bytearray(packed(RGB, "bmp"))
    content[28] = 2  # bits a pixel
    with pytest.raises(ImageError, match=r"^<bytes>: this kind of file is not supported: Unsupported BMP pixel depth"):
        read(bytes(content))
