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
START_SHARE = 0.01  # of its random weights that the last line keeps in `Head.start_at`; with none, scores would tie


class Head(nn.Module, ABC):
    """What all heads share: `read` turns features into one vector an image, a linear layer `score` into its quality.

    Args:
        plan: the numbers of the network; the width is filled in.
        backbone: gives the features.

    Attributes:
        has_attention: whether `read` can give an attention map.
        score: the last linear layer, D -> 1.
        offset: () is added to its output; it is saved and exported with the network and does not learn.

    Raises:
        OptionError: numbers that do not go together, or a backbone without what the head needs.
    """

    has_attention = False
    score: nn.Linear
    offset: Tensor

    def __init__(self, plan: Plan, backbone: Backbone) -> None:
        super().__init__()
        self.register_buffer("offset", torch.zeros(()))

    @abstractmethod
    def read(self, features: Features, *, attention: bool = False) -> tuple[Tensor, Tensor | None]:
        """Features of B images -> (B, D), the input of the last linear layer, and the head's attention.

        Args:
            features: as the backbone gives them.
            attention: whether the second is asked for: (B, T), >= 0, rows summing to 1, T the spatial tokens.
        """

    @property
    def last_line(self) -> nn.Linear:
        """The last linear layer, D -> 1."""
        return self.score

    def before_last_line(self, features: Features) -> Tensor:
        """Features of B images -> (B, D), the input of the last linear layer."""
        return self.read(features)[0]

    def forward(self, features: Features) -> Tensor:
        """Features of B images -> (B,) quality, higher is better."""
        return full_precision_linear(self.before_last_line(features), self.last_line) + self.offset

    @torch.no_grad()
    def start_at(self, mean: float) -> None:
        """Let a head that has learnt nothing yet predict about this value for every image.

        The value becomes the offset, and the last linear layer keeps a hundredth of its random weights, and no bias:
        as drawn, its output would lie 0.6 around the offset. Trained from there, features need not move until their
        scores reach the labels.

        Args:
            mean: of the training labels, in the units of the output: quality in [0, 1].
        """
        self.offset.fill_(mean)
        self.last_line.weight.mul_(START_SHARE)
        if self.last_line.bias is not None:
            self.last_line.bias.zero_()

    def attention(self, features: Features) -> tuple[Tensor, Tensor]:
        """(B,) quality and (B, rows, columns), the head's attention map, each summing to 1.

        Raises:
            OptionError: the head has no attention.
        """
        before, weights = self.read(features, attention=True)
        if weights is None:
            raise OptionError(f"a {type(self).__name__} has no attention: use head 'panel'")
        return full_precision_linear(before, self.last_line) + self.offset, weights.reshape(-1, *features.grid)


class PanelHead(Head):
    """DEIQT's attention panel, behind a projection where the backbone's width is not the panel's; see `Head`."""

    has_attention = True

    def __init__(self, plan: Plan, backbone: Backbone) -> None:
        super().__init__(plan, backbone)
        self.panel = AttentionPanel(plan.width or backbone.width, heads=plan.heads, queries=plan.queries)
        self.project = _projection(plan, backbone)

    @property
    def last_line(self) -> nn.Linear:
        """See `Head`."""
        return self.panel.score

    def read(self, features: Features, *, attention: bool = False) -> tuple[Tensor, Tensor | None]:
        """See `Head`."""
        return self.panel.read(self.project(features.pooled), self.project(features.tokens), attention=attention)


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
    def last_line(self) -> nn.Linear:
        """See `Head`."""
        return self.decoder.score

    def read(self, features: Features, *, attention: bool = False) -> tuple[Tensor, Tensor | None]:
        """See `Head`."""
        if features.quality is None:
            raise OptionError(NEEDS_QUALITY)
        tokens = (self.project(part) for part in (features.pooled, features.quality, features.tokens))
        return self.decoder.read(*tokens, attention=attention)


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
