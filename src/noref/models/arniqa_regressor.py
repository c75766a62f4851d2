"""ARNIQA's score: five crops at full and at half scale, their features, and one linear layer on both."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from noref.card import Card
from noref.errors import ModelError, OptionError
from noref.models import weights as files
from noref.models.arniqa import Encoder, EncoderPlan, build_encoder

KIND = "arniqa"
CROPS = 5
Pad = Literal["reflect", "zero"]


class ARNIQA(nn.Module):
    """ARNIQA's network: whole images to quality.

    Args:
        encoder: D wide.
        crop: side of the crops in pixels.
        pad: how an image that is smaller than a crop is padded: with its mirror image, or with black.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, encoder: Encoder, *, crop: int = 224, pad: Pad = "reflect") -> None:
        super().__init__()
        if crop < 8 or pad not in ("reflect", "zero"):
            raise OptionError(f"no crops of {crop} px with pad {pad!r}")
        self.encoder, self.crop, self.pad = encoder, crop, pad
        self.register_buffer("weight", torch.zeros(2 * encoder.width))
        self.register_buffer("bias", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 RGB -> (B,) quality, about [0, 1], higher is better: the mean over the crops."""
        quality: Tensor = (self.features(images) @ self.weight + self.bias).mean(dim=1)
        return quality

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 RGB -> (B, 5, 2D): crop k at full scale, beside crop k at half scale, of length 1 each."""
        scales = [five_crops(scale, self.crop, self.pad) for scale in (images.float(), half_scale(images))]
        found = self.encoder(torch.cat(scales).flatten(0, 1) / 255)  # (2 * 5 * B, D)
        together: Tensor = found.unflatten(0, (2, CROPS, -1)).permute(2, 1, 0, 3).flatten(2)
        return together

    @torch.no_grad()
    def set_linear_head(self, weight: Tensor, bias: float) -> None:
        """Quality = weight . feature + bias from now on; a `ModelError` if the weight is not (2D,)."""
        if weight.shape != self.weight.shape:
            raise ModelError(f"a linear head of {tuple(weight.shape)} for features of {tuple(self.weight.shape)}")
        self.weight.copy_(weight)
        self.bias.fill_(bias)


def half_scale(images: Tensor) -> Tensor:
    """The images at half width and height, rounded down, as Pillow's bicubic filter gives them (a = -0.5, antialiased).

    (B, 3, H, W) levels 0 to 255, both sides at least 2 -> (B, 3, H // 2, W // 2) float32, whole levels 0 to 255.

    Pillow filters rows, rounds to whole levels, then filters columns; so does this, and an exported graph. The same
    to the level but for ties (2 in 10 000 samples at odd sizes) and for images much taller than wide, where Pillow
    begins with the columns.

    Example:
        >>> half_scale(torch.full((1, 3, 5, 6), 7)).unique(), half_scale(torch.zeros(1, 3, 5, 6)).shape
        (tensor([7.]), torch.Size([1, 3, 2, 3]))
    """
    height, width = images.shape[2:]
    for size in ((height, width // 2), (height // 2, width // 2)):
        images = functional.interpolate(images.float(), size=size, mode="bicubic", antialias=True)
        images = (images.clamp(0, 255) + 0.5).floor()
    return images


def five_crops(images: Tensor, size: int, pad: Pad = "reflect") -> Tensor:
    """(B, 3, H, W) -> (5, B, 3, S, S): top left, top right, bottom left, bottom right, centre.

    A smaller image lies in the corner, or the middle, of a crop padded with its mirror image (border row not
    repeated) or with black.

    Example:
        >>> five_crops(torch.arange(5.0).expand(1, 3, 5, 5), 2)[:, 0, 0, 0].tolist()
        [[0.0, 1.0], [3.0, 4.0], [0.0, 1.0], [3.0, 4.0], [1.0, 2.0]]
    """
    starts = [_starts(images.shape[axis], size) for axis in (2, 3)]  # each: first, last, middle
    crops = [_cut(images, starts[0][i], starts[1][j], size, pad) for i, j in ((0, 0), (0, 1), (1, 0), (1, 1), (2, 2))]
    return torch.stack(crops)


def _starts(length: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Where the first, the last and the middle crop begin; tensors, for an exported graph has no numbers here."""
    zero = torch.arange(1)
    return zero, zero + (length - size), zero + (length // 2 - size // 2)


def _cut(images: Tensor, top: Tensor, left: Tensor, size: int, pad: Pad) -> Tensor:
    found = images
    for axis, start in ((2, top), (3, left)):
        length = torch.arange(1) + images.shape[axis]
        places = start + torch.arange(size)
        period = (2 * (length - 1)).clamp(min=1)
        folded = torch.remainder(places, period)
        inner = torch.minimum(torch.minimum(folded, period - folded), length - 1)
        found = found.index_select(axis, inner.to(images.device))
        if pad == "zero":
            inside = ((places >= 0) & (places < length)).to(found)
            found = found * (inside[:, None] if axis == 2 else inside)
    return found


def save(network: ARNIQA, path: Path, card: Card) -> Card:
    """Write the network, as `noref.models.weights.save`."""
    plan = {"kind": KIND, "crop": network.crop, "pad": network.pad, **dataclasses.asdict(network.encoder.plan)}
    return files.save(network, path, card, network=plan)


def is_arniqa(path: Path) -> bool:
    """Whether a file's header names an ARNIQA network; `load` checks the rest."""
    with suppress(ModelError):
        return files.read_plan(path).get("kind") == KIND
    return False


def load(path: Path) -> tuple[ARNIQA, Card]:
    """A network that `save` wrote, in evaluation mode, and its card; errors as `noref.models.weights.load`."""

    def make(plan: dict[str, Any]) -> ARNIQA:
        crop, pad = plan.pop("crop"), plan.pop("pad")
        return ARNIQA(build_encoder(EncoderPlan(**plan), weights="none"), crop=crop, pad=pad)

    return files.load(path, make, kind=KIND, called="ARNIQA model")
