"""From a backbone's features to a score."""

from __future__ import annotations

from torch import Tensor, nn

from noref.models.features import Features
from noref.models.panel import AttentionPanel, full_precision_line


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
        plain = normalised and width == backbone_width
        self.panel = AttentionPanel(width, heads=heads, queries=queries)
        self.project = nn.Identity() if plain else nn.Sequential(nn.Linear(backbone_width, width), nn.LayerNorm(width))

    def forward(self, features: Features) -> Tensor:
        """Features of B images -> (B,) quality, higher is better."""
        scores: Tensor = self.panel(self.project(features.pooled), self.project(features.tokens))
        return scores

    def attention(self, features: Features) -> tuple[Tensor, Tensor]:
        """(B,) quality and (B, rows, columns) where the panel looked, each map summing to 1."""
        scores, weights = self.panel.with_attention(self.project(features.pooled), self.project(features.tokens))
        return scores, weights.reshape(-1, *features.grid)


class PooledHead(nn.Module):
    """The plain head to compare with: layer norm and one line on the pooled feature.

    Args:
        backbone_width: D of the features.
    """

    def __init__(self, backbone_width: int) -> None:
        super().__init__()
        self.norm, self.score = nn.LayerNorm(backbone_width), nn.Linear(backbone_width, 1)

    def forward(self, features: Features) -> Tensor:
        """Features of B images -> (B,) quality, higher is better."""
        return full_precision_line(self.norm(features.pooled), self.score)
