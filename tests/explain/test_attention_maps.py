"""Attention maps of a network, and the salient window."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from noref.errors import OptionError  # noqa: E402
from noref.explain.attention_maps import attention_map, available, whole_image, window_map  # noqa: E402
from noref.models.network import Plan, build  # noqa: E402

from .conftest import scene  # noqa: E402


def network(backbone="test_resnet", **plan):
    torch.manual_seed(0)
    return build(Plan(backbone, **{"width": 24, "heads": 3, **plan}), weights="none").eval()


def squashed(pixels, side):
    from PIL import Image

    small = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))
    return torch.from_numpy(small.transpose(2, 0, 1).copy())[None]


def test_each_network_has_the_maps_that_it_can_have():
    assert available(network()) == ("panel-attention", "activation", "window")
    assert available(network(head="pooled")) == ("activation", "window")
    assert available(network("test_vit")) == ("class-attention", "panel-attention", "activation", "window")


def test_the_whole_photo_is_squashed_to_a_square():
    torch.testing.assert_close(whole_image(scene(), 128, "bicubic"), squashed(scene(), 128))


@pytest.mark.parametrize("name", ["panel-attention", "activation"])
def test_a_map_is_the_networks_own_over_its_mean(name):
    net, pixels = network(), scene()
    found = attention_map(net, squashed(pixels, 128), name).values
    with torch.no_grad():
        if name == "activation":
            tokens = net.features(squashed(pixels, 128)).tokens[0].numpy()
            plane = np.array([sum(max(0.0, float(v)) for v in token) for token in tokens]).reshape(4, 4)
        else:
            plane = net.attention(squashed(pixels, 128))[1][0].double().numpy()
    np.testing.assert_allclose(found, plane / plane.mean(), rtol=1e-4)
    assert found.mean() == pytest.approx(1)


def test_class_attention_is_a_row_of_the_softmax():
    net, pixels = network("test_vit"), scene()
    found = attention_map(net, squashed(pixels, 160), "class-attention").values
    blocks = len(net.backbone.net.blocks)
    _, maps = net.backbone.class_attention(net.normalize(squashed(pixels, 160)), blocks=min(3, blocks))
    plane = maps[0].detach().double().numpy()
    np.testing.assert_allclose(found, plane / plane.mean(), rtol=1e-4)


@pytest.mark.parametrize("size", [1, 5, 14])
def test_the_window_holds_more_than_any_other(size):
    found = window_map(network(), squashed(scene(), 448), size=size, by="activation")
    top, left, bottom, right = (round(14 * side) for side in found.window)
    assert (bottom - top, right - left) == (size, size)
    sums = [found.values[i : i + size, j : j + size].sum() for i in range(15 - size) for j in range(15 - size)]
    assert found.values[top:bottom, left:right].sum() == pytest.approx(max(sums), rel=1e-5)


def test_windows_that_do_not_fit():
    image = squashed(scene(), 448)
    with pytest.raises(OptionError, match="window must be 1 to 14"):
        window_map(network(), image, size=15, by="activation")
    with pytest.raises(OptionError, match="not 'sound'"):
        window_map(network(), image, size=3, by="sound")
    with pytest.raises(OptionError, match="take it by activation"):
        window_map(network(head="pooled"), image, size=3, by="attention")
    window_map(network(head="pooled"), image, size=3, by="activation")
