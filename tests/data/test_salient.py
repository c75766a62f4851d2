"""The salient region against its definition, pixel by pixel, and against photos that show where it was cut."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image

from noref import images
from noref.card import Preprocessing
from noref.data.loading import Crops, EpochLoader, make_loader
from noref.data.salient import GRID, SalientCrops, region, squashed
from noref.errors import OptionError

SHAPES = [(96, 160), (160, 96), (101, 163), (75, 211), (224, 224), (14, 14), (99, 15)]  # landscape, portrait, odd


def centres_inside(length, first, size):
    """Pixels whose centre lies in the cells [first, first + size) of `length` / 14 pixels each."""
    cell = length / GRID
    return [x for x in range(length) if first * cell <= x + 0.5 + 1e-9 and x + 0.5 + 1e-9 < (first + size) * cell]


@pytest.mark.parametrize(("height", "width"), SHAPES)
@pytest.mark.parametrize(
    ("row", "column", "size"), [(0, 0, 8), (6, 6, 8), (3, 5, 5), (0, 4, 10), (13, 0, 1), (0, 0, 14)]
)
def test_a_region_is_the_pixels_whose_centres_lie_in_the_window(height, width, row, column, size):
    rows, columns = region(height, width, row, column, size)
    assert list(range(height))[rows] == centres_inside(height, row, size)
    assert list(range(width))[columns] == centres_inside(width, column, size)


def test_windows_side_by_side_share_no_pixel_and_leave_none_out():
    for length in (14, 15, 97, 224, 500, 501):
        found = [region(length, length, cell, 0, 1)[0] for cell in range(GRID)]
        assert [x for part in found for x in range(length)[part]] == list(range(length))


@pytest.fixture
def lit(tmp_path):
    """Photos that are dark but for one window, a grey level each, in three shapes."""
    paths, places = [], []
    for number, (height, width) in enumerate([(96, 160), (160, 96), (111, 173)]):
        row, column = number + 1, 5 - number
        photo = np.zeros((height, width, 3), np.uint8)
        photo[region(height, width, row, column, 8)] = 100 + 50 * number
        Image.fromarray(photo).save(tmp_path / f"{number}.png")
        paths.append(tmp_path / f"{number}.png")
        places.append((row, column))
    return paths, np.array(places)


RULE = Preprocessing(min_side=64, crop=64)


def test_the_last_crop_is_the_window_of_the_full_image_and_the_others_are_the_plain_ones(lit):
    paths, places = lit
    salient = SalientCrops(paths, size=64, crops=3, seed=5, preprocessing=RULE)
    plain = Crops(paths, size=64, crops=3, seed=5, preprocessing=RULE)
    salient.places = places
    for epoch in range(2):
        salient.set_epoch(epoch)
        plain.set_epoch(epoch)
        for index in range(3):
            found = salient[index].crops
            assert found.shape == (4, 3, 64, 64)
            assert np.array_equal(found[:3], plain[index].crops)
            assert bool((found[3] == 100 + 50 * index).all())  # nothing of the dark around it


def test_the_region_keeps_its_left_and_right_but_for_the_mirror(tmp_path):
    ramp = np.tile(np.linspace(0, 255, 160).astype(np.uint8)[None, :, None], (96, 1, 3))
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    crops = SalientCrops([tmp_path / "ramp.png"], size=64, crops=1, preprocessing=RULE, window=8)
    crops.places = np.array([[2, 6]])
    expected = squashed(ramp[region(96, 160, 2, 6, 8)], 64).astype(int).transpose(2, 0, 1)
    ways = set()
    for epoch in range(20):
        crops.set_epoch(epoch)
        last = crops[0].crops[1].numpy().astype(int)
        ways |= {
            way for way, seen in (("as it is", expected), ("mirrored", expected[:, :, ::-1])) if (last == seen).all()
        }
    assert ways == {"as it is", "mirrored"}
    assert math.isclose(expected.mean(), ramp[0, region(96, 160, 2, 6, 8)[1], 0].mean(), abs_tol=1)


def test_windows_may_move_between_epochs(lit):
    paths, places = lit
    crops = SalientCrops(paths, size=64, crops=1, preprocessing=RULE)
    crops.places = places
    lit_up = crops[0].crops[1].float().mean()
    crops.places = np.zeros_like(places)
    assert crops[0].crops[1].float().mean() < lit_up


def test_whole_images_come_in_the_order_of_the_records_and_squashed(lit):
    paths, places = lit
    crops = SalientCrops(paths, size=64, crops=1, preprocessing=RULE)
    batch = next(iter(make_loader(crops.views(28), batch_images=3, shuffle=False)))
    assert batch.crops.shape == (3, 1, 3, 28, 28)
    for number, (row, column) in enumerate(places):
        bright = batch.crops[number, 0, 0] > (100 + 50 * number) / 2
        rows, columns = np.nonzero(bright.numpy())
        assert (rows.min(), columns.min()) == (2 * row, 2 * column)  # two pixels a cell
        assert (rows.max(), columns.max()) == (2 * row + 15, 2 * column + 15)


def test_an_image_is_decoded_once_for_all_its_crops_and_the_view(lit, monkeypatch):
    paths, places = lit
    decoded = []
    read = images.read
    monkeypatch.setattr(images, "read", lambda source, **rest: decoded.append(source) or read(source, **rest))
    crops = SalientCrops(paths, size=64, crops=5, preprocessing=RULE)
    crops.places = places
    list(make_loader(crops.views(28), batch_images=2, shuffle=False))
    for epoch in range(3):
        list(make_loader(crops, batch_images=2, epoch=epoch))
    assert sorted(decoded) == sorted(paths)
    decoded.clear()
    frugal = SalientCrops(paths, size=64, crops=5, preprocessing=RULE, cache_bytes=0)
    frugal.places = places
    list(make_loader(frugal, batch_images=2))
    assert sorted(decoded) == sorted(paths)  # without any memory too: once an epoch, not once a crop


def test_windows_that_are_not_known_or_cannot_be_are_option_errors(lit):
    with pytest.raises(OptionError, match="need `places`"):
        SalientCrops(lit[0], size=64, crops=1, preprocessing=RULE)[0]
    for window in (0, 15):
        with pytest.raises(OptionError, match="window must be 1 to 14"):
            SalientCrops(lit[0], size=64, crops=1, window=window)


@pytest.mark.parametrize("workers", [0, 2])
def test_windows_that_move_between_epochs_reach_workers_that_live(lit, workers):
    paths, places = lit
    crops = SalientCrops(paths, size=64, crops=1, preprocessing=RULE)
    loader = EpochLoader(crops, workers=workers)
    for windows in (places, np.zeros_like(places)):
        crops.places = windows
        ((crop, *_),) = loader.load([(0, [list(range(len(paths)))])])
        assert all(torch.equal(crop[index], crops[index].crops) for index in range(len(paths)))
        assert crops.places is windows
