from __future__ import annotations

import pytest
import torch
from torch import nn

from noref.card import Card, Preprocessing, Scale
from noref.errors import OptionError
from noref.models import network as networks
from noref.models.heads import HEADS, Head, head_names
from noref.models.network import Plan, build

IMAGES = torch.randint(0, 256, (2, 3, 160, 160), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class LoudestHead(Head):
    """A head as a user writes it: the largest value of each channel over the places, and one line."""

    def __init__(self, width):
        super().__init__()
        self.score = nn.Linear(width, 1)

    @classmethod
    def build(cls, plan, backbone):
        return cls(backbone.width)

    def read(self, features, *, attention=False):
        return features.tokens.amax(dim=1), None


def network(head, seed=0):
    torch.manual_seed(seed)
    return build(Plan("test_vit", head=head, heads=4, mask=0.3), weights="none").eval()


@pytest.mark.parametrize("head", head_names())
def test_what_the_last_line_sees_gives_the_score(head):
    net = network(head)
    with torch.no_grad():
        seen = net.features(IMAGES)
        before = net.head.before_last_line(seen)
        torch.testing.assert_close(net.head.last_line(before)[:, 0], net(IMAGES))


@pytest.mark.parametrize("head", head_names())
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
    assert head_names()[-1] == "loudest"
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
