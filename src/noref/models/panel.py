"""Decoders from tokens to a score: DEIQT's attention panel, and CSIQA's pair of class and quality token."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from noref.errors import OptionError


def full_precision_linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """(..., D) -> (...) by a layer D -> 1 that autocast leaves in float32: bfloat16 has steps of 0.004 to 0.008 near 1.

    Example:
        >>> full_precision_linear(torch.ones(2, 3), nn.Linear(3, 1)).shape
        torch.Size([2])
    """
    y = (x.to(layer.weight.dtype) * layer.weight[0]).sum(dim=-1)
    return y if layer.bias is None else y + layer.bias


class DecoderLayer(nn.Module):
    """One pre-norm transformer decoder layer: self-attention, cross-attention, MLP, each added to its input.

    Args:
        width: of queries and memory, D; the MLP is 4 D wide inside.
        heads: must divide the width.

    Raises:
        OptionError: the heads do not divide the width.

    Source:
        Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, 3.1; norms first as in Xiong et al. 2020,
        https://arxiv.org/abs/2002.04745. No dropout.
    """

    def __init__(self, width: int, *, heads: int) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise OptionError(f"a panel of width {width} cannot have {heads} heads: the width must divide by them")
        self.norm_self, self.norm_cross, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.self_attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.cross_attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(
        self, queries: Tensor, memory: Tensor, *, attention: bool = False, alone: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """(B, Q, D) queries attend to each other (`alone`: each to itself), then to (B, T, D) normalised memory.

        Returns:
            (B, Q, D); if `attention` is asked for (slower), (B, Q, T) cross-attention, mean over heads, rows sum to 1.
        """
        normed = self.norm_self(queries)
        normed = normed.flatten(0, 1)[:, None] if alone else normed  # one query is one sequence
        queries = queries + self.self_attention(normed, normed, normed, need_weights=False)[0].reshape(queries.shape)
        read, weights = self.cross_attention(self.norm_cross(queries), memory, memory, need_weights=attention)
        queries = queries + read
        return queries + self.mlp(self.norm_mlp(queries)), weights


class AttentionPanel(nn.Module):
    """Q learnt queries, each added to the class token, attend to the patch tokens; one linear layer scores each.

    Raises:
        OptionError: the heads do not divide the width, or there is no query.

    Source:
        Qin et al. 2023 (DEIQT), https://arxiv.org/abs/2301.00962, section "Attention-panel decoder".
    Differs:
        Nothing known. All scores share one linear layer without bias; there is no norm after the last layer.
    """

    def __init__(self, width: int, *, heads: int = 6, queries: int = 6) -> None:
        super().__init__()
        if queries < 1:
            raise OptionError(f"a panel needs at least one query, got {queries}")
        self.queries = nn.Parameter(torch.empty(1, queries, width))
        nn.init.trunc_normal_(self.queries, std=0.02)
        self.layer = DecoderLayer(width, heads=heads)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, pooled: Tensor, tokens: Tensor, *, attention: bool = False) -> tuple[Tensor, Tensor | None]:
        """(B, D) class token and (B, T, D) tokens, both normalised -> the input of `score`, and the attention.

        Returns:
            (B, D) mean of the refined queries: `score` has no bias, so its output for the mean is the mean of its
            outputs; if `attention` is asked for, (B, T) cross-attention, mean over queries and heads, rows sum to 1.
        """
        refined, weights = self.layer(self.queries + pooled[:, None], tokens, attention=attention)
        mean = refined.to(self.score.weight.dtype).mean(dim=1)
        return mean, None if weights is None else weights.mean(dim=1)


class TwoTokenDecoder(nn.Module):
    """Class token and quality token attend to the patch tokens, each on its own; a small MLP on both gives the score.

    Raises:
        OptionError: the heads do not divide the width.

    Source:
        Li et al. 2024 (CSIQA), appendix B.2.
    Differs:
        The layer's own MLP is added to its input, as in every transformer; B.2 writes it without. Both tokens share
        one layer. The paper names the last MLP and not its size: D hidden units.
    """

    def __init__(self, width: int, *, heads: int = 6) -> None:
        super().__init__()
        self.layer = DecoderLayer(width, heads=heads)
        self.mix = nn.Sequential(nn.Linear(2 * width, width), nn.GELU())
        self.score = nn.Linear(width, 1)

    def forward(
        self, pooled: Tensor, quality: Tensor, tokens: Tensor, *, attention: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """(B, D) class token, (B, D) quality token, (B, T, D) patches, all normalised -> the input of `score`.

        Returns:
            (B, D); if `attention` is asked for, (B, T) cross-attention, mean over both tokens and all heads.
        """
        pair = torch.stack([pooled, quality], dim=1)
        refined, weights = self.layer(pair, tokens, attention=attention, alone=True)
        return self.mix(refined.flatten(1)), None if weights is None else weights.mean(dim=1)
