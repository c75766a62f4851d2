from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from noref.errors import ImageError
from noref.train.feature_cache import FeatureCache, fingerprint, key, of_images


@pytest.mark.parametrize("folder", [None, "cache"])
def test_an_entry_is_computed_once(tmp_path, folder):
    cache, calls = FeatureCache(folder and tmp_path / folder, "facts", 3), []

    def compute():
        calls.append(1)
        return {"map": torch.arange(6).view(2, 3).bfloat16(), "label": torch.tensor(0.5)}

    for _ in range(3):
        found = cache.get("a", compute)
        assert torch.equal(found["map"], torch.arange(6).view(2, 3).bfloat16())
        assert found["label"] == 0.5
    assert len(calls) == 1


def test_other_facts_are_another_folder_and_equal_ones_the_same(tmp_path):
    FeatureCache(tmp_path, "x", (1, 2)).get("a", lambda: {"v": torch.ones(1)})
    assert FeatureCache(tmp_path, "x", (1, 2)).get("a", dict)["v"] == 1
    assert FeatureCache(tmp_path, "x", (1, 3)).get("a", lambda: {"v": torch.zeros(1)})["v"] == 0
    assert key("x", (1, 2)) == key("x", (1, 2)) != key("x", (2, 1))


def test_what_fails_leaves_nothing(tmp_path):
    cache = FeatureCache(tmp_path, "x")
    with pytest.raises(ZeroDivisionError):
        cache.get("a", lambda: {"v": torch.ones(1 // 0)})
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_memory_is_kept_up_to_a_limit():
    cache, calls = FeatureCache(None, memory=100), []
    for _ in range(2):
        for name in ("a", "b"):
            cache.get(name, lambda name=name: calls.append(name) or {"v": torch.zeros(20)})  # 80 bytes
    assert calls == ["a", "b", "b"]


def picture(path, value):
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(path)
    return path


def test_images_are_known_by_their_content(tmp_path):
    one, same, other = (picture(tmp_path / f"{name}.png", value) for name, value in (("a", 5), ("b", 5), ("c", 6)))
    cache, seen = FeatureCache(tmp_path / "cache", "x"), []

    def compute(path):
        seen.append(path.name)
        return torch.tensor([float(np.asarray(Image.open(path))[0, 0, 0])])

    found = dict(of_images(cache, [one, same, other], compute))
    assert [float(found[path]) for path in (one, same, other)] == [5, 5, 6]
    assert seen == ["a.png", "c.png"]


def test_images_that_cannot_be_read_are_listed_or_raised(tmp_path):
    good, gone = picture(tmp_path / "a.png", 1), tmp_path / "gone.png"
    broken: dict = {}

    def compute(path):
        raise ImageError(f"{path}: broken")

    assert not list(of_images(FeatureCache(None), [good, gone], compute, broken=broken))
    assert broken[good] == "broken"
    assert "No such file" in broken[gone]
    with pytest.raises(ImageError, match=r"gone\.png"):
        list(of_images(FeatureCache(None), [gone], compute))


def test_a_fingerprint_is_of_what_decides_a_feature():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    network[0].requires_grad_(False)
    frozen, every = fingerprint(network, frozen=True), fingerprint(network)
    with torch.no_grad():
        network[1].weight.add_(1)  # it learns
    assert fingerprint(network, frozen=True) == frozen
    assert fingerprint(network) != every
    network[1].running_mean.add_(1)  # it does not
    assert fingerprint(network, frozen=True) != frozen
