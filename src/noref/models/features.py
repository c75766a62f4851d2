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
    """Features of a network whose stages give maps.

    Args:
        last: (B, D, h, w), the last map.
        stages: earlier ones to embed, the first first.
        layers: whether and how they and the last one are embedded.
    """
    tokens = last.flatten(2).transpose(1, 2)
    pooled = tokens.mean(dim=1)
    seen: tuple[Tensor, ...] = ()
    if layers == "tokens":
        seen = (*(stage.flatten(1) for stage in stages), tokens.flatten(1))
    elif layers == "pooled":
        seen = (*(stage.mean(dim=(2, 3)) for stage in stages), pooled)
    return Features(pooled, tokens, (last.shape[2], last.shape[3]), layers=seen)


def check_size(net: Any, images: Tensor) -> None:
    """Whether a network that was built for one image size, as transformers are, is given that size.

    Raises:
        OptionError: another size; says which one it takes.
    """
    patches = getattr(net, "patch_embed", None)
    size = getattr(patches, "img_size", None)
    if size is not None and getattr(patches, "strict_img_size", False) and tuple(size) != tuple(images.shape[2:]):
        found = " x ".join(str(side) for side in images.shape[2:])
        raise OptionError(f"this backbone takes images of {size[0]} x {size[1]} pixels, not {found}: choose that crop")


class Normalize(nn.Module):
    """Pixels -> what a backbone was trained on; the first module of a network, so every exported graph has it.

    Args:
        mean: of red, green, blue, for values in [0, 1]; 0.5 with deviation 0.5 gives [-1, 1].
        std: deviations likewise, > 0.

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
        deviation = torch.tensor(std, dtype=torch.float64).view(3, 1, 1)
        offset = torch.tensor(mean, dtype=torch.float64).view(3, 1, 1)
        self.register_buffer("scale", (1 / deviation).float(), persistent=False)
        self.register_buffer("shift", (-offset / deviation).float(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) RGB, uint8 or float in [0, 1] -> (B, 3, H, W) float, zero mean and unit deviation or so."""
        unit = images.float() / 255 if images.dtype == torch.uint8 else images
        return unit * self.scale + self.shift
