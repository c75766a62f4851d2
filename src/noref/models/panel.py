"""Decoders from tokens to a score: DEIQT's attention panel, and CSIQA's pair of class and quality token."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from noref.errors import OptionError


def full_precision_linear(x: Tensor, line: nn.Linear) -> Tensor:
    """A linear layer with one output that autocast leaves in float32: bfloat16 has steps of 0.004 to 0.008 near 1.

    Args:
        x: (..., D).
        line: D -> 1.

    Returns:
        (...) float32, or float64 for such weights.

    Example:
        >>> full_precision_linear(torch.ones(2, 3), nn.Linear(3, 1)).shape
        torch.Size([2])
    """
    y = (x.to(line.weight.dtype) * line.weight[0]).sum(dim=-1)
    return y if line.bias is None else y + line.bias


class DecoderLayer(nn.Module):
    """One pre-norm transformer decoder layer: self-attention, cross-attention, MLP, each added to its input.

    Args:
        width: of queries and memory, D.
        heads: must divide the width.
        mlp_ratio: hidden width of the MLP over D.

    Raises:
        OptionError: the heads do not divide the width.

    Source:
        Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, 3.1; norms first as in Xiong et al. 2020,
        https://arxiv.org/abs/2002.04745. No dropout.
    """

    def __init__(self, width: int, *, heads: int, mlp_ratio: int = 4) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise OptionError(f"a panel of width {width} cannot have {heads} heads: the width must divide by them")
        self.norm_self, self.norm_cross, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.self_attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.cross_attention = nn.MultiheadAttention(width, heads, batch_first=True)
        hidden = mlp_ratio * width
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(
        self, queries: Tensor, memory: Tensor, *, attention: bool = False, alone: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Refine the queries: they attend to each other, then to the memory.

        Args:
            queries: (B, Q, D).
            memory: (B, T, D), normalised.
            attention: also return the cross-attention (slower).
            alone: each query attends to itself only, and then to the memory.

        Returns:
            (B, Q, D), and (B, Q, T) cross-attention averaged over the heads, each row summing to 1, or None.
        """
        normed = self.norm_self(queries)
        normed = normed.flatten(0, 1)[:, None] if alone else normed  # one query is one sequence
        queries = queries + self.self_attention(normed, normed, normed, need_weights=False)[0].reshape(queries.shape)
        read, weights = self.cross_attention(self.norm_cross(queries), memory, memory, need_weights=attention)
        queries = queries + read
        return queries + self.mlp(self.norm_mlp(queries)), weights


class AttentionPanel(nn.Module):
    """Q learnt queries, each added to the class token, attend to the patch tokens; one linear layer scores each.

    Args:
        width: of class token and tokens, D.
        heads: of both attentions; must divide the width.
        queries: Q, the size of the panel.

    Raises:
        OptionError: the heads do not divide the width, or there is no query.

    Source:
        Qin et al. 2023 (DEIQT), https://arxiv.org/abs/2301.00962, section "Attention-panel decoder".
    Differs:
        Nothing known. All scores share one linear layer without bias; there is no norm after the last layer.

    Example:
        >>> panel = AttentionPanel(12, heads=3)
        >>> panel(torch.zeros(2, 12), torch.zeros(2, 49, 12)).shape
        torch.Size([2])
    """

    def __init__(self, width: int, *, heads: int = 6, queries: int = 6) -> None:
        super().__init__()
        if queries < 1:
            raise OptionError(f"a panel needs at least one query, got {queries}")
        self.queries = nn.Parameter(torch.empty(1, queries, width))
        nn.init.trunc_normal_(self.queries, std=0.02)
        self.layer = DecoderLayer(width, heads=heads)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, pooled: Tensor, tokens: Tensor) -> Tensor:
        """(B, D) class token and (B, T, D) tokens, both normalised -> (B,) quality, higher is better."""
        return full_precision_linear(self.read(pooled, tokens)[0], self.score)

    def read(self, pooled: Tensor, tokens: Tensor, *, attention: bool = False) -> tuple[Tensor, Tensor | None]:
        """The input of the last layer, which has no bias: its score of the mean query is the mean of its scores.

        Returns:
            (B, D) mean of the refined queries; if `attention` is asked for, (B, T) cross-attention, mean over queries
            and heads, each row summing to 1.
        """
        refined, weights = self.layer(self.queries + pooled[:, None], tokens, attention=attention)
        mean = refined.to(self.score.weight.dtype).mean(dim=1)
        return mean, None if weights is None else weights.mean(dim=1)


class TwoTokenDecoder(nn.Module):
    """Class token and quality token attend to the patch tokens, each on its own; a small MLP on both gives the score.

    Args:
        width: of all tokens, D.
        heads: of both attentions; must divide the width.

    Raises:
        OptionError: the heads do not divide the width.

    Source:
        Li et al. 2024 (CSIQA), appendix B.2.
    Differs:
        The layer's own MLP is added to its input, as in every transformer; B.2 writes it without. Both tokens share
        one layer. The paper names the last MLP and not its size: D hidden units.

    Example:
        >>> decoder = TwoTokenDecoder(12, heads=3)
        >>> decoder(torch.zeros(2, 12), torch.zeros(2, 12), torch.zeros(2, 49, 12)).shape
        torch.Size([2])
    """

    def __init__(self, width: int, *, heads: int = 6) -> None:
        super().__init__()
        self.layer = DecoderLayer(width, heads=heads)
        self.mix = nn.Sequential(nn.Linear(2 * width, width), nn.GELU())
        self.score = nn.Linear(width, 1)

    def forward(self, pooled: Tensor, quality: Tensor, tokens: Tensor) -> Tensor:
        """(B, D) class token, (B, D) quality token, (B, T, D) patches, all normalised -> (B,), higher is better."""
        return full_precision_linear(self.read(pooled, quality, tokens)[0], self.score)

    def read(
        self, pooled: Tensor, quality: Tensor, tokens: Tensor, *, attention: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """(B, D), input of the last layer; if asked, (B, T) cross-attention, mean over both tokens and all heads."""
        pair = torch.stack([pooled, quality], dim=1)
        refined, weights = self.layer(pair, tokens, attention=attention, alone=True)
        return self.mix(refined.flatten(1)), None if weights is None else weights.mean(dim=1)
