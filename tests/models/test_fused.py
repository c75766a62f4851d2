"""A frozen batch norm inside its convolution: the same numbers and the same gradients."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn

from noref.errors import ModelError
from noref.models.backbones import freeze_batch_norm, load_backbone
from noref.models.fused import folded, fuse_frozen_norms


def shaken(net: nn.Module) -> nn.Module:
    """Batch norms with statistics, weights and biases that are not trivial, in evaluation mode for good."""
    generator = torch.Generator().manual_seed(0)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for values in (layer.running_mean, layer.weight.data, layer.bias.data):
                values.add_(0.2 * torch.randn(values.shape, generator=generator))
            layer.running_var.mul_(0.5 + torch.rand(layer.running_var.shape, generator=generator))
    freeze_batch_norm(net)
    return net


@pytest.mark.parametrize(("name", "options"), [("test_resnet", {}), ("test_efficientnet", {"pad_type": "same"})])
@pytest.mark.parametrize("side", [64, 71])
def test_output_and_gradients_are_those_of_the_network_as_it_was(name, options, side):
    torch.manual_seed(0)
    plain = shaken(timm.create_model(name, pretrained=False, num_classes=0, **options))
    fused = copy.deepcopy(plain)
    assert fuse_frozen_norms(fused, torch.randn(1, 3, 64, 64)) > 5
    images = torch.randn(2, 3, side, side)
    wanted, found = plain(images), fused(images)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    wanted.square().sum().backward()
    found.square().sum().backward()
    assert plain.state_dict().keys() == fused.state_dict().keys()
    for (key, one), other in zip(plain.named_parameters(), fused.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, rtol=2e-3, atol=2e-4 * float(one.grad.abs().max()), msg=key)


@pytest.mark.parametrize("pad_type", ["", "same"])
@pytest.mark.parametrize("side", [16, 17])
def test_the_strided_detour_under_autocast_is_the_strided_convolution(pad_type, side):
    torch.manual_seed(0)
    net = shaken(timm.create_model("test_efficientnet", pretrained=False, num_classes=0, pad_type=pad_type))
    block = next(m for m in net.modules() if getattr(getattr(m, "conv_dw", None), "stride", None) == (2, 2))
    pair = nn.Sequential(copy.deepcopy(block.conv_dw), copy.deepcopy(block.bn2))
    images = torch.randn(1, pair[0].in_channels, side, side)
    with torch.no_grad():
        wanted = pair(images)
        assert fuse_frozen_norms(pair, images) == 1
        with torch.autocast("cpu", torch.bfloat16):
            found = pair(images).float()
    assert found.shape == wanted.shape
    torch.testing.assert_close(found, wanted, rtol=0.05, atol=0.05 * float(wanted.abs().max()))


class _Skips(nn.Module):
    """Neighbours that are not applied one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.conv(self.norm(x))


def test_a_network_that_uses_them_otherwise_is_left_as_it_was():
    torch.manual_seed(0)
    net = shaken(_Skips())
    images = torch.randn(1, 3, 4, 4)
    wanted = net(images)
    assert fuse_frozen_norms(net, images) == 0
    assert torch.equal(net(images), wanted)


def test_norms_that_train_are_left_alone():
    backbone = load_backbone("test_resnet", weights="none")
    assert fuse_frozen_norms(backbone.train(), torch.randn(2, 3, 64, 64)) == 0


def test_a_copy_is_fused_with_its_own_norms():
    torch.manual_seed(0)
    net = shaken(timm.create_model("test_resnet", pretrained=False, num_classes=0))
    images = torch.randn(1, 3, 64, 64)
    fuse_frozen_norms(net, images)
    twin = copy.deepcopy(net)
    with torch.no_grad():
        next(m for m in net.modules() if isinstance(m, nn.BatchNorm2d)).bias.add_(1)
        assert not torch.allclose(net(images), twin(images))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_a_folded_convolution_is_both(bias, affine):
    """By the definition of a batch norm in evaluation mode, channel by channel, in double precision."""
    torch.manual_seed(1)
    conv, norm = nn.Conv2d(4, 6, 3, groups=2, bias=bias).double(), nn.BatchNorm2d(6, affine=affine).double()
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    images = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    weight, offset = folded(conv, norm)
    found, before = torch.nn.functional.conv2d(images, weight, offset, groups=2), conv(images)
    for channel in range(6):
        scale = norm.weight[channel] if affine else 1.0
        shift = norm.bias[channel] if affine else 0.0
        centred = before[:, channel] - norm.running_mean[channel]
        expected = centred / (norm.running_var[channel] + norm.eps).sqrt() * scale + shift
        torch.testing.assert_close(found[:, channel], expected)
    with pytest.raises(ModelError, match="without running statistics"):
        folded(conv, nn.BatchNorm2d(6, track_running_stats=False))
