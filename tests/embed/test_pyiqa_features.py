"""Features of a metric of IQA-PyTorch, with a stand-in for that package."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from noref.cli import run
from noref.embed import feature_extractor
from noref.embed.feature_extractor import load_extractor
from noref.errors import OptionError


class Deep(nn.Module):
    """Mean and deviation of each channel, a hidden layer of four, a score of its two halves."""

    lower_better = False

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 4), nn.Linear(4, 1)

    def forward(self, pixels):
        flat = pixels.flatten(2)
        return self.last(self.first(torch.cat([flat.mean(2), flat.std(2)], 1)).relu())


class Shallow(nn.Module):
    def forward(self, pixels):
        return pixels.mean()


class Broken(nn.Module):
    def forward(self, pixels):
        raise RuntimeError("no memory")


@pytest.fixture
def deep(monkeypatch):
    """The stand-in's deep metric; it has two more."""
    torch.manual_seed(0)
    metrics = {"deep": Deep(), "shallow": Shallow(), "broken": Broken()}
    fake = types.ModuleType("pyiqa")
    fake.list_models = lambda: list(metrics)
    fake.create_metric = lambda name, device: metrics[name]
    monkeypatch.setitem(sys.modules, "pyiqa", fake)
    monkeypatch.setattr(feature_extractor, "version", lambda name: {"pyiqa": "1"}[name])
    return metrics["deep"]


def test_the_feature_is_the_input_of_the_last_linear_layer(deep, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    extractor = load_extractor("pyiqa:deep")
    assert (extractor.name, extractor.feature_names) == ("pyiqa:deep", ("head",))
    flat = pixels.reshape(-1, 3) / 255
    first, bias = (one.detach().numpy() for one in (deep.first.weight, deep.first.bias))
    by_hand = np.maximum(first @ np.concatenate([flat.mean(0), flat.std(0, ddof=1)]) + bias, 0)
    for _ in range(2):  # earlier pictures leave nothing behind
        found = extractor.extract("head", tmp_path / "a.png")
        assert found.shape == (1, 4)
        np.testing.assert_allclose(found[0], by_hand, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("shallow", "pyiqa:shallow: has no linear layer"),
        ("broken", "pyiqa:broken: fails on a picture of noise: no memory"),
        ("deeep", "did you mean deep"),
    ],
)
def test_metrics_without_features_are_refused(deep, name, reason):
    with pytest.raises(OptionError, match=reason):
        load_extractor(f"pyiqa:{name}")


def test_a_map_beside_another_model(deep, rated, brightness, tmp_path, capsys):
    call = ["embed", "pyiqa:deep", "--data", f"csv={rated}", "--perplexity", "4", "--out", str(tmp_path / "map")]
    assert run(call) == 0
    assert "pyiqa:deep" in capsys.readouterr().out
    assert (tmp_path / "map" / "embed.html").stat().st_size
