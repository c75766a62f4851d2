from __future__ import annotations

import numpy as np
import pytest

from noref.degrade.pipeline import DISTORTIONS, apply
from noref.degrade.sheet import draw_sheet
from noref.errors import ImageError


def test_the_sheet_holds_every_distortion_at_every_level_pixel_for_pixel(scene):
    image = np.round(scene[:32, :32] * 255).astype(np.uint8)
    sheet = draw_sheet(image, np.random.default_rng(4), cell=32)
    windows = np.lib.stride_tricks.sliding_window_view(sheet, (32, 32, 3))[:, :, 0, 0, 0, 0]
    assert windows.shape == (sheet.shape[0] - 31, sheet.shape[1] - 31)
    rng, last = np.random.default_rng(4), (-1, -1)
    half = sheet.shape[1] // 2
    for name in DISTORTIONS:
        for level in range(1, 6):
            wanted = apply(image, name, level, rng)
            places = [(y, x) for y, x in np.argwhere(windows == wanted[0, 0, 0]) if matches(sheet, wanted, y, x)]
            place = min(places, key=lambda at: (at[1] >= half, at[0], at[1]) <= last, default=None)
            assert place is not None, (name, level)
            last = (place[1] >= half, place[0], place[1])


def matches(sheet, wanted, y, x):
    return np.array_equal(sheet[y : y + 32, x : x + 32], wanted)


def test_the_sheet_shrinks_a_photo_and_takes_its_middle(rng):
    image = np.zeros((100, 300, 3), dtype=np.uint8)
    image[:, 100:200] = (10, 200, 90)
    sheet = draw_sheet(image, rng, cell=40)
    assert sheet.dtype == np.uint8
    assert (sheet == (10, 200, 90)).all(axis=-1).sum() > 5 * 40 * 40
    assert not (sheet[12:, :40] == 0).all(axis=-1).any()
    assert sheet.shape[1] == pytest.approx(10 * 40, rel=0.2)


def test_an_image_that_is_too_small(rng):
    with pytest.raises(ImageError, match="8 x 8"):
        draw_sheet(np.zeros((4, 90, 3), dtype=np.uint8), rng)
