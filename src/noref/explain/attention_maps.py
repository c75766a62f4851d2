"""Where a trained network looks in a whole photo: attention, activation, and LML-IQA's salient window."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from noref.data.salient import GRID, squashed
from noref.errors import OptionError
from noref.explain.map_types import Map, relative
from noref.images import Pixels
from noref.models.network import QualityNet
from noref.models.saliency import saliency, viewing_side
from noref.objectives.lml import salient_window

BLOCKS = 3  # last blocks whose class attention is averaged, as in LML-IQA


def kinds(network: QualityNet) -> tuple[str, ...]:
    """Which looks a network has."""
    attention = _attention(network)
    return (*attention, "activation", "window")


def look(network: QualityNet, pixels: Pixels, kind: str, *, side: int, resample: str) -> Map:
    """One look at a whole photo, which the network sees as a square, its aspect lost.

    Args:
        network: in evaluation mode.
        pixels: (H, W, 3) uint8 RGB.
        kind: one of `kinds`, but no window.
        side: of the square, as `viewing_side` says.
        resample: filter of the squashing.

    Returns:
        The look as multiples of its mean, one value a cell of the network's grid.
    """
    seen = torch.from_numpy(squashed(pixels, side, resample).transpose(2, 0, 1).copy())[None]
    return Map(kind, relative(_plane(network, seen, kind)[0]))


def window(network: QualityNet, pixels: Pixels, *, size: int, by: str, side: int, resample: str) -> Map:
    """The salient window over the look that it was taken from.

    Args:
        network: as for `look`.
        pixels: as for `look`.
        size: M, side of the window in cells of a 14 x 14 grid.
        by: "attention" or "activation".
        side: as for `look`.
        resample: as for `look`.

    Returns:
        The look on the 14 x 14 grid as multiples of its mean, with the window.

    Raises:
        OptionError: a network without attention, or a window that does not fit.

    Source:
        LML-IQA, https://arxiv.org/abs/2406.19247, eq. 1 and 2.
    """
    if by not in ("attention", "activation"):
        raise OptionError(f"a window holds most attention or activation, not {by!r}")
    if not 1 <= size <= GRID:
        raise OptionError(f"window must be 1 to {GRID} cells, got {size}")
    seen = torch.from_numpy(squashed(pixels, side, resample).transpose(2, 0, 1).copy())[None]
    found = saliency(network, seen, by="attention" if by == "attention" else "activation")
    (row,), (column,) = (place.tolist() for place in salient_window(found, size))
    box = (row / GRID, column / GRID, (row + size) / GRID, (column + size) / GRID)
    return Map("window", relative(found[0].double().numpy()), box)


def check_window(network: QualityNet, by: str) -> None:
    """Whether the look that a window is taken from is there.

    Raises:
        OptionError: the network has no attention.
    """
    if by == "attention" and not _attention(network):
        raise OptionError(f"a window by attention: a {network.plan.head!r} head has none; take it by activation")


def side_of(network: QualityNet, crop: int | None) -> int:
    """Side of the square as which the network sees a whole photo."""
    return viewing_side(network, crop or 224)


def _attention(network: QualityNet) -> tuple[str, ...]:
    by_class, by_head = network.backbone.has_class_token, network.head.has_attention
    return ("class-attention",) * by_class + ("panel-attention",) * by_head


@torch.no_grad()
def _plane(network: QualityNet, images: Tensor, kind: str) -> NDArray[np.float64]:
    if kind == "class-attention" and network.backbone.has_class_token:
        depth = len(network.backbone.net.blocks)
        maps = network.backbone.class_attention(network.normalize(images), blocks=min(BLOCKS, depth))[1]
    elif kind == "panel-attention":
        maps = network.attention(images)[1]
    else:
        features = network.features(images)
        maps = features.tokens.clamp(min=0).sum(dim=2).reshape(-1, *features.grid)
    plane: NDArray[np.float64] = maps.double().numpy()
    return plane
