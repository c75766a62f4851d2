"""Files of several pictures: which one is decoded is said."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from noref.images import read

from ..made_pictures import packed, picture
from .made_tiff import tiff

FRAMES = [Image.fromarray(picture(64, 48, seed=seed)) for seed in range(3)]


def cautions(content):
    found = []
    read(content, cautions=found)
    return found


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("gif", "the first of 3 frames"),
        ("png", "the first of 3 frames"),
        ("webp", "the first of 3 frames"),
        ("avif", "the first of 3 frames"),
        ("tiff", "the first of 3 pictures"),
        ("mpo", "the first of 3 pictures"),
    ],
)
def test_the_first_of_several(form, words):
    assert cautions(packed(FRAMES[0], form, save_all=True, append_images=FRAMES[1:])) == [words]
    assert cautions(packed(FRAMES[0], form)) == []


def test_an_icon_gives_its_largest_picture():
    content = packed(Image.fromarray(picture(64, 64)), "ico", sizes=[(64, 64), (32, 32), (16, 16)])
    assert cautions(content) == ["the largest of 3 pictures"]
    assert read(content).shape == (64, 64, 3)


def test_a_preview_in_front():
    pictures = [{"pixels": np.asarray(FRAMES[0])[:12], "photometric": 2, "tags": {254: 1}}]
    pictures += [{"pixels": np.asarray(FRAMES[0]), "photometric": 2, "child": True}]
    assert cautions(tiff(pictures)) == ["the largest of 2 pictures"]


@pytest.mark.parametrize("space", ["http://ns.adobe.com/hdr-gain-map/1.0/", "urn:com:apple:photo:2020:aux:hdrgainmap"])
def test_a_gain_map_is_not_applied(space):
    content = packed(FRAMES[0], "jpeg", xmp=f'<x:xmpmeta xmlns:hdrgm="{space}"/>'.encode(), quality=95)
    assert cautions(content) == ["HDR gain map ignored"]
    np.testing.assert_array_equal(read(content), read(packed(FRAMES[0], "jpeg", quality=95)))


def test_a_damaged_later_frame_is_not_counted_and_does_not_matter():
    content = bytearray(packed(FRAMES[0], "gif", save_all=True, append_images=FRAMES[1:]))
    del content[-400:]
    assert read(bytes(content)).shape == (48, 64, 3)
