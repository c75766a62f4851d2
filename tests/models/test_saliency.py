from __future__ import annotations

import pytest
import torch
import torch.nn.functional as functional

from noref.errors import OptionError
from noref.models.network import Plan, build
from noref.models.saliency import saliency, viewing_side


def network(backbone, **plan):
    torch.manual_seed(0)
    return build(Plan(backbone, **{"width": 24, "heads": 3, **plan}), weights="none").eval()


@pytest.mark.parametrize(
    ("backbone", "crop", "side"),
    [
        ("test_resnet", 64, 448),  # stride 32
        ("test_resnet", 224, 448),
        ("test_vit", 160, 224),  # patches of 16, any size
        ("vit_tiny_patch16_224", 224, 224),  # patches of 16, one size
        ("test_efficientnet", 96, 448),
    ],
)
def test_the_side_gives_fourteen_cells(backbone, crop, side):
    assert viewing_side(network(backbone), crop) == side


def test_one_size_is_seen_and_the_map_interpolated():
    net = network("vit_tiny_patch16_224").train()
    net.backbone.net.patch_embed.grid_size = (14, 14)
    assert viewing_side(net, 224) == 224
    assert net.training
    other = network("test_vit")
    images = torch.randint(0, 256, (1, 3, 160, 160), dtype=torch.uint8)
    found = saliency(other, images)
    _, maps = other.backbone.class_attention(other.normalize(images))
    assert maps.shape == (1, 10, 10)
    assert found.shape == (1, 14, 14)
    torch.testing.assert_close(found.mean(), maps.mean(), rtol=0.02, atol=0)
    torch.testing.assert_close(
        functional.adaptive_avg_pool2d(found, 2), functional.adaptive_avg_pool2d(maps, 2), rtol=0.05, atol=0
    )


def test_a_transformers_is_its_class_attention():
    net, images = network("test_vit"), torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8)
    for blocks in (1, 3):
        with torch.no_grad():
            _, expected = net.backbone.class_attention(net.normalize(images), blocks=blocks)
        assert torch.equal(saliency(net, images, blocks=blocks), expected)


def test_a_networks_without_class_token_is_its_panels():
    net, images = network("test_resnet"), torch.randint(0, 256, (2, 3, 448, 448), dtype=torch.uint8)
    found = saliency(net, images)
    with torch.no_grad():
        torch.testing.assert_close(found, net.attention(images)[1])
    torch.testing.assert_close(found.sum(dim=(1, 2)), torch.ones(2))


def test_neither_class_token_nor_panel_is_an_option_error():
    with pytest.raises(OptionError, match="no attention"):
        saliency(network("test_resnet", head="pooled"), torch.zeros(1, 3, 64, 64))


def test_activation_is_what_the_last_stage_fires_with_by_a_loop():
    net, images = network("test_resnet", head="pooled"), torch.randint(0, 256, (2, 3, 448, 448), dtype=torch.uint8)
    found = saliency(net, images, by="activation")
    with torch.no_grad():
        tokens, (rows, columns) = (seen := net.features(images)).tokens, seen.grid
    for number in range(2):
        for row in range(rows):
            for column in range(columns):
                fired = sum(max(0.0, value) for value in tokens[number, row * columns + column].tolist())
                assert found[number, row, column].item() == pytest.approx(fired, rel=1e-5)
