"""Pairs of photos under one degradation: what is shared, what is not, and what borders and broken files lead to."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from noref.data.pairs import Pairs, cut, half_size, mirrored, pair_batches, random_crop
from noref.errors import DataError, OptionError


def mark(level, crop, rng):
    """Stands for a degradation: writes what was drawn for the pair, and a number of this crop's own."""
    marked = crop.copy()
    marked[0, 0] = (level, rng.integers(256), 0)
    return marked


def draw(rng):
    return partial(mark, int(rng.integers(256)))


def plain(rng):
    return lambda crop, rng: crop


@pytest.fixture
def photos(tmp_path):
    """Nine photos of one grey level each, 20 x number."""
    for number in range(9):
        Image.fromarray(np.full((40, 50, 3), 20 * number, np.uint8)).save(tmp_path / f"{number}.png")
    return sorted(tmp_path.glob("*.png"))


def test_a_pair_shares_what_was_drawn_and_nothing_else(photos):
    pair = Pairs(photos, draw=draw, size=16)[3]
    crops = pair.crops
    assert crops.shape == (2, 2, 3, 16, 16)
    assert crops.dtype == torch.uint8
    assert len({int(level) for level in crops[:, :, 0, 0, 0].flatten()}) == 1
    assert len({int(own) for own in crops[:, :, 1, 0, 0].flatten()}) > 1
    first, second = crops[:, 0, 0, 5, 5], crops[:, 1, 0, 5, 5]
    assert first[0] == first[1] == 60  # photo 3, at both scales
    assert second[0] == second[1] != 60  # another one


