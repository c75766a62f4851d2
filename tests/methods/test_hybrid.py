"""The small transformer of experiments/csiqa: a MobileNetV2 makes its patches, and noref takes it as any ViT."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from noref.models.backbones import freeze_stages
from noref.models.network import Plan, build

from ..load_script import load_script

SCRIPT = Path(__file__).parents[2] / "experiments" / "csiqa" / "hybrid.py"


@pytest.fixture(scope="module")
def hybrid():
    return load_script(SCRIPT)


@pytest.fixture(scope="module")
def weights(hybrid, tmp_path_factory):
    """A MobileNetV2 with its classifier, as such files come, and the hybrid's start made from it."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(1)
    trained = timm.create_model("mobilenetv2_100", pad_type="same", num_classes=3).eval()
    save_file(trained.state_dict(), folder / "trained.safetensors")
    hybrid.write_weights(folder / "trained.safetensors", folder / "hybrid.safetensors")
    return trained, folder / "hybrid.safetensors"


def test_its_patches_are_the_stride_16_map_of_the_trained_network(weights):
    trained, path = weights
    network = build(Plan("mobilenetv2_vit", mask=0.3, head="tokens"), weights=str(path))
    patches = network.backbone.net.patch_embed
    images = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        (expected,) = trained.forward_intermediates(images, indices=[3], intermediates_only=True)
        assert expected.shape == (2, 96, 14, 14)
        tokens = torch.stack([expected[:, :, row, column] for row in range(14) for column in range(14)], dim=1)
        torch.testing.assert_close(patches(images), patches.proj(patches.norm(tokens)))
        features = network.features(torch.zeros(1, 3, 224, 224))
    assert (features.grid, features.tokens.shape) == ((14, 14), (1, 196, 192))


def test_frozen_1_is_what_came_with_weights(weights):
    network = build(Plan("mobilenetv2_vit", mask=0.3, head="tokens"), weights=str(weights[1]))
    freeze_stages(network.backbone, 1)
    known = set(weights[0].state_dict())
    for name, parameter in network.backbone.named_parameters():
        assert parameter.requires_grad == (name.removeprefix("net.patch_embed.") not in known), name


def test_the_file_holds_the_trained_tensors_and_the_same_random_ones_each_time(hybrid, weights, tmp_path):
    trained, path = weights
    values = load_file(path)
    for name, value in trained.state_dict().items():
        kept = values.get(f"patch_embed.{name}")
        assert kept is None or torch.equal(kept, value)
    save_file(trained.state_dict(), tmp_path / "trained.safetensors")
    hybrid.write_weights(tmp_path / "trained.safetensors", tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
