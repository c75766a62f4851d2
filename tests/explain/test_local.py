"""The local quality map against a loop over pixels and crops, and its weights up to the borders."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noref.errors import ImageError, OptionError
from noref.explain.local import LARGEST, local_quality, starts, weights


def brightness(crops):
    return (crops.astype(np.float64).mean(axis=(1, 2, 3)) / 255).astype(np.float32)


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def by_loop(pixels, crop, step):
    """Each pixel: the weighed mean of the crops that hold it, crop by crop."""
    height, width = pixels.shape[:2]
    corners = [(t, x) for t in starts(height, crop, step) for x in starts(width, crop, step)]
    found = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            total = weight = 0.0
            for top, left in corners:
                if top <= y < top + crop and left <= x < left + crop:
                    down = math.sin(math.pi * (y + 0.5 - top) / crop) ** 2
                    across = math.sin(math.pi * (x + 0.5 - left) / crop) ** 2
                    score = float(brightness(pixels[None, top : top + crop, left : left + crop])[0])
                    total, weight = total + down * across * score, weight + down * across
            found[y, x] = total / weight
    return found


@pytest.mark.parametrize(
    ("height", "width", "crop", "step"), [(17, 23, 8, 4), (12, 12, 12, 5), (9, 30, 8, 3), (8, 20, 8, 4)]
)
def test_map_is_the_loop_over_pixels_and_crops(height, width, crop, step):
    pixels = picture(height, width)
    found = local_quality(pixels, brightness, crop=crop, step=step)
    np.testing.assert_allclose(found, by_loop(pixels, crop, step), atol=1e-7)


@given(length=st.integers(2, 400), data=st.data())
@settings(max_examples=60, deadline=None)
def test_weights_sum_to_one_at_every_point_up_to_the_borders(length, data):
    crop = data.draw(st.integers(2, length))
    begins = starts(length, crop, data.draw(st.integers(1, max(1, crop // 2))))
    for points in (length, max(1, length // 3)):
        shares = weights(begins, crop, length, points)
        assert shares.shape == (len(begins), points)
        assert (shares >= 0).all()
        np.testing.assert_allclose(shares.sum(axis=0), 1, atol=1e-12)
    assert weights(begins, crop, length, length)[0, 0] > 0
    assert weights(begins, crop, length, length)[-1, -1] > 0


@given(length=st.integers(2, 500), data=st.data())
@settings(max_examples=60, deadline=None)
def test_crops_touch_both_ends_no_farther_apart_than_the_step(length, data):
    crop = data.draw(st.integers(2, length))
    step = data.draw(st.integers(1, crop))
    found = starts(length, crop, step)
    assert (found[0], found[-1]) == (0, length - crop)
    assert all(0 < later - earlier <= step + 0.5 for earlier, later in itertools.pairwise(found))
    assert len(found) == (1 if length == crop else 1 + math.ceil((length - crop) / step))


def test_one_score_everywhere_is_a_flat_map_and_the_map_stays_within_the_scores():
    flat = local_quality(np.full((40, 50, 3), 51, np.uint8), brightness, crop=16, step=8)
    np.testing.assert_allclose(flat, 0.2, atol=1e-7)
    seen = []

    def predict(crops):
        seen.extend(brightness(crops))
        return brightness(crops)

    found = local_quality(picture(40, 50), predict, crop=16, step=4)
    assert min(seen) - 1e-7 <= found.min() < found.max() <= max(seen) + 1e-7


def test_the_bright_half_is_the_better_one_and_the_middle_lies_between():
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:, 32:] = 255
    found = local_quality(pixels, brightness, crop=16, step=8)
    assert found[0, 0] == 0
    assert found[-1, -1] == pytest.approx(1)
    assert (np.diff(found[0]) >= -1e-12).all()
    np.testing.assert_allclose(found[0] + found[0, ::-1], 1, atol=1e-7)


def test_crops_come_in_batches_of_sixteen_and_twice_is_the_same():
    sizes = []

    def predict(crops):
        sizes.append(len(crops))
        return brightness(crops)

    first = local_quality(picture(60, 60), predict, crop=16, step=6)
    assert max(sizes) == 16
    assert sum(sizes) == len(starts(60, 16, 6)) ** 2
    np.testing.assert_array_equal(first, local_quality(picture(60, 60), predict, crop=16, step=6))


def test_a_large_picture_has_a_map_of_bounded_size():
    found = local_quality(np.zeros((40, 3 * LARGEST, 3), np.uint8), brightness, crop=40, step=20)
    assert found.shape == (14, LARGEST)


@pytest.mark.parametrize(("crop", "step"), [(1, 1), (41, 10), (20, 0), (20, 11)])
def test_crops_and_steps_that_do_not_fit(crop, step):
    with pytest.raises(OptionError, match=r"crop must be|step must be"):
        local_quality(np.zeros((40, 60, 3), np.uint8), brightness, crop=crop, step=step)


def test_a_number_that_is_none_is_no_quality():
    with pytest.raises(ImageError, match="no finite number"):
        local_quality(np.zeros((8, 8, 3), np.uint8), lambda crops: np.full(len(crops), np.nan), crop=4, step=2)
