from __future__ import annotations

import math

import pytest
import torch

from noref.errors import OptionError
from noref.models import vit
from noref.models.backbones import load_backbone
from noref.models.network import Plan, build
from noref.models.vit import Vit, quality_masks


def plain():
    torch.manual_seed(0)
    return load_backbone("test_vit", weights="none").double()


@pytest.fixture
def backbone():
    """The smallest ViT with a quality token that is no neutral start, in double precision."""
    found = plain()
    found.add_quality_token(0.5)
    found.double()
    torch.nn.init.normal_(found.quality_token)
    return found


def images(batch=2):
    return torch.randn(batch, 3, 160, 160, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def slow_block(block, sequence, visible):
    """One image, one query at a time: softmax over the visible subset and nothing else. `visible[row]`: its columns."""
    attention = block.attn
    size = attention.head_dim
    normed = block.norm1(sequence)
    rows = []
    for row in range(len(sequence)):
        keys = visible[row]
        heads = []
        for head in range(attention.num_heads):
            part = slice(head * size, (head + 1) * size)
            weight, bias = attention.qkv.weight, attention.qkv.bias
            wq, wk, wv = (w[part] for w in weight.chunk(3))
            bq, bk, bv = (b[part] for b in bias.chunk(3))
            query = wq @ normed[row] + bq
            logits = torch.stack([query @ (wk @ normed[key] + bk) / math.sqrt(size) for key in keys])
            soft = logits.softmax(dim=0)
            heads.append(sum(s * (wv @ normed[key] + bv) for s, key in zip(soft, keys, strict=True)))
        rows.append(attention.proj(torch.cat(heads)))
    sequence = sequence + torch.stack(rows)
    return sequence + block.mlp(block.norm2(sequence))


def test_masked_attention_is_attention_over_the_visible_subset(backbone):
    block = backbone.net.blocks[0]
    sequence = torch.randn(2, 9, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    masks = quality_masks(2, 8, 0.5, torch.Generator().manual_seed(3))
    with torch.no_grad():
        found = block(sequence, attn_mask=masks.double())
        for image in range(2):
            visible = [[c for c in range(9) if masks[image, 0, row, c] == 0] for row in range(9)]
            assert visible[:8] == [list(range(8))] * 8
            assert 8 in visible[8]
            assert len(visible[8]) < 9
            torch.testing.assert_close(found[image], slow_block(block, sequence[image], visible))


def test_each_layer_and_image_has_its_own_mask_in_training_and_none_at_test(backbone, monkeypatch):
    drawn = []

    def spy(*args, **options):
        drawn.append(quality_masks(*args, **options).double())
        return drawn[-1]

    monkeypatch.setattr(vit, "quality_masks", spy)
    with torch.no_grad():
        backbone.train()(images())
        training, drawn[:] = [m for m in drawn if len(m) == 2], []
        backbone.eval()(images())
    assert len(training) == len(backbone.net.blocks)
    rows = {tuple(image[0, -1].tolist()) for masks in training for image in masks}
    assert len(rows) == 2 * len(training)
    assert all((masks[..., -1, :] == 0).all() for masks in drawn)


def test_nobody_attends_to_the_quality_token(backbone):
    """Class token and patches are those of the transformer without it, whatever it holds and is hidden from it."""
    with torch.no_grad():
        expected = plain().eval()(images())
        found = backbone.train()(images())
        torch.testing.assert_close(found.pooled, expected.pooled)
        torch.testing.assert_close(found.tokens, expected.tokens)
        backbone.quality_token.mul_(-3)
        other = backbone(images())
    torch.testing.assert_close(other.tokens, expected.tokens)
    assert not torch.allclose(other.quality, found.quality)


def test_test_time_scores_are_the_same_over_repeated_runs():
    torch.manual_seed(0)
    network = build(Plan("test_vit", heads=4, head="tokens", mask=0.3), weights="none")
    pixels = torch.randint(0, 256, (3, 3, 160, 160), dtype=torch.uint8)
    with torch.no_grad():
        training = [network.train()(pixels) for _ in range(2)]
        first = network.eval()(pixels)
        for _ in range(3):
            assert torch.equal(network(pixels), first)
        alone = torch.cat([network(image[None]) for image in pixels])
    assert not torch.equal(*training)
    torch.testing.assert_close(alone, first)


def test_layers_are_class_and_quality_token_of_each_block(backbone):
    backbone.eval()
    seen = []
    for block in backbone.net.blocks:
        block.register_forward_hook(lambda block, given, found: seen.append(found))
    with torch.no_grad():
        pooled, tokens = (backbone(images(), layers=kind).layers for kind in ("pooled", "tokens"))
        assert backbone(images()).layers == ()
    assert len(pooled) == len(tokens) == 6
    for place, expected in enumerate(seen[:6]):
        assert torch.equal(pooled[place], torch.cat([expected[:, 0], expected[:, -1]], dim=1))
        assert torch.equal(tokens[place], expected.flatten(1))


@pytest.mark.parametrize("layers", ["pooled", "tokens"])
def test_gradients_reach_every_layers_tokens(backbone, layers):
    """Each layer's embedding alone moves the quality token and every block up to it, and none behind it."""
    for place in range(6):
        backbone.zero_grad()
        backbone.train()(images(), layers=layers).layers[place].square().sum().backward()
        assert backbone.quality_token.grad.abs().sum() > 0
        for number, block in enumerate(backbone.net.blocks):
            gradient = block.attn.qkv.weight.grad
            reached = gradient is not None and float(gradient.abs().sum()) > 0
            assert reached == (number <= place)


def test_the_fused_kernel_takes_the_mask_under_autocast(backbone):
    small = backbone.float().eval()
    with torch.no_grad():
        expected = small(images().float()).quality
        with torch.autocast("cpu", torch.bfloat16):
            found = small(images().float()).quality
    assert torch.isfinite(found).all()
    assert (found.float() - expected).abs().mean() < 0.05


def test_a_network_that_cannot_have_the_token_is_an_option_error():
    with pytest.raises(OptionError, match="only a vision transformer"):
        build(Plan("test_resnet", width=24, heads=3, mask=0.3), weights="none")
    with pytest.raises(OptionError, match="probability"):
        plain().add_quality_token(1.5)
    with pytest.raises(OptionError, match="no quality token"):
        build(Plan("test_vit", heads=4, head="tokens"), weights="none")
    net = plain().net
    net.blocks[0].forward = lambda x: x
    with pytest.raises(OptionError, match="take no attention mask"):
        Vit(net).add_quality_token(0.3)


def test_pooled_head_takes_both_tokens():
    network = build(Plan("test_vit", head="pooled", mask=0.3), weights="none").eval()
    assert network.head.score.in_features == 2 * 64
    with torch.no_grad():
        assert network(torch.zeros(2, 3, 160, 160, dtype=torch.uint8)).shape == (2,)


def test_a_plain_transformers_layers_are_its_blocks_class_tokens():
    backbone, seen = plain().eval(), []
    for block in backbone.net.blocks:
        block.register_forward_hook(lambda block, given, found: seen.append(found))
    with torch.no_grad():
        pooled, tokens = (backbone(images(), layers=kind).layers for kind in ("pooled", "tokens"))
    for place, expected in enumerate(seen[:6]):
        assert torch.equal(pooled[place], expected[:, 0])
        assert torch.equal(tokens[place], expected.flatten(1))


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "vgg11"])
def test_a_cnns_layers_are_its_maps_from_stride_eight_on(name):
    backbone = load_backbone(name, weights="none").eval()
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        without, pooled, tokens = (backbone(pixels, layers=kind) for kind in (None, "pooled", "tokens"))
        maps = backbone.net.forward_intermediates(pixels, intermediates_only=True)
    at = {64 // m.shape[2]: m for m in maps}  # the last of each stride
    assert without.layers == ()
    assert len(pooled.layers) == 3
    for place, stride in enumerate((8, 16)):
        torch.testing.assert_close(pooled.layers[place], at[stride].mean(dim=(2, 3)))
        torch.testing.assert_close(tokens.layers[place], at[stride].flatten(1))
    assert torch.equal(pooled.layers[2], pooled.pooled)
    assert torch.equal(tokens.layers[2], tokens.tokens.flatten(1))
    torch.testing.assert_close(pooled.tokens, without.tokens)
