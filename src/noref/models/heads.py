"""Heads: from a backbone's features to a score. A new head is a class here and a line in `HEADS`."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from noref.errors import OptionError
from noref.models.backbones import Backbone
from noref.models.features import Features
from noref.models.panel import AttentionPanel, TwoTokenDecoder, full_precision_linear
from noref.models.plan import Plan

NEEDS_QUALITY = "this network has no quality token: give it one (a transformer can), or another head"
START_SHARE = 0.01  # of its random weights that the last layer keeps in `Head.start_at`; with none, scores would tie


class Head(nn.Module, ABC):
    """What all heads share: `read` turns features into one vector an image, a linear layer `score` into its quality.

    Args:
        plan: the numbers of the network; the width is filled in.
        backbone: gives the features.

    Raises:
        OptionError: numbers that do not go together, or a backbone without what the head needs.
    """

    has_attention = False  # whether `read` can give an attention map
    score: nn.Linear
    offset: Tensor  # () is added to the score; saved and exported with the network, it does not learn

    def __init__(self, plan: Plan, backbone: Backbone) -> None:
        super().__init__()
        self.register_buffer("offset", torch.zeros(()))

    @abstractmethod
    def read(self, features: Features, *, attention: bool = False) -> tuple[Tensor, Tensor | None]:
        """(B, D), the input of the last linear layer; if asked, (B, T) attention to the tokens, >= 0, rows sum to 1."""

    @property
    def last_layer(self) -> nn.Linear:
        """The last linear layer, D -> 1."""
        return self.score

    def forward(self, features: Features) -> Tensor:
        """Features of B images -> (B,) quality, higher is better."""
        return full_precision_linear(self.read(features)[0], self.last_layer) + self.offset

    @torch.no_grad()
    def start_at(self, mean: float) -> None:
        """Let a fresh head predict about the mean of the training labels, quality in [0, 1], for every image.

        The mean becomes the offset, and the last linear layer keeps a hundredth of its random weights, and no bias:
        as drawn, its output would lie 0.6 around the offset, and the features would move to correct that.
        """
        self.offset.fill_(mean)
        self.last_layer.weight.mul_(START_SHARE)
        if self.last_layer.bias is not None:
            self.last_layer.bias.zero_()

    def attention(self, features: Features) -> tuple[Tensor, Tensor]:
        """(B,) quality and (B, rows, columns) attention maps, each summing to 1; an OptionError if there are none."""
        before, weights = self.read(features, attention=True)
        if weights is None:
            raise OptionError(f"a {type(self).__name__} has no attention: use head 'panel'")
        return full_precision_linear(before, self.last_layer) + self.offset, weights.reshape(-1, *features.grid)


class PanelHead(Head):
    """DEIQT's attention panel, behind a projection where the backbone's width is not the panel's; see `Head`."""

    has_attention = True

    def __init__(self, plan: Plan, backbone: Backbone) -> None:
        super().__init__(plan, backbone)
        self.panel = AttentionPanel(plan.width or backbone.width, heads=plan.heads, queries=plan.queries)
        self.project = _projection(plan, backbone)

    @property
    def last_layer(self) -> nn.Linear:
        """See `Head`."""
        return self.panel.score

    def read(self, features: Features, *, attention: bool = False) -> tuple[Tensor, Tensor | None]:
        """See `Head`."""
        tokens = (self.project(part) for part in (features.pooled, features.tokens))
        found: tuple[Tensor, Tensor | None] = self.panel(*tokens, attention=attention)
        return found


class TwoTokenHead(Head):
    """CSIQA's decoder of class and quality token, behind a projection as `PanelHead`; see `Head`."""

    has_attention = True

    def __init__(self, plan: Plan, backbone: Backbone) -> None:
        super().__init__(plan, backbone)
        if plan.mask is None:
            raise OptionError(f"head 'tokens': {NEEDS_QUALITY}")
        self.decoder = TwoTokenDecoder(plan.width or backbone.width, heads=plan.heads)
        self.project = _projection(plan, backbone)

    @property
    def last_layer(self) -> nn.Linear:
        """See `Head`."""
        return self.decoder.score

    def read(self, features: Features, *, attention: bool = False) -> tuple[Tensor, Tensor | None]:
        """See `Head`."""
        if features.quality is None:
            raise OptionError(NEEDS_QUALITY)
        tokens = (self.project(part) for part in (features.pooled, features.quality, features.tokens))
        found: tuple[Tensor, Tensor | None] = self.decoder(*tokens, attention=attention)
        return found


class PooledHead(Head):
    """Layer norm and a linear layer on the pooled feature, with the quality token beside it if there is one."""

    def __init__(self, plan: Plan, backbone: Backbone) -> None:
        super().__init__(plan, backbone)
        width = backbone.width * (1 if plan.mask is None else 2)
        self.norm, self.score = nn.LayerNorm(width), nn.Linear(width, 1)

    def read(self, features: Features, *, attention: bool = False) -> tuple[Tensor, Tensor | None]:
        """See `Head`."""
        quality = [] if features.quality is None else [features.quality]
        return self.norm(torch.cat([features.pooled, *quality], dim=1)), None


HEADS: dict[str, type[Head]] = {"panel": PanelHead, "pooled": PooledHead, "tokens": TwoTokenHead}


def _projection(plan: Plan, backbone: Backbone) -> nn.Module:
    """Nothing where the features are as wide as the head and normalised, else a linear layer and a norm."""
    width = plan.width or backbone.width
    if backbone.normalised and width == backbone.width:
        return nn.Identity()
    return nn.Sequential(nn.Linear(backbone.width, width), nn.LayerNorm(width))
