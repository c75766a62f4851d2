from __future__ import annotations

import pytest
import torch
from torch import nn

from noref.errors import OptionError
from noref.models.backbones import freeze_stages, layer_depths
from noref.models.frozen_stages import TailNet
from noref.models.network import Plan, build


def network(backbone="test_efficientnet", **plan):
    torch.manual_seed(0)
    net = build(Plan(backbone, **{"width": 24, "heads": 3, **plan}), weights="none")
    for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.normal_(norm.running_mean, std=0.2)
    return net


@pytest.mark.parametrize(
    ("backbone", "pad_type"),
    [("test_efficientnet", ""), ("mobilenetv2_050", "same"), ("resnet18", ""), ("test_resnet", "")],
)
def test_both_parts_are_the_whole_wherever_it_is_cut(backbone, pad_type):
    whole = network(backbone, pad_type=pad_type)
    images = torch.randint(0, 256, (3, 3, 64, 96), dtype=torch.uint8)
    with torch.no_grad():
        expected, seen = whole(images), whole.features(images)
    for stages in range(1, max(layer_depths(whole.backbone, stages=True).values()) + 1):
        cut = TailNet(whole, stages)
        with torch.no_grad():
            scores, features = cut.with_features(cut.frozen_features(images))
        torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(features.pooled, seen.pooled, rtol=1e-4, atol=1e-5)
        assert features.grid == seen.grid
        assert torch.equal(cut(cut.frozen_features(images)), scores)


@pytest.mark.parametrize("backbone", ["test_efficientnet", "resnet18"])
def test_what_is_frozen_is_what_comes_before_the_cut(backbone):
    """Gradients through the cut network reach every parameter that learns, and no frozen one."""
    for stages in (1, 3):
        whole = network(backbone)
        freeze_stages(whole.backbone, stages)
        cut = TailNet(whole, stages)
        cut(cut.frozen_features(torch.rand(2, 3, 64, 64))).sum().backward()
        for name, parameter in whole.named_parameters():
            assert (parameter.grad is not None) == parameter.requires_grad, name


@pytest.mark.parametrize(
    ("backbone", "stages"), [("test_vit", 2), ("test_convnext", 2), ("resnet18", 0), ("resnet18", 5)]
)
def test_networks_that_cannot_be_cut_are_refused(backbone, stages):
    with pytest.raises(OptionError, match="cut"):
        TailNet(network(backbone), stages)


def test_a_network_whose_stages_are_not_a_row_is_refused():
    whole = network("resnet18")
    whole.backbone.net.maxpool, whole.backbone.net.layer1 = whole.backbone.net.layer1, whole.backbone.net.maxpool
    whole.backbone.net.forward_features = lambda x: torch.ones(1, 512, 2, 2)
    whole.backbone._stage8 = whole.backbone._stage16 = None
    with pytest.raises(OptionError, match="not run one after the other"):
        TailNet(whole, 1)


@pytest.mark.parametrize("layers", ["pooled", "tokens"])
@pytest.mark.parametrize("backbone", ["test_efficientnet", "mobilenetv2_050", "resnet18"])
def test_embeddings_of_layers_are_the_last_ones_of_the_whole(backbone, layers):
    """The whole network names strides 8 and 16 and the last; a cut behind a stage leaves those before it out."""
    whole = network(backbone)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = whole.features(images, layers=layers).layers
        stages = max(layer_depths(whole.backbone, stages=True).values())
        counts = []
        for stage in range(1, stages + 1):
            cut = TailNet(whole, stage)
            _, features = cut(cut.frozen_features(images), features=True, layers=layers)
            counts.append(len(features.layers))
            for mine, theirs in zip(reversed(features.layers), reversed(expected), strict=False):
                torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    assert counts[0] == len(expected) == 3
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < 3
    assert not cut(cut.frozen_features(images), features=True)[1].layers
