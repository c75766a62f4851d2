"""Every container, depth, colour type and orientation against the same pixels as PNG."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from noref.errors import ImageError
from noref.images import read

from ..made_pictures import packed, picture
from .matrix import CASES, DOCS, UNREAD, written


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.container} {case.form}")
def test_the_same_pixels_as_png(case):
    found, cautions = case.made(), []
    pixels = read(found, cautions=cautions)
    expected = read(packed(Image.fromarray(case.expected), "png")).astype(int)
    difference = np.abs(pixels - expected)
    assert difference.max() <= 1 if case.error <= 1 else difference.mean() <= case.error
    assert cautions == []


@pytest.mark.parametrize("kind", UNREAD, ids=" ".join)
def test_healthy_forms_that_are_not_read_say_so(kind):
    with pytest.raises(ImageError, match="is not supported"):
        read(UNREAD[kind]())


TURNED = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.fliplr(np.rot90(a, -1)),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.fliplr(np.rot90(a)),
    8: np.rot90,
}


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("jpeg", {"quality": 97}),
        ("mpo", {"quality": 97}),
        ("png", {}),
        ("tiff", {}),
        ("tiff", {"compression": "tiff_lzw"}),
        ("webp", {"lossless": True}),
        ("avif", {"quality": 95, "subsampling": "4:4:4"}),
    ],
)
@pytest.mark.parametrize("orientation", TURNED)
def test_every_container_that_has_an_orientation(form, options, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    image = Image.fromarray(picture(64, 48))
    plain, turned = (packed(image, form, exif=one, **options) for one in (Image.Exif(), exif))
    np.testing.assert_array_equal(read(turned), TURNED[orientation](read(plain)))


def test_the_table_in_the_docs_is_todays():
    text = DOCS.read_text(encoding="utf-8")
    assert written(text) == text, "python -m tests.pictures.matrix writes it"
