from __future__ import annotations

import numpy as np
from PIL import Image

from noref.calibrate.scenes import scenes

from ..made_pictures import picture


def test_copies_and_references_are_one_scene(tmp_path):
    first, second, third = (Image.fromarray(picture(200, 150, seed)) for seed in range(3))
    second = Image.fromarray(np.asarray(second)[::-1])
    third = Image.fromarray(np.asarray(third).transpose(1, 0, 2)[:, ::-1])
    images = {"a.png": first, "b.png": second, "c.png": third, "d.png": Image.new("RGB", (80, 80), "grey")}
    for name, image in images.items():
        image.save(tmp_path / name)
    first.resize((120, 90)).save(tmp_path / "a_small.jpg", quality=60)
    paths = [tmp_path / name for name in (*images, "a_small.jpg")]
    a, b, c, d, small = scenes(paths, [None] * 5)
    assert a == small
    assert len({a, b, c, d}) == 4
    a, b, c, d, small = scenes(paths, ["x", "y", "x", None, "y"])
    assert a == b == c == small != d


def test_flat_pictures_are_not_one_scene(tmp_path):
    for name in "ab":
        Image.new("RGB", (80, 80), "grey").save(tmp_path / f"{name}.png")
    assert len(set(scenes([tmp_path / "a.png", tmp_path / "b.png"], [None, None]).tolist())) == 2
