from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from noref.errors import OptionError
from noref.models.features import Features
from noref.models.heads import PanelHead, PooledHead
from noref.models.panel import AttentionPanel, DecoderLayer, TwoTokenDecoder, full_precision_linear
from noref.models.plan import Plan


def layer_norm(x, norm):
    centred = x - x.mean()
    return centred / math.sqrt((centred**2).mean() + norm.eps) * norm.weight.numpy() + norm.bias.numpy()


def gelu(x):
    return np.array([value / 2 * (1 + math.erf(value / math.sqrt(2))) for value in x])


def attend(queries, memory, attention):
    """Multi-head attention one query and one head at a time; returns outputs and weights averaged over heads."""
    width, heads = queries.shape[1], attention.num_heads
    size = width // heads
    weight, bias = attention.in_proj_weight.numpy(), attention.in_proj_bias.numpy()
    wq, wk, wv = weight[:width], weight[width : 2 * width], weight[2 * width :]
    bq, bk, bv = bias[:width], bias[width : 2 * width], bias[2 * width :]
    outputs, shares = [], []
    for query in queries:
        joined, share = np.empty(width), np.zeros(len(memory))
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            q = (wq @ query + bq)[part]
            logits = np.array([q @ (wk @ token + bk)[part] / math.sqrt(size) for token in memory])
            soft = np.exp(logits - logits.max())
            soft /= soft.sum()
            joined[part] = sum(w * (wv @ token + bv)[part] for w, token in zip(soft, memory, strict=True))
            share += soft / heads
        outputs.append(attention.out_proj.weight.numpy() @ joined + attention.out_proj.bias.numpy())
        shares.append(share)
    return np.array(outputs), np.array(shares)


def scored(decoder, *tokens):
    return full_precision_linear(decoder(*tokens)[0], decoder.score)


def panel_by_hand(panel, pooled, tokens):
    layer = panel.layer
    x = panel.queries.numpy()[0] + pooled
    normed = np.array([layer_norm(row, layer.norm_self) for row in x])
    x = x + attend(normed, normed, layer.self_attention)[0]
    read, shares = attend(np.array([layer_norm(row, layer.norm_cross) for row in x]), tokens, layer.cross_attention)
    x = x + read
    first, _, second = layer.mlp
    for row in range(len(x)):
        hidden = gelu(first.weight.numpy() @ layer_norm(x[row], layer.norm_mlp) + first.bias.numpy())
        x[row] = x[row] + second.weight.numpy() @ hidden + second.bias.numpy()
    scores = [panel.score.weight.numpy()[0] @ row for row in x]
    return np.mean(scores), shares.mean(axis=0)


@pytest.fixture
def panel():
    torch.manual_seed(0)
    panel = AttentionPanel(12, heads=3, queries=4).double()
    for parameter in panel.parameters():
        nn.init.normal_(parameter, std=0.5)  # nothing at its neutral start, so that every part counts
    return panel.requires_grad_(False)


def test_panel_is_what_the_slow_loops_give(panel):
    pooled, tokens = torch.randn(2, 12).double(), torch.randn(2, 7, 12).double()
    scores, (_, attention) = scored(panel, pooled, tokens), panel(pooled, tokens, attention=True)
    for image in range(2):
        score, share = panel_by_hand(panel, pooled[image].numpy(), tokens[image].numpy())
        assert scores[image].item() == pytest.approx(score, rel=1e-9)
        np.testing.assert_allclose(attention[image].numpy(), share, rtol=1e-9)
    before, none = panel(pooled, tokens)
    torch.testing.assert_close(before, panel(pooled, tokens, attention=True)[0])
    assert none is None


def two_tokens_by_hand(decoder, pair, tokens):
    """Each token alone, a query of one; returns the score and the attention."""
    layer, refined, shares = decoder.layer, [], []
    for token in pair:
        x = token[None]
        normed = layer_norm(token, layer.norm_self)[None]
        x = x + attend(normed, normed, layer.self_attention)[0]
        read, share = attend(layer_norm(x[0], layer.norm_cross)[None], tokens, layer.cross_attention)
        x = (x + read)[0]
        first, _, second = layer.mlp
        hidden = gelu(first.weight.numpy() @ layer_norm(x, layer.norm_mlp) + first.bias.numpy())
        refined.append(x + second.weight.numpy() @ hidden + second.bias.numpy())
        shares.append(share[0])
    both = np.concatenate(refined)
    mixed = gelu(decoder.mix[0].weight.numpy() @ both + decoder.mix[0].bias.numpy())
    return decoder.score.weight.numpy()[0] @ mixed + decoder.score.bias.item(), np.mean(shares, axis=0)


