from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from noref import images
from noref.card import Preprocessing
from noref.errors import ImageError
from noref.images import LEAST_SIDE, grid, read, target_size

from .made_pictures import packed, picture


@given(
    width=st.integers(1, 20_000),
    height=st.integers(1, 20_000),
    budget=st.none() | st.integers(1_000, 2_000_000),
    least=st.integers(1, 600),
    crop=st.none() | st.integers(1, 600),
)
@settings(max_examples=300, deadline=None)
def test_target_size_keeps_its_promises(width, height, budget, least, crop):
    rule = Preprocessing(max_pixels=budget, min_side=least, crop=crop)
    if max(width, height) > 100 * min(width, height):
        with pytest.raises(ImageError, match=f"{width} x {height} .* too long and thin"):
            target_size(width, height, rule)
        return
    w, h = target_size(width, height, rule)
    assert (h, w) == target_size(height, width, rule)  # upright or not
    scale = max(w, h) / max(width, height)
    assert abs(min(w, h) - max(1, scale * min(width, height))) <= 1  # aspect
    wanted = max(least, crop or 0)
    grown = (min(w, h) + 0.5) * (max(w, h) + 0.5)
    if crop:
        assert min(w, h) >= min(crop, wanted)
    if budget is None:
        assert min(w, h) >= min(wanted, min(width, height))
    elif not crop:
        assert (w - 0.5) * (h - 0.5) <= budget or min(w, h) <= min(least, LEAST_SIDE)
        assert min(w, h) >= min(least, LEAST_SIDE)
        assert min(w, h) >= wanted or grown >= min(budget, width * height)  # small only where the budget says so


@pytest.mark.parametrize(
    ("size", "rule", "expected"),
    [
        ((640, 480), Preprocessing(max_pixels=None, min_side=1), (640, 480)),
        ((500, 500), Preprocessing(max_pixels=250_000), (500, 500)),
        ((4000, 3000), Preprocessing(max_pixels=120_000), (400, 300)),
        ((1, 1), Preprocessing(), (224, 224)),
        ((3000, 40), Preprocessing(max_pixels=480_000), (7200, 96)),
        ((3000, 40), Preprocessing(max_pixels=480_000, min_side=40), (3000, 40)),
        ((3000, 300), Preprocessing(max_pixels=400_000), (2000, 200)),
        ((3000, 40), Preprocessing(max_pixels=480_000, crop=200, min_side=1), (15_000, 200)),
        ((100, 400), Preprocessing(crop=200, min_side=1), (200, 800)),
    ],
)
def test_target_size_by_hand(size, rule, expected):
    assert target_size(*size, rule) == expected


@given(height=st.integers(1, 3000), width=st.integers(1, 3000), size=st.integers(50, 500))
@settings(max_examples=50, deadline=None)
def test_grid_covers_the_image_with_the_fewest_crops(height, width, size):
    if size > min(height, width):
        with pytest.raises(ValueError, match="do not fit"):
            grid(height, width, size)
        return
    corners = grid(height, width, size)
    for axis, length in ((0, height), (1, width)):
        starts = sorted({corner[axis] for corner in corners})
        assert len(starts) == -(-length // size)
        if len(starts) > 1:
            assert (starts[0], starts[-1]) == (0, length - size)
        gaps = np.diff(starts)
        assert (gaps <= size).all()
        assert not gaps.size or np.ptp(gaps) <= 1
    assert len(set(corners)) == len(corners) == -(-height // size) * -(-width // size)


def test_grid_by_hand():
    assert grid(224, 224, 224) == [(0, 0)]
    assert grid(226, 448, 224) == [(0, 0), (0, 224), (2, 0), (2, 224)]
    assert grid(1, 7, 1) == [(0, left) for left in range(7)]


@pytest.mark.parametrize("resample", images.FILTERS)
def test_resampling_is_pillows(resample):
    pixels = picture(120, 90)
    found = read(pixels, preprocessing=Preprocessing(max_pixels=2700, min_side=1, resample=resample))
    np.testing.assert_array_equal(found, np.array(Image.fromarray(pixels).resize((60, 45), images.FILTERS[resample])))


@pytest.mark.parametrize("size", [(1603, 1207), (1999, 801)])
@pytest.mark.parametrize("sampling", [0, 2])
def test_a_jpeg_decoded_small_is_near_the_same_pixels_decoded_whole(size, sampling, monkeypatch):
    rule = Preprocessing(max_pixels=30_000, min_side=1)
    content = packed(Image.fromarray(picture(*size)), "jpeg", quality=92, subsampling=sampling)
    as_png = packed(Image.fromarray(read(content)), "png")
    drafts = []
    resized = images._resized
    monkeypatch.setattr(images, "_resized", lambda image, *rest: drafts.append(image.size) or resized(image, *rest))
    small, whole = read(content, preprocessing=rule).astype(int), read(as_png, preprocessing=rule).astype(int)
    assert small.shape == whole.shape
    assert np.abs(small - whole).mean() < 1
    target = small.shape[1::-1]
    assert all(images.DRAFT * t <= d < 2.1 * images.DRAFT * t for t, d in zip(target, drafts[0], strict=True))
    assert drafts[1] == size


def test_a_jpeg_that_needs_enlarging_is_decoded_whole():
    content = packed(Image.fromarray(picture(50, 40)), "jpeg", quality=95)
    np.testing.assert_array_equal(
        read(content, preprocessing=Preprocessing(min_side=80)),
        np.array(Image.fromarray(read(content)).resize((100, 80), Image.Resampling.BICUBIC)),
    )
