"""Attention, activation and LML-IQA's salient window of a trained network, each over the whole photo."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from noref.data.salient import GRID, squashed
from noref.errors import OptionError
from noref.explain.map_types import Map, over_mean
from noref.images import Pixels
from noref.models.network import QualityNet
from noref.models.saliency import saliency
from noref.objectives.lml import salient_window

BLOCKS = 3  # last blocks whose class attention is averaged, as in LML-IQA


def available(network: QualityNet) -> tuple[str, ...]:
    """The names of the maps of this module that a network has."""
    own = {"class-attention": network.backbone.has_class_token, "panel-attention": network.head.has_attention}
    return (*(name for name, has in own.items() if has), "activation", "window")


def whole_image(pixels: Pixels, side: int, resample: str) -> Tensor:
    """A photo as the square that a network gets, its aspect lost: (H, W, 3) uint8 -> (1, 3, side, side) uint8."""
    return torch.from_numpy(squashed(pixels, side, resample).transpose(2, 0, 1).copy())[None]


@torch.no_grad()
def attention_map(network: QualityNet, image: Tensor, name: str) -> Map:
    """One map of a whole photo as multiples of its mean, one value a cell of the network's grid.

    Args:
        network: in evaluation mode.
        image: (1, 3, S, S) uint8 RGB, S as `viewing_side` says.
        name: one of `available`, but not "window".
    """
    if name == "class-attention":
        found = network.class_attention(image, blocks=min(BLOCKS, len(network.backbone.net.blocks)))[1]
    elif name == "panel-attention":
        found = network.attention(image)[1]
    else:
        features = network.features(image)
        found = features.tokens.clamp(min=0).sum(dim=2).reshape(-1, *features.grid)
    return Map(name, over_mean(found[0].double().numpy()))


def window_map(network: QualityNet, image: Tensor, *, size: int, by: str) -> Map:
    """The salient window, and the map that it was taken from on the 14 x 14 grid as multiples of its mean.

    Args:
        network, image: as for `attention_map`.
        size: M, side of the window in cells.
        by: "attention" or "activation".

    Raises:
        OptionError: a network without attention, or a window that does not fit.

    Source:
        LML-IQA, https://arxiv.org/abs/2406.19247, eq. 1 and 2.
    """
    if by not in ("attention", "activation"):
        raise OptionError(f"a window holds most attention or activation, not {by!r}")
    if not 1 <= size <= GRID:
        raise OptionError(f"window must be 1 to {GRID} cells, got {size}")
    if by == "attention" and not (network.backbone.has_class_token or network.head.has_attention):
        raise OptionError(f"a window by attention: a {network.plan.head!r} head has none; take it by activation")
    found = saliency(network, image, by="attention" if by == "attention" else "activation")
    (row,), (column,) = (place.tolist() for place in salient_window(found, size))
    box = (row / GRID, column / GRID, (row + size) / GRID, (column + size) / GRID)
    return Map("window", over_mean(np.asarray(found[0].double())), box)