def test_two_tokens_are_refined_each_on_its_own():
    torch.manual_seed(2)
    decoder = TwoTokenDecoder(12, heads=3).double()
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, std=0.5)
    decoder.requires_grad_(False)
    pooled, quality, tokens = torch.randn(2, 12).double(), torch.randn(2, 12).double(), torch.randn(2, 7, 12).double()
    scores = scored(decoder, pooled, quality, tokens)
    before, attention = decoder(pooled, quality, tokens, attention=True)
    for image in range(2):
        pair = [pooled[image].numpy(), quality[image].numpy()]
        score, share = two_tokens_by_hand(decoder, pair, tokens[image].numpy())
        assert scores[image].item() == pytest.approx(score, rel=1e-9)
        np.testing.assert_allclose(attention[image].numpy(), share, rtol=1e-9)
    torch.testing.assert_close(decoder(pooled, quality, tokens)[0], before)
    assert decoder(pooled, quality, tokens)[1] is None
    assert not torch.allclose(scored(decoder, quality, pooled, tokens), scores)  # the two have places of their own


def test_layer_is_torchs_pre_norm_decoder_layer():
    torch.manual_seed(1)
    theirs = nn.TransformerDecoderLayer(12, 3, 48, 0.0, "gelu", batch_first=True, norm_first=True)
    ours = DecoderLayer(12, heads=3)
    names = {
        "self_attention": "self_attn",
        "cross_attention": "multihead_attn",
        "norm_self": "norm1",
        "norm_cross": "norm2",
        "norm_mlp": "norm3",
        "mlp.0": "linear1",
        "mlp.2": "linear2",
    }
    for mine, other in names.items():
        ours.get_submodule(mine).load_state_dict(theirs.get_submodule(other).state_dict())
    queries, memory = torch.randn(2, 6, 12), torch.randn(2, 9, 12)
    torch.testing.assert_close(ours(queries, memory)[0], theirs(queries, memory))


def test_no_token_has_a_place_of_its_own(panel):
    pooled, tokens = torch.randn(1, 12).double(), torch.randn(1, 7, 12).double()
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    score, (_, attention) = scored(panel, pooled, tokens), panel(pooled, tokens, attention=True)
    tokens = tokens[:, order]
    turned, (_, moved) = scored(panel, pooled, tokens), panel(pooled, tokens, attention=True)
    torch.testing.assert_close(turned, score)
    torch.testing.assert_close(moved, attention[:, order])


def test_parameters_are_those_of_the_paper():
    """384 wide: layer with two attentions (4 D^2 + 4 D each), MLP of 4 D, three norms, 6 queries, one line."""
    width = 384
    attentions = 2 * (4 * width * width + 4 * width)
    mlp = 2 * 4 * width * width + 4 * width + width
    panel = AttentionPanel(width)
    assert sum(p.numel() for p in panel.parameters()) == attentions + mlp + 3 * 2 * width + 6 * width + width
    assert panel.score.bias is None
    assert panel.queries.std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize(("width", "heads", "queries"), [(64, 6, 6), (192, 5, 6), (12, 0, 6), (12, 3, 0)])
def test_a_panel_that_cannot_be_is_an_option_error(width, heads, queries):
    with pytest.raises(OptionError):
        AttentionPanel(width, heads=heads, queries=queries)


def features(width, batch=2):
    return Features(torch.randn(batch, width), torch.randn(batch, 6, width), (2, 3))


def panel_head(backbone_width, width, *, normalised):
    backbone = SimpleNamespace(width=backbone_width, normalised=normalised)
    return PanelHead(Plan("any", width=width, heads=3), backbone)


def test_head_projects_only_what_needs_it():
    plain = panel_head(12, 12, normalised=True)
    assert isinstance(plain.project, nn.Identity)
    for width, normalised in [(12, False), (24, True)]:
        head = panel_head(12, width, normalised=normalised)
        projected = head.project(torch.randn(5, 12))
        assert projected.shape == (5, width)
        torch.testing.assert_close(projected.mean(dim=1), torch.zeros(5), atol=1e-5, rtol=0)


def test_head_gives_attention_as_maps():
    head = panel_head(20, 12, normalised=False)
    seen = features(20)
    scores, maps = head.attention(seen)
    torch.testing.assert_close(scores, head(seen))
    assert maps.shape == (2, 2, 3)
    torch.testing.assert_close(maps.sum(dim=(1, 2)), torch.ones(2))


def test_pooled_head_looks_at_the_pooled_feature_only():
    head, seen = PooledHead(Plan("any"), SimpleNamespace(width=20)), features(20)
    torch.testing.assert_close(head(seen), head(seen._replace(tokens=torch.zeros(2, 6, 20))))
    assert head(seen).shape == (2,)


def test_scores_keep_their_precision_under_autocast():
    layer = nn.Linear(4, 1, bias=False)
    nn.init.constant_(layer.weight, 1.0)
    x = torch.tensor([[1.0, 0.001, 0.0, 0.0]])
    with torch.autocast("cpu", torch.bfloat16):
        assert full_precision_linear(x, layer).item() == pytest.approx(1.001, abs=1e-6)
        assert layer(x).item() == 1.0  # what it would be otherwise


@pytest.mark.parametrize("bias", [True, False])
def test_full_precision_linear_is_a_linear_layer(bias):
    layer, x = nn.Linear(5, 1, bias=bias), torch.randn(3, 2, 5)
    torch.testing.assert_close(full_precision_linear(x, layer), layer(x)[..., 0])
