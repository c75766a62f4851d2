"""Class-to-patch attention against the formula, entry by entry, for each kind of attention and block that timm has."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from timm.models import vision_transformer as timm_vit
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from noref.errors import OptionError
from noref.models.backbones import load_backbone
from noref.models.vit import Vit, attention_of


def tiny(**options):
    torch.manual_seed(0)
    net = VisionTransformer(
        **{"img_size": 48, "patch_size": 16, "embed_dim": 24, "depth": 4, "num_heads": 3, "num_classes": 0, **options}
    )
    for parameter in net.parameters():  # timm starts so small that every softmax would be flat
        nn.init.normal_(parameter, std=0.4) if parameter.ndim > 1 else nn.init.normal_(parameter, mean=0.5, std=0.3)
    return Vit(net.eval())


def images(count=2, size=48):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def softmax_by_hand(layer, tokens, heads):
    """(tokens, tokens) for each head, from the weights of the projection, with loops."""
    wide = (tokens @ layer.qkv.weight.T + (0 if layer.qkv.bias is None else layer.qkv.bias)).reshape(len(tokens), 3, -1)
    size = layer.head_dim
    found = []
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        queries, keys = layer.q_norm(wide[:, 0, own]), layer.k_norm(wide[:, 1, own])
        rows = np.zeros((len(tokens), len(tokens)))
        for i in range(len(tokens)):
            logits = [float(queries[i].double() @ keys[j].double()) / math.sqrt(size) for j in range(len(tokens))]
            rows[i] = np.exp(np.array(logits) - max(logits))
            rows[i] /= rows[i].sum()
        found.append(rows)
    return np.array(found)


OPTIONS = {
    "plain": {},
    "LayerScale": {"init_values": 0.5},
    "query and key norm": {"qk_norm": True},
    "registers": {"reg_tokens": 2},
    "norm behind": {"block_fn": timm_vit.ResPostBlock, "init_values": 0.5},
    "no bias": {"qkv_bias": False},
    "position on patches only": {"no_embed_class": True},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@torch.no_grad()
def test_maps_are_the_formulas(options):
    backbone = tiny(**options)
    net, prefix = backbone.net, backbone.net.num_prefix_tokens
    features, maps = backbone.class_attention(images(), blocks=2)
    given = []  # what each block's attention gets, recorded on the fused path
    for block in net.blocks[-2:]:
        block.attn.register_forward_pre_hook(lambda module, args: given.append((module, args[0])))
    expected = backbone(images())
    for mine, theirs in zip(features[:2], expected[:2], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    for n in range(2):
        rows = np.mean([softmax_by_hand(layer, x[n], 3).mean(axis=0)[0] for layer, x in given], axis=0)
        np.testing.assert_allclose(maps[n].flatten(), rows[prefix:], rtol=1e-4, atol=1e-6)
        assert maps[n].sum() == pytest.approx(1 - rows[:prefix].sum(), rel=1e-4)
    assert maps.shape == (2, 3, 3)
    assert bool(maps.isfinite().all())
    assert maps.std() > 0.01  # and not flat


@torch.no_grad()
def test_differential_attention_is_the_difference_of_two_softmaxes():
    backbone = tiny(attn_layer="diff", embed_dim=24, num_heads=3)
    features, maps = backbone.class_attention(images(1), blocks=1)
    layer, given = backbone.net.blocks[-1].attn, []
    layer.register_forward_pre_hook(lambda module, args: given.append(args[0]))
    torch.testing.assert_close(features.tokens, backbone(images(1)).tokens, rtol=1e-4, atol=1e-5)
    weights = softmax_by_hand(layer, given[0][0], 6)  # timm lays the two maps of a head side by side
    share = (
        math.exp(float(layer.lambda_q1 @ layer.lambda_k1))
        - math.exp(float(layer.lambda_q2 @ layer.lambda_k2))
        + (0.8 - 0.6 * math.exp(-0.3 * 3))
    )
    expected = np.mean([weights[2 * head] - share * weights[2 * head + 1] for head in range(3)], axis=0)
    np.testing.assert_allclose(maps[0].flatten(), expected[0, 1:], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "block", [timm_vit.ParallelScalingBlock, timm_vit.ParallelThingsBlock, timm_vit.DiffParallelScalingBlock]
)
@torch.no_grad()
def test_blocks_of_another_build_give_the_same_output_with_a_map(block):
    backbone = tiny(block_fn=block)
    features, maps = backbone.class_attention(images(), blocks=3)
    torch.testing.assert_close(features.pooled, backbone(images()).pooled, rtol=1e-4, atol=1e-5)
    assert maps.shape == (2, 3, 3)


@pytest.mark.parametrize("name", ["test_vit", "deit3_small_patch16_224"])
@torch.no_grad()
def test_timms_networks_have_maps(name):
    backbone = load_backbone(name, weights="none").eval()
    size = backbone.net.patch_embed.img_size[0]
    features, maps = backbone.class_attention(images(1, size))
    torch.testing.assert_close(features.pooled, backbone(images(1, size)).pooled, rtol=1e-4, atol=1e-5)
    assert maps.shape == (1, size // 16, size // 16)
    assert bool((maps > 0).all())
    assert float(maps.sum()) < 1


@torch.no_grad()
def test_the_map_of_a_patch_the_class_token_must_look_at():
    """Queries and keys are the tokens themselves, so the softmax is one of a few whole numbers."""
    backbone = tiny(depth=1, num_heads=1, embed_dim=8, class_token=True, norm_layer=nn.Identity)
    layer = backbone.net.blocks[0].attn
    layer.qkv.weight.zero_()
    layer.qkv.weight[:16] = torch.eye(8).repeat(2, 1)  # queries and keys are the tokens themselves
    layer.qkv.bias = None
    tokens = torch.zeros(1, 10, 8)
    tokens[0, 0, 0], tokens[0, 1 + 5, 0] = 3.0, 3.0  # the class token's query meets two keys: its own and patch 5's
    backbone.embed = lambda images: tokens  # type: ignore[method-assign]
    _, maps = backbone.class_attention(images(1), blocks=1)
    met = math.exp(9 / math.sqrt(8))
    assert float(maps[0, 1, 2]) == pytest.approx(met / (2 * met + 8), rel=1e-5)
    assert float(maps[0, 0, 0]) == pytest.approx(1 / (2 * met + 8), rel=1e-5)


@torch.no_grad()
def test_nothing_of_the_explicit_path_is_left_behind():
    backbone = tiny()
    before = backbone(images())
    backbone.class_attention(images(), blocks=4)
    assert all(block.attn.fused_attn for block in backbone.net.blocks)
    assert not any(block.attn.attn_drop._forward_pre_hooks for block in backbone.net.blocks)
    assert torch.equal(backbone(images()).tokens, before.tokens)
    with pytest.raises(RuntimeError), attention_of(backbone.net.blocks[0]):
        raise RuntimeError
    assert backbone.net.blocks[0].attn.fused_attn


def test_half_precision_maps_follow_full_ones():
    backbone = tiny()
    with torch.no_grad():
        _, full = backbone.class_attention(images())
        with torch.autocast("cpu", torch.bfloat16):
            _, half = backbone.class_attention(images())
    torch.testing.assert_close(half.float(), full, rtol=0.2, atol=0.02)


@pytest.mark.parametrize("blocks", [0, -1, 5])
def test_blocks_that_are_not_there_are_option_errors(blocks):
    with pytest.raises(OptionError, match=f"last {blocks} blocks: this network has 1 to 4"):
        tiny().class_attention(images(), blocks=blocks)


def test_without_a_class_token_there_is_no_map():
    with pytest.raises(OptionError, match="no class token"):
        tiny(class_token=False, global_pool="avg").class_attention(images())
    with pytest.raises(OptionError, match="no attention"), attention_of(nn.Linear(1, 1)):
        pass


def test_another_size_is_an_option_error():
    with pytest.raises(OptionError, match="48 x 48"):
        tiny().class_attention(images(1, 64))
