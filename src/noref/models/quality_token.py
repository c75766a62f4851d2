"""The mask of CSIQA's quality token: it sees itself and what chance leaves visible, and nobody sees it."""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def quality_mask(n_tokens: int, probability: float, generator: Generator | None) -> Tensor:
    """The mask of one image in one layer, to be added to the attention logits.

    Args:
        n_tokens: N, the class token and the patches; any of them may be hidden from the quality token.
        probability: that a token is hidden, in [0, 1].
        generator: where chance comes from; None: torch's own, which checkpoints keep.

    Returns:
        (N + 1, N + 1): 0 where the token of the row sees the token of the column, -inf where it does not. The
        quality token is the last. It sees itself always; no other row sees it.

    Raises:
        ValueError: no token, or a probability that is none.

    Source:
        CSIQA section 3.2, eq. 1-2; the logarithm of M.

    Example:
        >>> quality_mask(2, 0.0, None)
        tensor([[0., 0., -inf],
                [0., 0., -inf],
                [0., 0., 0.]])
    """
    return quality_masks(1, n_tokens, probability, generator)[0, 0]


def quality_masks(
    images: int,
    n_tokens: int,
    probability: float,
    generator: Generator | None = None,
    *,
    device: torch.device | None = None,
) -> Tensor:
    """The masks of B images in one layer: (B, 1, N + 1, N + 1), the second place for the heads; see `quality_mask`."""
    if n_tokens < 1 or not 0 <= probability <= 1:
        raise ValueError(f"no mask of {n_tokens} tokens with probability {probability}")
    masks = torch.zeros(images, 1, n_tokens + 1, n_tokens + 1, device=device)
    masks[:, :, :-1, -1] = float("-inf")
    if probability > 0:  # no chance in what is exported
        hidden = torch.rand(images, n_tokens, generator=generator, device=device) < probability
        masks[:, 0, -1, :-1].masked_fill_(hidden, float("-inf"))
    return masks
