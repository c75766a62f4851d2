"""From a backbone's features to a score."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from noref.errors import OptionError
from noref.models.features import Features
from noref.models.panel import AttentionPanel, TwoTokenDecoder, full_precision_line

NEEDS_QUALITY = "this network has no quality token: give it one (a transformer can), or another head"


class PanelHead(nn.Module):
    """The attention panel behind a projection, where the backbone's width is not the panel's.

    Args:
        backbone_width: D of the features.
        width: of the panel; equal to D and `normalised`: no projection, as in DEIQT.
        normalised: whether the features have gone through a layer norm already.
        heads: of the panel; must divide its width.
        queries: of the panel.

    Raises:
        OptionError: the heads do not divide the width, or there is no query.
    """

    def __init__(self, backbone_width: int, *, width: int, normalised: bool, heads: int, queries: int) -> None:
        super().__init__()
        self.panel = AttentionPanel(width, heads=heads, queries=queries)
        self.project = _projection(backbone_width, width, normalised)

    def forward(self, features: Features) -> Tensor:
        """Features of B images -> (B,) quality, higher is better."""
        scores: Tensor = self.panel(self.project(features.pooled), self.project(features.tokens))
        return scores

    def attention(self, features: Features) -> tuple[Tensor, Tensor]:
        """(B,) quality and (B, rows, columns) where the panel looked, each map summing to 1."""
        scores, weights = self.panel.with_attention(self.project(features.pooled), self.project(features.tokens))
        return scores, weights.reshape(-1, *features.grid)


class TwoTokenHead(nn.Module):
    """The decoder of class and quality token behind a projection, where the backbone's width is not its own.

    Args:
        backbone_width: D of the features.
        width: of the decoder; equal to D and `normalised`: no projection.
        normalised: whether the features have gone through a layer norm already.
        heads: of the decoder; must divide its width.

    Raises:
        OptionError: the heads do not divide the width.
    """

    def __init__(self, backbone_width: int, *, width: int, normalised: bool, heads: int) -> None:
        super().__init__()
        self.decoder = TwoTokenDecoder(width, heads=heads)
        self.project = _projection(backbone_width, width, normalised)

    def forward(self, features: Features) -> Tensor:
        """Features of B images, with a quality token -> (B,) quality, higher is better."""
        scores: Tensor = self.decoder(*self._projected(features))
        return scores

    def attention(self, features: Features) -> tuple[Tensor, Tensor]:
        """(B,) quality and (B, rows, columns) where the two tokens looked, each map summing to 1."""
        scores, weights = self.decoder.with_attention(*self._projected(features))
        return scores, weights.reshape(-1, *features.grid)

    def _projected(self, features: Features) -> tuple[Tensor, Tensor, Tensor]:
        if features.quality is None:
            raise OptionError(NEEDS_QUALITY)
        return self.project(features.pooled), self.project(features.quality), self.project(features.tokens)


class PooledHead(nn.Module):
    """The plain head to compare with: layer norm and one line on the pooled feature, and the quality token if any.

    Args:
        backbone_width: D of the features.
        quality: whether the features have a quality token; it goes in beside the pooled feature.
    """

    def __init__(self, backbone_width: int, *, quality: bool = False) -> None:
        super().__init__()
        width = backbone_width * (1 + quality)
        self.norm, self.score = nn.LayerNorm(width), nn.Linear(width, 1)

    def forward(self, features: Features) -> Tensor:
        """Features of B images -> (B,) quality, higher is better."""
        quality = [] if features.quality is None else [features.quality]
        return full_precision_line(self.norm(torch.cat([features.pooled, *quality], dim=1)), self.score)


def _projection(backbone_width: int, width: int, normalised: bool) -> nn.Module:
    """Nothing where the features are as wide as the head and normalised, else a linear layer and a norm."""
    if normalised and width == backbone_width:
        return nn.Identity()
    return nn.Sequential(nn.Linear(backbone_width, width), nn.LayerNorm(width))
