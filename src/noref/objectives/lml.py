"""Local manifold learning: where an image is salient, and the contrast of its crops against each other and the rest."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as functional
from torch import Tensor

from noref.errors import OptionError

InterNegatives = Literal["crops", "salient"]


def salient_window(attention: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The square window that holds most of a map; of several equal ones the first in row-major order.

    Args:
        attention: (N, S, S) maps, such as class-to-patch attention; any finite numbers. Sums are taken in float64,
            so that windows which are equal on paper are equal here.
        size: M, side of the window in cells, 1 to S.

    Returns:
        rows (N,) and columns (N,) of the window's top-left corner, int64 in [0, S - M].

    Raises:
        OptionError: the window does not fit.
        ValueError: another shape, or a map with NaN or infinity.

    Source:
        LML-IQA, https://arxiv.org/abs/2406.19247, eq. 2.
    Differs:
        Eq. 2 as printed sums M + 1 cells a side; the text says M x M.

    Example:
        >>> maps = torch.tensor([[[0.0, 0.0, 0.0], [0.0, 1.0, 2.0], [0.0, 0.0, 3.0]]])
        >>> salient_window(maps, 2)
        (tensor([1]), tensor([1]))
    """
    if attention.ndim != 3 or len(attention) == 0:
        raise ValueError(f"maps must be (N, S, S), got {tuple(attention.shape)}")
    if not 1 <= size <= min(attention.shape[1:]):
        raise OptionError(f"a window of {size} does not fit into a map of {tuple(attention.shape[1:])}")
    if not bool(attention.isfinite().all()):
        raise ValueError("a map has values that are no finite numbers")
    sums = attention.double().unfold(1, size, 1).unfold(2, size, 1).sum(dim=(3, 4))
    place = sums.flatten(1).argmax(dim=1)  # the first of equal ones
    return place // sums.shape[2], place % sums.shape[2]


def local_manifold_loss(
    crops: Tensor,
    salient: Tensor,
    *,
    temperature: float,
    inter_negatives: InterNegatives = "crops",
    intra_negatives: bool = True,
    positive_in_denominator: bool = False,
) -> Tensor:
    """Pull each crop towards its image's salient crop, away from its image's other crops and from other images.

    For crop h of image n, with cosines s over the temperature: -log(exp(s(h, salient n)) / P), where P sums exp(s)
    over the other crops of image n (what keeps the local manifold from collapsing) and over all crops of the other
    images; then the mean over crops and images.

    Args:
        crops: (N, H, D) features of H random crops of each of N images; L2-normalised here. Half precision is worked
            through in float32, under autocast too.
        salient: (N, D) features of the images' salient crops, likewise. Gradients flow into them.
        temperature: > 0, no unit; smaller is sharper.
        inter_negatives: what other images give: all their "crops" (eq. 4), or their "salient" ones (Table 1).
        intra_negatives: whether the other crops of the same image are negatives.
        positive_in_denominator: add the positive to P, as InfoNCE does elsewhere. Without it, as printed, the loss
            may be negative.

    Returns:
        () mean in nats; lower is better. log(NH - 1) when all features are the same.

    Raises:
        OptionError: no negative at all: one image, with a single crop or without intra-image negatives.
        ValueError: `temperature` is not positive, or shapes that do not go together.

    Source:
        LML-IQA, https://arxiv.org/abs/2406.19247, eq. 3-5.
    Differs:
        The paper sums over images; this is the mean (see docs/papers/lml_iqa.md).

    Example:
        >>> same = torch.ones(2, 3, 4)
        >>> local_manifold_loss(same, same[:, 0], temperature=0.3)  # log(2 * 3 - 1)
        tensor(1.6094)
    """
    _check(crops, salient, temperature, inter_negatives)
    images, count = crops.shape[:2]
    if images == 1 and (count == 1 or not intra_negatives):
        raise OptionError("no negatives: one image a batch needs other crops of it, and `intra_negatives`")
    with torch.autocast(crops.device.type, enabled=False):
        whole = [each if each.dtype == torch.float64 else each.float() for each in (crops, salient)]
        own, wanted = (functional.normalize(each, dim=-1) for each in whole)
        queries = own.flatten(0, 1)  # (NH, D), an image's crops side by side
        image = torch.arange(images, device=crops.device).repeat_interleave(count)  # (NH,)
        to_crops = queries @ queries.T / temperature  # (NH, NH)
        to_salient = queries @ wanted.T / temperature  # (NH, N)
        positive = to_salient.gather(1, image[:, None])  # (NH, 1)
        same = image[:, None] == image[None, :]
        itself = torch.eye(len(queries), dtype=torch.bool, device=crops.device)
        against = [to_crops.masked_fill(~same | itself, -torch.inf)] if intra_negatives and count > 1 else []
        if images > 1 and inter_negatives == "crops":
            against.append(to_crops.masked_fill(same, -torch.inf))
        elif images > 1:
            others = image[:, None] != torch.arange(images, device=crops.device)
            against.append(to_salient.masked_fill(~others, -torch.inf))
        if positive_in_denominator:
            against.append(positive)
        return (torch.cat(against, dim=1).logsumexp(dim=1) - positive[:, 0]).mean()


def _check(crops: Tensor, salient: Tensor, temperature: float, inter_negatives: str) -> None:
    if crops.ndim != 3 or 0 in crops.shape or salient.shape != (crops.shape[0], crops.shape[2]):
        shapes = f"{tuple(crops.shape)} and {tuple(salient.shape)}"
        raise ValueError(f"crops (N, H, D) and salient crops (N, D) are needed, got {shapes}")
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0, got {temperature}")
    if inter_negatives not in ("crops", "salient"):
        raise OptionError(f"unknown inter_negatives {inter_negatives!r}: known are crops, salient")
