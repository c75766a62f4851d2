"""A vision transformer with CSIQA's quality token beside the class token."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from noref.errors import OptionError
from noref.models.features import Embedding, Features, check_size
from noref.models.quality_token import quality_masks
from noref.models.vit import Vit


class QualityVit(Vit):
    """A ViT whose sequence ends with a learnt quality token.

    In each layer the quality token attends to itself and, in training, to a random part of the other tokens, drawn
    anew for every image and layer; to all of them otherwise. No other token attends to it, so class token and patches
    are what they are without it. It has no place in the image and so no position embedding.

    Args:
        net: a timm `VisionTransformer`.
        mask: probability in [0, 1] that a token is hidden in training.

    Raises:
        OptionError: the probability is none, or the network's blocks take no mask.

    Source:
        Li et al. 2024 (CSIQA), sections 3.2 and B.1. The logits are scaled by 1/sqrt(d), which eq. 3 leaves out.
    """

    def __init__(self, net: Any, *, mask: float) -> None:
        super().__init__(net)
        if not 0 <= mask <= 1:
            raise OptionError(f"mask must be a probability, got {mask}")
        if "attn_mask" not in inspect.signature(net.blocks[0].forward).parameters:
            raise OptionError(f"blocks of {type(net.blocks[0]).__name__} take no attention mask: no quality token")
        self.mask = mask
        self.quality_token = nn.Parameter(torch.empty(self.width))  # one axis: not decayed, as the class token
        nn.init.trunc_normal_(self.quality_token, std=0.02)

    def forward(self, images: Tensor, *, layers: Embedding | None = None) -> Features:
        """Normalised images (B, 3, S, S) -> features with the quality token, D the embedding width.

        Args:
            images: see above.
            layers: also give an embedding for each block: "pooled": class token and quality token side by side,
                (B, 2 D); "tokens": all of them, (B, (N + 1) D).

        Raises:
            OptionError: another size than the weights were made for.
        """
        check_size(self.net, images)
        tokens = self.embed(images)
        count = tokens.shape[1]
        tokens = torch.cat([tokens, self.quality_token.expand(len(tokens), 1, -1)], dim=1)
        seen: list[Tensor] = []
        visible = quality_masks(1, count, 0.0, device=tokens.device).to(tokens.dtype)
        for block in self.net.blocks:
            masks = visible
            if self.training and self.mask:
                masks = quality_masks(len(tokens), count, self.mask, device=tokens.device).to(tokens.dtype)
            tokens = block(tokens, attn_mask=masks)
            if layers == "tokens":
                seen.append(tokens.flatten(1))
            elif layers == "pooled":
                seen.append(torch.cat([self.class_token(tokens[:, :-1]), tokens[:, -1]], dim=1))
        features = self.read_out(tokens[:, :-1], images)
        quality = self.net.fc_norm(self.net.norm(tokens[:, -1]))
        return features._replace(quality=quality, layers=tuple(seen))


def with_quality_token(backbone: nn.Module, mask: float) -> QualityVit:
    """The same transformer with a quality token, random at first (torch's generator).

    Raises:
        OptionError: no vision transformer, or no probability.
    """
    if not isinstance(backbone, Vit):
        raise OptionError(
            "mask: only a vision transformer can have a quality token; for other networks give --mask none --head panel"
        )
    return QualityVit(backbone.net, mask=mask)
