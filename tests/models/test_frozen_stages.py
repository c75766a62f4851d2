from __future__ import annotations

import pytest
import torch
from torch import nn

from noref.errors import OptionError
from noref.models.backbones import freeze_stages, layer_depths
from noref.models.frozen_stages import TailNet
from noref.models.network import Plan, build
from noref.models.saliency import saliency


def network(backbone="test_efficientnet", **plan):
    torch.manual_seed(0)
    net = build(Plan(backbone, **{"width": 24, "heads": 3, **plan}), weights="none")
    for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.normal_(norm.running_mean, std=0.2)
    return net


@pytest.mark.parametrize(
    ("backbone", "pad_type"),
    [("test_efficientnet", ""), ("mobilenetv2_050", "same"), ("resnet18", ""), ("test_resnet", ""), ("test_vit", "")],
)
def test_both_parts_are_the_whole_wherever_it_is_cut(backbone, pad_type):
    whole = network(backbone, pad_type=pad_type)
    images = torch.randint(0, 256, (3, 3, 64, 64 if backbone == "test_vit" else 96), dtype=torch.uint8)
    with torch.no_grad():
        expected, seen = whole(images), whole.features(images)
    for stages in range(1, max(layer_depths(whole.backbone, stages=True).values()) + 1):
        cut = TailNet(whole, stages)
        with torch.no_grad():
            scores, features = cut(cut.frozen_features(images), features=True)
        torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(features.pooled, seen.pooled, rtol=1e-4, atol=1e-5)
        assert features.grid == seen.grid
        assert torch.equal(cut(cut.frozen_features(images)), scores)


@pytest.mark.parametrize("backbone", ["test_efficientnet", "resnet18", "test_vit"])
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
    ("backbone", "stages"), [("test_vit", 7), ("test_convnext", 2), ("resnet18", 0), ("resnet18", 5)]
)
def test_networks_that_cannot_be_cut_are_refused(backbone, stages):
    with pytest.raises(OptionError, match="cut"):
        TailNet(network(backbone), stages)


def test_a_network_whose_stages_are_not_a_row_is_refused():
    whole = network("resnet18")
    whole.backbone.net.maxpool, whole.backbone.net.layer1 = whole.backbone.net.layer1, whole.backbone.net.maxpool
    whole.backbone.net.forward_features = lambda x: torch.ones(1, 512, 2, 2)
    whole.backbone._embedded = []
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


def test_a_transformers_frozen_features_are_its_tokens_and_its_attention_is_the_same():
    """Patches of 16 in 64 pixels: a class token and 4 x 4 patches; what lies behind the cut is the whole network's."""
    whole = network("vit_tiny_patch16_224", image_size=64).eval()
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    cut = TailNet(whole, 10)
    with torch.no_grad():
        kept = cut.frozen_features(images)
        assert kept.shape == (2, 17, 192)
        for mine, theirs in zip(cut.class_attention(kept), whole.class_attention(images), strict=True):
            torch.testing.assert_close(mine[0], theirs[0])
        assert torch.equal(saliency(cut, kept), saliency(whole, images))
        for kind in ("pooled", "tokens"):
            layers, expected = cut.features(kept, layers=kind).layers, whole.features(images, layers=kind).layers
            assert (len(layers), len(expected)) == (3, 12)
            for mine, theirs in zip(layers, expected[-3:], strict=True):
                torch.testing.assert_close(mine, theirs)
        half = cut(kept.bfloat16())  # as a cache keeps them
        torch.testing.assert_close(half, whole(images), atol=0.05, rtol=0)
    with pytest.raises(OptionError, match="last 4 blocks: this network has 1 to 3"):
        cut.class_attention(kept, blocks=4)


def test_a_quality_token_joins_behind_the_cut():
    options = {"head": "tokens", "mask": 0.3, "heads": 4}
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with pytest.raises(OptionError, match=r"quality token .* mask_from 3"):
        TailNet(network("test_vit", **options), 4)
    whole = network("test_vit", **options, mask_from=3)
    cut = TailNet(whole, 4).eval()
    with torch.no_grad():
        scores, found = cut(cut.frozen_features(images), features=True, layers="pooled")
        expected, seen = whole(images, features=True, layers="pooled")
        torch.testing.assert_close(scores, expected)
        torch.testing.assert_close(found.quality, seen.quality)
        assert [layer.shape[1] for layer in seen.layers] == [64] * 3 + [128] * 3
        plain = network("test_vit", heads=4).eval()
        torch.testing.assert_close(whole.features(images).tokens, plain.features(images).tokens)
        before = whole.train()(images)
        assert not torch.equal(before, whole(images))  # masks are drawn
    with pytest.raises(OptionError, match="mask_from must be 0 to 5, got 6"):
        network("test_vit", **options, mask_from=6)
