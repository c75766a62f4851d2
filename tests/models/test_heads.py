from __future__ import annotations

import pytest
import torch
from torch import nn

from noref.card import Card, Preprocessing, Scale
from noref.errors import OptionError
from noref.models import network as networks
from noref.models.heads import HEADS, Head
from noref.models.network import FromBytes, Plan, build
from noref.models.weights import read, write
from noref.scoring.export import export_onnx
from noref.scoring.scorer import Scorer

IMAGES = torch.randint(0, 256, (2, 3, 160, 160), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class LoudestHead(Head):
    """A head as a user writes it: the largest value of each channel over the places, and one line."""

    def __init__(self, plan, backbone):
        super().__init__(plan, backbone)
        self.score = nn.Linear(backbone.width, 1)

    def read(self, features, *, attention=False):
        return features.tokens.amax(dim=1), None


def network(head, seed=0):
    torch.manual_seed(seed)
    return build(Plan("test_vit", head=head, heads=4, mask=0.3), weights="none").eval()


@pytest.mark.parametrize("head", HEADS)
def test_the_input_of_the_last_layer_gives_the_score(head):
    net = network(head)
    with torch.no_grad():
        seen = net.features(IMAGES)
        before, _ = net.head.read(seen)
        torch.testing.assert_close(net.head.last_layer(before)[:, 0], net(IMAGES))


@pytest.mark.parametrize(
    ("head", "backbone"), [(head, "test_vit") for head in HEADS] + [("panel", "test_resnet"), ("pooled", "test_resnet")]
)
def test_a_fresh_head_starts_at_the_mean_of_the_labels(head, backbone):
    torch.manual_seed(0)
    mask = 0.3 if backbone == "test_vit" else None
    net = build(Plan(backbone, head=head, width=24, heads=4, mask=mask), weights="none").eval()
    with torch.no_grad():
        net.head.start_at(0.58)
        after = net(IMAGES)
        torch.testing.assert_close(after, torch.full((2,), 0.58), atol=0.03, rtol=0)
        assert len(set(after.tolist())) == 2  # it still tells images apart
        if net.head.has_attention:
            torch.testing.assert_close(net.attention(IMAGES)[0], after)
    assert "offset" not in dict(net.head.named_parameters())


def test_the_start_is_saved_and_files_from_before_it_start_at_zero(tmp_path):
    net, card = network("panel"), Card("n", "m", Scale(0, 100), Preprocessing(crop=160))
    net.head.start_at(0.58)
    path = tmp_path / "model.safetensors"
    networks.save(net, path, card)
    again, _ = networks.load(path)
    assert float(again.head.offset) == pytest.approx(0.58)
    with torch.no_grad():
        assert torch.equal(again(IMAGES), net(IMAGES))
    tensors, words = read(path)
    del tensors["head.offset"]
    write(path, tensors, words)
    card.write(path)
    old, _ = networks.load(path)
    with torch.no_grad():
        torch.testing.assert_close(old(IMAGES), net(IMAGES) - 0.58)


def test_the_start_is_exported(tmp_path):
    torch.manual_seed(0)
    net = build(Plan("test_resnet", width=24, heads=3), weights="none").eval()
    net.head.start_at(0.58)
    pictures = IMAGES[:, :, :64, :64].permute(0, 2, 3, 1).contiguous().numpy()
    card = Card("n", "m", Scale(0, 100), Preprocessing(crop=64, min_side=64))
    export_onnx(FromBytes(net), tmp_path / "model.onnx", card, example=pictures, dynamic_size=False)
    assert Scorer(tmp_path / "model.onnx").score(pictures[0]).quality == pytest.approx(0.58, abs=0.05)


@pytest.mark.parametrize("head", HEADS)
def test_a_head_says_whether_it_has_attention(head):
    net = network(head)
    if not net.head.has_attention:
        with pytest.raises(OptionError, match="has no attention"):
            net.attention(IMAGES)
        return
    with torch.no_grad():
        scores, maps = net.attention(IMAGES)
        torch.testing.assert_close(scores, net(IMAGES))
    assert maps.shape == (2, 10, 10)
    torch.testing.assert_close(maps.sum(dim=(1, 2)), torch.ones(2))


def test_a_new_head_is_a_class_and_a_line(monkeypatch, tmp_path):
    monkeypatch.setitem(HEADS, "loudest", LoudestHead)
    assert list(HEADS)[-1] == "loudest"
    net = network("loudest")
    with torch.no_grad():
        expected = net.head.score(net.features(IMAGES).tokens.max(dim=1).values)[:, 0]
        torch.testing.assert_close(net(IMAGES), expected)
    networks.save(net, tmp_path / "model.safetensors", Card("n", "m", Scale(0, 100), Preprocessing(crop=160)))
    again, _ = networks.load(tmp_path / "model.safetensors")
    assert isinstance(again.head, LoudestHead)
    with torch.no_grad():
        assert torch.equal(again(IMAGES), net(IMAGES))
    with pytest.raises(OptionError, match="has no attention"):
        again.attention(IMAGES)


def test_an_unknown_head_names_those_that_there_are():
    with pytest.raises(OptionError, match=r"unknown head 'tail': known are panel, pooled, tokens"):
        network("tail")