@pytest.mark.parametrize("index", range(9))
def test_the_other_photo_is_never_the_same_unless_it_is_asked_for(photos, index):
    pairs = Pairs(photos, draw=plain, size=8)
    same = Pairs(photos, draw=plain, size=8, same_image=True, half=False)
    seen = set()
    for number in range(150):
        pairs.set_pass(number)
        seen.add(int(pairs[index].crops[0, 1, 0, 0, 0]) // 20)
        assert same[index].crops.shape == (1, 2, 3, 8, 8)
        assert set(same[index].crops.flatten().tolist()) == {20 * index}
    assert seen == set(range(9)) - {index}


def test_half_scale_crops_come_from_pillows_half_image_at_places_of_their_own(tmp_path):
    rng = np.random.default_rng(0)
    for name in "ab":
        Image.fromarray(rng.integers(0, 256, (45, 61, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    crops = Pairs(sorted(tmp_path.iterdir()), draw=plain, size=12, same_image=True)[0].crops.numpy()
    whole = Image.open(tmp_path / "a.png")
    half = whole.resize((30, 22), Image.Resampling.BICUBIC)
    places = []
    for scale, view in ((whole, crops[0]), (half, crops[1])):
        pixels = np.asarray(scale)
        for crop in view:
            wanted = crop.transpose(1, 2, 0)
            found = [
                (top, left)
                for top in range(pixels.shape[0] - 11)
                for left in range(pixels.shape[1] - 11)
                if np.array_equal(pixels[top : top + 12, left : left + 12], wanted)
            ]
            assert len(found) == 1
            places += found
    assert len(set(places)) == 4


def test_batches_are_a_pure_function_of_seed_pass_and_place(photos):
    pairs = Pairs(photos, draw=draw, size=16, seed=5)
    whole = [batch.crops for batch in pair_batches(pairs, batch=2, number=1)]
    assert len(whole) == 4  # the ninth photo fills no batch
    with_workers = [batch.crops for batch in pair_batches(pairs, batch=2, number=1, workers=2)]
    rest = [batch.crops for batch in pair_batches(pairs, batch=2, number=1, start=1, stop=3)]
    assert all(torch.equal(a, b) for a, b in zip(whole, with_workers, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(whole[1:3], rest, strict=True))
    assert pairs.preload() == 9
    cached = [batch.crops for batch in pair_batches(pairs, batch=2, number=1)]
    assert all(torch.equal(a, b) for a, b in zip(whole, cached, strict=True))
    other = [batch.crops for batch in pair_batches(pairs, batch=2, number=2)]
    assert not all(torch.equal(a, b) for a, b in zip(whole, other, strict=True))


def test_a_pass_takes_each_photo_once(photos):
    pairs = Pairs(photos[:8], draw=plain, size=8, half=False)
    found = torch.cat([batch.crops[:, 0, 0, 0, 0, 0] for batch in pair_batches(pairs, batch=4, number=0)])
    assert sorted(found.tolist()) == [20 * number for number in range(8)]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_photo_is_replaced_and_reported(photos, workers):
    photos[4].write_bytes(b"no image")
    pairs = Pairs(photos, draw=plain, size=8)
    seen = set()
    for number in range(6):
        for batch in pair_batches(pairs, batch=3, number=number, workers=workers):
            seen |= set(batch.broken)
            assert not (batch.crops == 80).any()
    assert seen == {4}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_folder_of_broken_photos_is_an_error(tmp_path, workers):
    for name in "abc":
        (tmp_path / f"{name}.jpg").write_bytes(b"no image")
    pairs = Pairs(sorted(tmp_path.iterdir()), draw=plain, size=8)
    assert pairs.preload() == 0
    with pytest.raises(DataError, match=r"in a row cannot be read.*\.jpg"):
        list(pair_batches(pairs, batch=2, number=0, workers=workers))


def test_grey_and_sixteen_bit_photos(tmp_path):
    Image.fromarray(np.full((40, 40), 100, np.uint8)).save(tmp_path / "grey.png")
    Image.fromarray(np.full((40, 40), 257 * 100, np.uint16)).save(tmp_path / "deep.png")
    crops = Pairs(sorted(tmp_path.iterdir()), draw=plain, size=16)[0].crops
    assert set(crops.flatten().tolist()) == {100}


def test_a_photo_smaller_than_the_crop_is_mirrored_or_black_and_counted(tmp_path):
    for name, value in (("a", 10), ("b", 200)):
        Image.fromarray(np.full((10, 60, 3), value, np.uint8)).save(tmp_path / f"{name}.png")
    files = sorted(tmp_path.iterdir())
    mirrored_pair = Pairs(files, draw=plain, size=16)[0]
    assert int(mirrored_pair.small) == 2
    assert set(mirrored_pair.crops[:, 0].flatten().tolist()) == {10}
    black = Pairs(files, draw=plain, size=16, pad="zero")[0].crops[:, 0]
    assert (black[0, :, :10] == 10).all()
    assert (black[0, :, 10:] == 0).all()  # full scale: ten rows at the top
    assert (black[1, :, 5:] == 0).all()  # half scale: five
    assert int(Pairs(files, draw=plain, size=8, half=False)[0].small) == 0


def test_cut_is_numpys_reflect_and_constant_padding():
    image = np.random.default_rng(0).integers(0, 256, (5, 9, 3), dtype=np.uint8)
    for top, left in ((-3, -2), (-7, 4), (2, 0), (0, -8)):
        for pad, mode in (("reflect", "reflect"), ("zero", "constant")):
            wide = np.pad(image, ((20, 20), (20, 20), (0, 0)), mode=mode)
            wanted = wide[20 + top : 32 + top, 20 + left : 32 + left]
            assert np.array_equal(cut(image, top, left, size=12, pad=pad), wanted)
    assert mirrored(np.arange(-2, 3), 1).tolist() == [0] * 5


def test_a_random_crop_reaches_every_place_and_holds_a_small_image_whole():
    rng = np.random.default_rng(0)
    image = np.arange(6 * 9, dtype=np.uint8).reshape(6, 9, 1).repeat(3, axis=2)
    corners = {int(random_crop(image, rng, size=4)[0, 0, 0]) for _ in range(400)}
    assert corners == {9 * top + left for top in range(3) for left in range(6)}
    for _ in range(30):
        assert set(random_crop(image, rng, size=12).flatten().tolist()) == set(range(54))


def test_half_size_of_a_line_is_a_line():
    assert half_size(np.zeros((1, 7, 3), np.uint8)).shape == (1, 3, 3)


def test_numbers_that_make_no_sense(photos):
    with pytest.raises(OptionError):
        Pairs(photos, draw=plain, size=4)
    with pytest.raises(OptionError):
        Pairs(photos, draw=plain, pad="edge")
    with pytest.raises(DataError, match="1 photos make no pair"):
        Pairs(photos[:1], draw=plain)
    with pytest.raises(DataError, match="do not fill a batch"):
        list(pair_batches(Pairs(photos, draw=plain), batch=10, number=0))
