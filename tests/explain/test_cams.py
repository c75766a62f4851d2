"""Grad-CAM on a network small enough for paper and pencil; where tokens lie; crops put back into the photo."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pytorch_grad_cam", reason="needs the explain extra")

from noref.errors import ModelError, OptionError  # noqa: E402
from noref.explain.cams import CropBox, ReshapeTransform, choose_layer, find_layers, gradcam, stitch  # noqa: E402
from noref.models.network import Plan, build  # noqa: E402


class Backbone(torch.nn.Module):
    """Two channels: the red one, and red less green."""

    gives_tokens = False

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1, bias=False))
        self.net[0].weight.data = torch.tensor([[1.0, 0, 0], [1.0, -1.0, 0]])[:, :, None, None]


class Linear(torch.nn.Module):
    """Score = 3 * mean of channel 0 - 2 * mean of channel 1."""

    def __init__(self):
        super().__init__()
        self.backbone = Backbone()

    def forward(self, images):
        means = self.backbone.net(images).mean(dim=(2, 3))
        return 3 * means[:, 0] - 2 * means[:, 1]


def test_a_linear_network_by_hand():
    # alpha_k is d score / d A_k, mean over 4 places: 3/4 and -2/4; the map is alpha_0 A_0 + alpha_1 A_1
    net = Linear().eval()
    images = torch.rand(2, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    red, green = images[:, 0].double().numpy(), images[:, 1].double().numpy()
    np.testing.assert_allclose(
        gradcam(net, images, net.backbone.net[0], net.backbone), (3 * red - 2 * (red - green)) / 4, atol=1e-6
    )


def test_minus_the_score_as_target_is_the_negative_of_the_map():
    class Minus(torch.nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, images):
            return -self.net(images)

    torch.manual_seed(0)
    net = build(Plan("test_resnet", width=24, heads=3), weights="none").eval()
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    name, layer = choose_layer(find_layers(net, net.backbone, images), net.backbone, None, "net")
    up = gradcam(net, images, layer, net.backbone)
    assert name == "layer4"
    assert up.shape == (1, 2, 2)
    np.testing.assert_allclose(gradcam(Minus(net), images, layer, net.backbone), -up, rtol=1e-4, atol=1e-9)


def test_the_library_itself_gives_the_same_map_up_to_its_scale():
    from pytorch_grad_cam import GradCAM

    torch.manual_seed(0)
    net = build(Plan("test_resnet", width=24, heads=3), weights="none").eval()
    images = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    layer = choose_layer(find_layers(net, net.backbone, images), net.backbone, "layer3", "net")[1]
    own = gradcam(net, images, layer, net.backbone)[0].clip(min=0)
    theirs = GradCAM(model=net, target_layers=[layer])(images, [lambda output: output])[0]
    import cv2

    scaled = cv2.resize(((own - own.min()) / (1e-7 + own.max() - own.min())).astype(np.float32), (96, 96))
    scaled = (scaled - scaled.min()) / (1e-7 + scaled.max() - scaled.min())
    np.testing.assert_allclose(theirs, scaled, atol=1e-4)


def test_no_gradient_stays_behind():
    net = Linear().eval()
    gradcam(net, torch.rand(1, 3, 2, 2), net.backbone.net[0], net.backbone)
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not net.backbone.net[0]._forward_hooks


def test_a_transformers_tokens_are_spatial_without_the_class_token():
    torch.manual_seed(0)
    net = build(Plan("test_vit", width=24, heads=3), weights="none").eval()
    images = torch.rand(1, 3, 160, 160)
    tokens = torch.arange(101.0)[None, :, None].expand(1, 101, 5)
    found = ReshapeTransform(net.backbone, (160, 160))(tokens)
    assert found.shape == (1, 5, 10, 10)
    assert found[0, 0].tolist() == [[1 + 10 * row + column for column in range(10)] for row in range(10)]
    name, layer = choose_layer(find_layers(net, net.backbone, images), net.backbone, None, "net")
    assert name == f"blocks.{len(net.backbone.net.blocks) - 1}.norm1"
    assert gradcam(net, images, layer, net.backbone).shape == (1, 10, 10)


def test_a_quality_token_at_the_end_is_not_spatial():
    torch.manual_seed(0)
    net = build(Plan("test_vit", head="tokens", width=24, heads=3, mask=0.5), weights="none").eval()
    found = ReshapeTransform(net.backbone, (160, 160))(torch.arange(102.0)[None, :, None])
    assert (found[0, 0, 0, 0], found[0, 0, 9, 9]) == (1, 100)


def test_a_wrong_layer_lists_the_possible_ones():
    net = build(Plan("test_resnet", width=24, heads=3), weights="none").eval()
    found = find_layers(net, net.backbone, torch.zeros(1, 3, 64, 64))
    with pytest.raises(OptionError, match=r"tiny has no layer 'layer9': possible are .*layer3.*layer4"):
        choose_layer(found, net.backbone, "layer9", "tiny")
    with pytest.raises(ModelError, match="no layer"):
        choose_layer({}, net.backbone, None, "tiny")


def test_a_layer_that_the_score_does_not_need():
    class Aside(Linear):
        def forward(self, images):
            self.backbone.net(images)
            return images.mean(dim=(1, 2, 3)) * torch.ones(1, requires_grad=True)

    net = Aside().eval()
    with pytest.raises(OptionError, match="does not depend"):
        gradcam(net, torch.rand(1, 3, 4, 4), net.backbone.net[0], net.backbone)


def test_crops_are_put_back_by_a_loop():
    rng = np.random.default_rng(0)
    cams, boxes = rng.random((3, 2, 3)), [CropBox(0, 0, (6, 6)), CropBox(0, 4, (6, 6)), CropBox(-3, -2, (12, 12))]
    found, expected = stitch(cams, boxes, 6, 10), np.zeros((6, 10))
    for y in range(6):
        for x in range(10):
            total = weight = 0.0
            for cam, box in zip(cams, boxes, strict=True):
                down, across = (y + 0.5 - box.top) / box.size[0], (x + 0.5 - box.left) / box.size[1]
                if not (0 < down < 1 and 0 < across < 1):
                    continue
                row, column = (min(max(s * n - 0.5, 0), n - 1) for s, n in ((down, 2), (across, 3)))
                value = 0.0
                for i in range(2):
                    for j in range(3):
                        value += cam[i, j] * max(0, 1 - abs(row - i)) * max(0, 1 - abs(column - j))
                fade = math.sin(math.pi * down) ** 2 * math.sin(math.pi * across) ** 2
                total, weight = total + fade * value, weight + fade
            expected[y, x] = total / weight
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_points_that_no_crop_shows_are_zero():
    # ARNIQA's corner crops leave the middle of the sides of a large photo out: what they show is the whole score
    found = stitch(np.ones((2, 2, 2)), [CropBox(0, 0, (4, 4)), CropBox(0, 8, (4, 4))], 4, 12)
    np.testing.assert_array_equal(found[:, :4], 1)
    np.testing.assert_array_equal(found[:, 4:8], 0)


def test_one_value_everywhere_stays_and_large_pictures_are_bounded():
    found = stitch(np.full((2, 4, 4), 0.3), [CropBox(0, 0, (100, 100)), CropBox(0, 20, (100, 100))], 100, 120)
    np.testing.assert_allclose(found, 0.3)
    assert stitch(np.ones((1, 2, 2)), [CropBox(0, 0, (1000, 4096))], 1000, 4096).shape == (250, 1024)
