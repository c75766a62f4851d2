"""Looks of a network, and the window that holds most of one."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from noref.errors import OptionError  # noqa: E402
from noref.explain import attention_maps as looks  # noqa: E402
from noref.models.network import Plan, build  # noqa: E402

from .conftest import scene  # noqa: E402


def network(backbone="test_resnet", **plan):
    torch.manual_seed(0)
    return build(Plan(backbone, **{"width": 24, "heads": 3, **plan}), weights="none").eval()


def squashed(pixels, side):
    from PIL import Image

    small = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))
    return torch.from_numpy(small.transpose(2, 0, 1).copy())[None]


def test_each_network_has_the_looks_that_it_can_have():
    assert looks.kinds(network()) == ("panel-attention", "activation", "window")
    assert looks.kinds(network(head="pooled")) == ("activation", "window")
    assert looks.kinds(network("test_vit")) == ("class-attention", "panel-attention", "activation", "window")


@pytest.mark.parametrize("kind", ["panel-attention", "activation"])
def test_a_look_is_the_networks_own_over_its_mean(kind):
    net, pixels = network(), scene()
    found = looks.look(net, pixels, kind, side=128, resample="bicubic").values
    with torch.no_grad():
        if kind == "activation":
            tokens = net.features(squashed(pixels, 128)).tokens[0].numpy()
            plane = np.array([sum(max(0.0, float(v)) for v in token) for token in tokens]).reshape(4, 4)
        else:
            plane = net.attention(squashed(pixels, 128))[1][0].double().numpy()
    np.testing.assert_allclose(found, plane / plane.mean(), rtol=1e-4)
    assert found.mean() == pytest.approx(1)


def test_class_attention_is_a_row_of_the_softmax():
    net, pixels = network("test_vit"), scene()
    found = looks.look(net, pixels, "class-attention", side=160, resample="bicubic").values
    blocks = len(net.backbone.net.blocks)
    _, maps = net.backbone.class_attention(net.normalize(squashed(pixels, 160)), blocks=min(3, blocks))
    plane = maps[0].detach().double().numpy()
    np.testing.assert_allclose(found, plane / plane.mean(), rtol=1e-4)


@pytest.mark.parametrize("size", [1, 5, 14])
def test_the_window_holds_more_than_any_other(size):
    found = looks.window(network(), scene(), size=size, by="activation", side=448, resample="bicubic")
    top, left, bottom, right = (round(14 * side) for side in found.window)
    assert (bottom - top, right - left) == (size, size)
    sums = [found.values[i : i + size, j : j + size].sum() for i in range(15 - size) for j in range(15 - size)]
    assert found.values[top:bottom, left:right].sum() == pytest.approx(max(sums), rel=1e-5)


def test_windows_that_cannot_be():
    with pytest.raises(OptionError, match="window must be 1 to 14"):
        looks.window(network(), scene(), size=15, by="activation", side=448, resample="bicubic")
    with pytest.raises(OptionError, match="not 'sound'"):
        looks.window(network(), scene(), size=3, by="sound", side=448, resample="bicubic")
    with pytest.raises(OptionError, match="take it by activation"):
        looks.check_window(network(head="pooled"), "attention")
    looks.check_window(network(head="pooled"), "activation")
