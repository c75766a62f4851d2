"""Degraded versions of photographs and the ratings that they get."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from noref.default_model import distorted_views
from noref.errors import DataError


def write_table(path, rows):
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, ["filename", "mos", "distortion_type", "level"])
        table.writeheader()
        table.writerows(rows)
    return path


def full_table(path):
    rows = [
        {"filename": "x", "mos": 1 + (number + level + copy) % 5, "distortion_type": number, "level": level}
        for number in range(1, 26)
        for level in range(1, 6)
        for copy in range(2)
    ]
    return write_table(path, rows)


def test_mean_ratings_are_means_on_the_unit_scale(tmp_path):
    ratings = distorted_views.mean_ratings(full_table(tmp_path / "t.csv"))
    assert len(ratings) == 23 * 5
    both = [1 + (10 + 3 + copy) % 5 for copy in range(2)]  # jpeg is number 10
    assert ratings["jpeg", 3] == pytest.approx((sum(both) / 2 - 1) / 4)


def test_a_missing_level_is_named(tmp_path):
    table = write_table(tmp_path / "t.csv", [{"filename": "x", "mos": 3, "distortion_type": 1, "level": 1}])
    with pytest.raises(DataError, match=r"t\.csv: no rating of gaussian_blur \(type 1\) at level 2"):
        distorted_views.mean_ratings(table)


def test_a_rating_that_is_no_number_is_named_with_its_line(tmp_path):
    rows = [{"filename": "x", "mos": v, "distortion_type": 1, "level": 1} for v in ("3", "good")]
    with pytest.raises(DataError, match="line 3"):
        distorted_views.mean_ratings(write_table(tmp_path / "t.csv", rows))


def test_views_are_the_crop_the_severity_series_and_rated_distortions(tmp_path):
    ratings = distorted_views.mean_ratings(full_table(tmp_path / "t.csv"))
    photo = np.random.default_rng(0).integers(60, 200, (70, 90, 3), dtype=np.uint8)
    images, quality = distorted_views.make_views(photo, ratings, np.random.default_rng(1), size=64, singles=5)
    assert images.shape == (1 + 12 + 5, 64, 64, 3)
    assert np.isnan(quality).tolist() == [False] + [True] * 12 + [False] * 5
    again, _ = distorted_views.make_views(photo, ratings, np.random.default_rng(1), size=64, singles=5)
    assert np.array_equal(images, again)
    crop = images[0].astype(float)
    for first in (1, 5, 9):  # each series moves away from the crop step by step
        distances = [np.abs(images[i] - crop).mean() for i in range(first, first + 4)]
        assert distances == sorted(distances)
        assert distances[0] > 0


def test_picked_views_are_the_photo_one_series_and_single_distortions():
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(30):
        picked = distorted_views.pick_views(rng, 22, 9).tolist()
        assert picked[0] == 0
        assert picked[1] in (1, 5, 9)
        assert picked[1:5] == list(range(picked[1], picked[1] + 4))
        assert len(set(picked)) == 9
        assert min(picked[5:]) >= 13
        seen.add(picked[1])
    assert seen == {1, 5, 9}


def test_about_a_seventh_is_held_out():
    share = np.mean([distorted_views.held_out(f"photo{i}.jpg") for i in range(2000)])
    assert 0.1 < share < 0.18
