"""NT-Xent: each element finds its twin among everything else in the batch."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor


def nt_xent(first: Tensor, second: Tensor, *, temperature: float) -> Tensor:
    """Pull twins together and push everything else in the batch apart.

    The 2B embeddings are L2-normalised here. Each one in turn is the query: its twin, which is the same row of the
    other argument, is the positive, and the 2B - 2 others are the negatives. ARNIQA passes
    `first = [A full; A half]` and `second = [B full; B half]`, so that it runs over 4B elements, and the half-scale
    twins of an image are among its negatives: the hard ones. Without them `first` and `second` are the full scale only.

    Args:
        first: (B, D) embeddings of the first views, any floating type; no row of zeros.
        second: (B, D) embeddings of the second views.
        temperature: divides the cosine similarities; > 0, no unit. Smaller is sharper.

    Returns:
        () mean over the 2B queries in nats, >= 0, lower is better; log(2B - 1) when all are alike. In float32, also
        under autocast; float64 stays float64.

    Raises:
        ValueError: other shapes than two equal (B, D), or a temperature that is not positive.

    Source:
        Chen et al. 2020, https://arxiv.org/abs/2002.05709, eq. 1; ARNIQA, https://arxiv.org/abs/2310.14918, eq. 3-4.
    Differs:
        Nothing known.

    Example:
        >>> views = torch.eye(2)
        >>> nt_xent(views, views, temperature=1.0)
        tensor(0.5514)
    """
    if first.ndim != 2 or first.shape != second.shape or 0 in first.shape:
        raise ValueError(f"two (B, D) tensors wanted, got {tuple(first.shape)} and {tuple(second.shape)}")
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0, got {temperature}")
    with torch.autocast(first.device.type, enabled=False):  # bfloat16 has two digits; a temperature makes them one
        both = torch.cat([first, second])
        both = functional.normalize(both if both.dtype == torch.float64 else both.float())
        similarity = both @ both.T / temperature  # (2B, 2B)
        similarity = similarity.masked_fill(torch.eye(len(both), dtype=torch.bool, device=both.device), -torch.inf)
        twin = torch.arange(len(both), device=both.device).roll(len(first))
        return functional.cross_entropy(similarity, twin)
