"""The hash against a slow DCT from its formula, and what it must survive and tell apart."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from noref.card import Card, Preprocessing, read_card
from noref.data.perceptual_hash import (
    BITS,
    THRESHOLD,
    hash_images,
    hash_pixels,
    learnt_images,
    matches,
    pack,
    training_hashes,
    unpack,
)
from noref.data.records import Record, Scale
from noref.errors import ModelError
from noref.scoring.network import DEFAULT


def picture(seed, side=160):
    """Something with large and small shapes, and no two alike: (side, side, 3) uint8."""
    rng = np.random.default_rng(seed)
    layers = [
        np.array(Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).resize((side, side)), float)
        for size in (4, 9, 20, 40)
    ]
    return np.clip(sum(layers) / 4 * 1.6 - 76, 0, 255).astype(np.uint8)


def records(paths):
    return [Record(Path(path), 1.0, Scale(0, 5)) for path in paths]


def card(**training):
    return Card("m", "test", Scale(0, 1), Preprocessing(), training=training)


def test_it_is_the_signs_of_the_lowest_frequencies():
    pixels = picture(0, side=64)
    grey = np.asarray(Image.fromarray(pixels).convert("L"), float)
    order = [(row, total - row) for total in range(1, 30) for row in range(total + 1)][:BITS]
    for bit, (row, column) in zip(hash_pixels(pixels)[::17], order[::17], strict=True):
        value = sum(
            grey[y, x] * math.cos(math.pi * row * (y + 0.5) / 64) * math.cos(math.pi * column * (x + 0.5) / 64)
            for y in range(64)
            for x in range(64)
        )
        assert bit == (value > 0)


CHANGES = {
    "jpeg 30": lambda image, path: image.save(path.with_suffix(".jpg"), quality=30),
    "bmp": lambda image, path: image.save(path.with_suffix(".bmp")),
    "half": lambda image, path: image.resize((80, 80)).save(path.with_suffix(".png")),
    "double": lambda image, path: image.resize((320, 320)).save(path.with_suffix(".webp"), quality=80),
    "squeezed": lambda image, path: image.resize((200, 120)).save(path.with_suffix(".png")),
    "grey": lambda image, path: ImageOps.grayscale(image).save(path.with_suffix(".png")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_same_picture_in_another_file_is_found_and_another_picture_is_not(change, tmp_path):
    for seed in range(12):
        CHANGES[change](Image.fromarray(picture(seed)), tmp_path / f"{seed:02}.x")
    changed = hash_images(sorted(tmp_path.iterdir()))
    learnt = np.stack([hash_pixels(picture(seed)) for seed in range(6)])
    assert matches(changed, learnt).tolist() == [True] * 6 + [False] * 6


def test_an_image_that_lies_on_its_side_and_says_so_is_turned(tmp_path):
    image = Image.fromarray(picture(3))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 270 degrees to see it upright
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    assert matches(hash_images([tmp_path / "turned.png"]), hash_pixels(picture(3))[None]).tolist() == [True]


def test_the_threshold_is_the_last_distance_that_counts():
    learnt = np.zeros((2, BITS), bool)
    learnt[:, ::2] = True
    hashes = np.stack([learnt[0]] * 3)
    hashes[1, :THRESHOLD] ^= True
    hashes[2, : THRESHOLD + 1] ^= True
    assert matches(hashes, learnt).tolist() == [True, True, False]
    assert matches(hashes, learnt, threshold=0).tolist() == [True, False, False]
    assert matches(hashes, learnt[:0]).tolist() == [False] * 3
    assert matches(hashes[:0], learnt).shape == (0,)
    many = np.random.default_rng(0).integers(0, 2, (1500, BITS)).astype(bool)
    assert matches(many, many[[0, 700, 1499]]).nonzero()[0].tolist() == [0, 700, 1499]


def test_flat_and_broken_images_match_nothing(tmp_path):
    Image.new("RGB", (90, 60), "grey").save(tmp_path / "flat.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    hashes = hash_images([tmp_path / "flat.png", tmp_path / "broken.png", tmp_path / "none.png"])
    assert not hashes.any()
    assert not matches(hashes, hashes).any()
    assert hash_images([]).shape == (0, BITS)


def test_an_image_that_has_changed_on_the_disk_is_read_again(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(picture(0)).save(path)
    first = hash_images([path])
    Image.fromarray(picture(1)).save(path)
    assert not np.array_equal(hash_images([path]), first)


def test_hashes_come_back_from_their_text():
    hashes = np.random.default_rng(0).integers(0, 2, (7, BITS)).astype(bool)
    assert np.array_equal(unpack(pack(hashes)), hashes)
    assert len(pack(hashes)) == len("dct256:") + 4 * math.ceil(7 * 32 / 3)
    for text in ("dct256:abc", "dct256:AAAA", "dct256:€"):
        with pytest.raises(ModelError, match="image hashes"):
            unpack(text)


def test_a_card_says_how_many_images_were_learnt(tmp_path):
    paths = [tmp_path / f"{seed}.png" for seed in range(5)]
    for seed, path in enumerate(paths):
        Image.fromarray(picture(seed)).save(path)
    Image.fromarray(picture(1)).resize((90, 90)).save(tmp_path / "copy.jpg", quality=40)
    learnt = card(image_hashes=training_hashes(records(paths[:3])))
    assert learnt_images(learnt, records(paths)) == 3
    assert learnt_images(learnt, records(paths[3:])) == 0
    assert learnt_images(learnt, records([tmp_path / "copy.jpg"])) == 1
    assert learnt_images(card(run=learnt.training), records(paths)) == 3
    for unknown in ({}, {"run": {}}, {"image_hashes": "other:AAAA"}, {"image_hashes": 3}):
        assert learnt_images(card(**unknown), records(paths)) is None


def test_the_default_knows_the_photos_that_it_learnt_from_and_no_others(real_data):
    default = read_card(DEFAULT)
    learnt = sorted((real_data / "livec" / "images").iterdir())
    others = sorted((real_data / "photos" / "images").rglob("*.jpg"))
    assert learnt_images(default, records(learnt)) == len(learnt) == 931
    assert learnt_images(default, records(others)) == 0
    assert learnt_images(dataclasses.replace(default, training={}), records(learnt[:1])) is None
