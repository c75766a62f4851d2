"""Saliency of whole images by a network's attention or activation, on one grid for every backbone."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as functional
from torch import Tensor

from noref.errors import OptionError
from noref.models.frozen_stages import TailNet
from noref.models.network import QualityNet

Source = Literal["attention", "activation"]  # what a saliency map is taken from
GRID = 14  # cells a side: a ViT/16's at 224 pixels


def viewing_side(network: QualityNet | TailNet, crop: int) -> int:
    """The side to which a whole image is resized, so that the network's map of it has 14 x 14 cells, if it can.

    224 for a ViT with patches of 16 pixels, 448 for a network of stride 32. A network that takes a single size gets
    that size, and its map is interpolated.

    Args:
        network: any.
        crop: side of the crops that it is trained on.
    """
    network = network.whole
    was, device = network.training, next(network.parameters()).device
    network.eval()
    try:
        with torch.no_grad():
            rows = network.features(torch.zeros(1, 3, crop, crop, device=device)).grid[0]
            side = crop * GRID // rows
            network.features(torch.zeros(1, 3, side, side, device=device))
    except (OptionError, RuntimeError):  # it takes one size only: timm raises several kinds
        size = getattr(getattr(network.backbone.net, "patch_embed", None), "img_size", None) or (crop, crop)
        return int(size[0])
    finally:
        network.train(was)
    return side


@torch.no_grad()
def saliency(network: QualityNet | TailNet, images: Tensor, *, blocks: int = 3, by: Source = "attention") -> Tensor:
    """How salient each part of whole images is to a network.

    By attention: of a transformer with a class token, the class-to-patch attention of its last blocks; of any other
    network, its head's cross-attention over the spatial tokens, mean over queries and heads, so the head must have been
    trained. Activation needs neither: in a network that was trained to classify objects, features of the last stage
    are large on an object and small beside it.

    Args:
        network: in evaluation mode.
        images: (B, 3, S, S) RGB, uint8 or float in [0, 1], S by `viewing_side`; for a `TailNet` its frozen features.
        blocks: K, over which class-to-patch attention is averaged.
        by: "attention", or "activation": the positive part of the last stage's tokens, summed over channels.

    Returns:
        (B, 14, 14) float32, more is more salient; maps of another grid are interpolated (bilinear, antialiased).

    Raises:
        OptionError: neither a class token nor a head with attention.

    Source:
        Attention: LML-IQA, https://arxiv.org/abs/2406.19247, eq. 1. Activation: Wei et al. 2017, "Selective
        Convolutional Descriptor Aggregation", https://arxiv.org/abs/1604.04994, eq. 1.
    """
    if by == "activation":
        found = network.features(images)
        maps = found.tokens.clamp(min=0).sum(dim=2).view(-1, *found.grid)
    elif network.whole.backbone.has_class_token:
        _, maps = network.class_attention(images, blocks=blocks)
    else:
        _, maps = network.whole.head.attention(network.features(images))
    maps = maps.float()
    if maps.shape[1:] == (GRID, GRID):
        return maps
    return functional.interpolate(maps[:, None], (GRID, GRID), mode="bilinear", antialias=True)[:, 0]
