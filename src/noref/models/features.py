"""What goes into a backbone and what comes out of it, the same for all backbones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from noref.errors import OptionError

Embedding = Literal["pooled", "tokens"]  # what stands for an image in a layer: its pooled feature, or its whole map


class Features(NamedTuple):
    """A backbone's view of B images.

    Attributes:
        pooled: (B, D) the class token after the last norm, or the mean of the tokens where there is none.
        tokens: (B, T, D) spatial tokens of the last stage, row-major over `grid`.
        grid: rows and columns of the tokens; T is their product.
        quality: (B, D) the quality token after the last norm; None where there is none.
        layers: one embedding (B, D_l) for each layer, the first first; empty unless asked for.
    """

    pooled: Tensor
    tokens: Tensor
    grid: tuple[int, int]
    quality: Tensor | None = None
    layers: tuple[Tensor, ...] = ()


def of_maps(last: Tensor, stages: Sequence[Tensor], layers: Embedding | None) -> Features:
    """Features of a network whose last map is `last`, (B, D, h, w); earlier maps, `stages`, for `layers` only."""
    tokens = last.flatten(2).transpose(1, 2)
    pooled = tokens.mean(dim=1)
    embeddings: tuple[Tensor, ...] = ()
    if layers == "tokens":
        embeddings = (*(stage.flatten(1) for stage in stages), tokens.flatten(1))
    elif layers == "pooled":
        embeddings = (*(stage.mean(dim=(2, 3)) for stage in stages), pooled)
    return Features(pooled, tokens, (last.shape[2], last.shape[3]), layers=embeddings)


def check_size(net: Any, images: Tensor) -> None:
    """Raise an `OptionError` if a network that is built for one image size, as transformers are, is given another."""
    patches = getattr(net, "patch_embed", None)
    size = getattr(patches, "img_size", None)
    if size is not None and getattr(patches, "strict_img_size", False) and tuple(size) != tuple(images.shape[2:]):
        found = " x ".join(str(side) for side in images.shape[2:])
        raise OptionError(f"this backbone takes images of {size[0]} x {size[1]} pixels, not {found}: choose that crop")


class Normalize(nn.Module):
    """Pixels -> what a backbone was trained on; the first module of a network, so every exported graph has it.

    Args:
        mean: of red, green, blue, for values in [0, 1]; 0.5 with deviation 0.5 gives [-1, 1].
        std: deviations likewise.

    Raises:
        OptionError: not three numbers each, or a deviation that is not positive.

    Example:
        >>> white = torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)
        >>> Normalize([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])(white).flatten()
        tensor([1., 1., 1.])
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise OptionError(f"normalisation needs three means and three deviations > 0, got {mean} and {std}")
        deviation, offset = (torch.tensor(given, dtype=torch.float64).view(3, 1, 1) for given in (std, mean))
        self.register_buffer("scale", (1 / deviation).float(), persistent=False)
        self.register_buffer("shift", (-offset / deviation).float(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) RGB, uint8 or float in [0, 1] -> (B, 3, H, W) float, zero mean and unit deviation or so."""
        unit = images.float() / 255 if images.dtype == torch.uint8 else images
        return unit * self.scale + self.shift
