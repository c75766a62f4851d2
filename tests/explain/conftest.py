"""Small trained models, random but saved and loaded as real ones."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from noref.card import Card, Preprocessing, Scale


def save_model(folder, backbone="test_resnet", *, crop=64, name="tiny", seed=0, **plan):
    """A run's folder with a random network in it."""
    torch = pytest.importorskip("torch")
    from noref.models import network as networks

    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    network = networks.build(networks.Plan(backbone, **{"width": 24, "heads": 3, **plan}), weights="none").eval()
    card = Card(name, f"random {backbone}", Scale(0, 100), Preprocessing(max_pixels=40_000, min_side=64, crop=crop))
    networks.save(network, folder / "model.safetensors", card)
    return folder


def scene(height=96, width=128, seed=0):
    """A picture with edges, a ramp and noise."""
    rng = np.random.default_rng(seed)
    picture = np.add.outer(np.arange(height), np.arange(width))[:, :, None] * np.array([0.5, 0.7, 0.9])
    picture[height // 3 : height // 2, width // 4 : width // 2] = 220
    return (picture + rng.normal(0, 12, picture.shape)).clip(0, 255).astype(np.uint8)


@pytest.fixture
def photo(tmp_path):
    """A photo on the disk."""
    path = tmp_path / "photos" / "scene.png"
    path.parent.mkdir()
    Image.fromarray(scene()).save(path)
    return path


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """A CNN with a panel."""
    return save_model(tmp_path_factory.mktemp("runs") / "cnn")


@pytest.fixture(scope="session")
def vit_folder(tmp_path_factory):
    """A transformer with a panel."""
    return save_model(tmp_path_factory.mktemp("runs") / "vit", "test_vit", crop=160, name="tiny-vit")
