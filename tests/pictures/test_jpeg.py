"""JPEG files that decode without an error although data is missing."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from noref.card import Preprocessing
from noref.images import read

from ..made_pictures import packed, picture

PIXELS = picture(320, 240)
FORMS = {
    "baseline": {"quality": 90},
    "optimised": {"quality": 90, "optimize": True},
    "progressive": {"quality": 90, "progressive": True},
    "restarts": {"quality": 90, "restart_marker_blocks": 8},
    "full colour": {"quality": 90, "subsampling": 0},
}
CUT, HOLE = "the JPEG is cut: a part of the picture is missing", "the JPEG has a hole: a run of zeros in its data"


def jpeg(form, pixels=PIXELS):
    return packed(Image.fromarray(pixels), "jpeg", **FORMS[form])


def cautions(content, **options):
    found = []
    read(content, cautions=found, **options)
    return found


@pytest.mark.parametrize("form", FORMS)
def test_a_whole_file_has_no_caution(form):
    assert cautions(jpeg(form)) == []
    for colour in ("white", "black", (128, 128, 128)):
        assert cautions(jpeg(form, np.array(Image.new("RGB", (3000, 2000), colour)))) == []


def test_a_picture_that_ends_in_grey_has_no_caution():
    pixels = PIXELS.copy()
    pixels[120:] = 128
    for form in FORMS:
        assert cautions(jpeg(form, pixels)) == []
        assert cautions(jpeg(form, pixels[..., 0])) == []


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("part", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("grey", [False, True])
def test_a_cut_file_with_an_end_marker_is_said(form, part, grey):
    content = jpeg(form, PIXELS[..., 0] if grey else PIXELS)
    last_scan = content.rindex(b"\xff\xda") if form == "progressive" else len(content)
    content = content[: min(last_scan, int(part * len(content)))] + b"\xff\xd9"
    assert CUT in cautions(content)
    assert CUT in cautions(content, preprocessing=Preprocessing(max_pixels=1200, min_side=1))


@pytest.mark.parametrize("form", ["baseline", "full colour", "restarts"])
def test_a_hole_of_zeros_is_said(form):
    content = bytearray(jpeg(form))
    middle = len(content) // 2
    content[middle : middle + 512] = bytes(512)
    assert HOLE in cautions(bytes(content))


def test_zeros_outside_the_data_are_no_hole():
    exif = b"Exif\0\0" + bytes(4000)
    assert HOLE not in cautions(packed(Image.fromarray(PIXELS), "jpeg", comment=bytes(4000)))
    assert HOLE not in cautions(jpeg("baseline") + bytes(4000))
    assert HOLE not in cautions(packed(Image.fromarray(PIXELS), "jpeg", exif=exif))
