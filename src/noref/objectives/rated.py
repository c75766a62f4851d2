"""Losses on scores: distance to human ratings, agreement within a batch, and order along a severity series."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

BETA = 0.1  # smooth L1 on quality in [0, 1]


def score_loss(predicted: Tensor, quality: Tensor, agreement: float) -> Tensor:
    """Smooth L1 (beta 0.1) to the labels plus `agreement` times 1 - PLCC: (N,), (N,) -> (), lower is better."""
    ours, theirs = (x - x.mean() for x in (predicted, quality))
    correlation = functional.cosine_similarity(ours, theirs, dim=0)
    return functional.smooth_l1_loss(predicted, quality, beta=BETA) + agreement * (1 - correlation)


def rating_loss(predicted: Tensor, quality: Tensor) -> Tensor:
    """Smooth L1 (beta 0.1) to those labels that are there: (V,), (V,) with NaN for none -> (), lower is better."""
    rated = ~torch.isnan(quality)
    return functional.smooth_l1_loss(predicted[rated], quality[rated], beta=BETA)


def severity_loss(predicted: Tensor, *, margin: float) -> Tensor:
    """How far quality is from falling by `margin` with each step.

    Args:
        predicted: (L,) quality of a picture and its ever stronger degradations, in this order.
        margin: by which it must fall, >= 0.

    Returns:
        () mean hinge, 0 when every step falls far enough; lower is better.

    Example:
        >>> float(severity_loss(torch.tensor([0.9, 0.5, 0.5]), margin=0.25))
        0.125
    """
    return functional.relu(margin - (predicted[:-1] - predicted[1:])).mean()


def distorted_view_losses(
    score: Tensor, rating: Tensor, quality: Tensor, *, series: int, margin: float
) -> dict[str, Tensor]:
    """The losses on versions of one picture, of two heads that both see its severity series.

    Args:
        score: (V,) quality by the human scores' head.
        rating: (V,) quality by the head that speaks the scale of the versions' own ratings.
        quality: (V,) those ratings; NaN where there is none.
        series: how many of the first versions are the picture and its ever stronger degradations.
        margin: by which quality must fall with each step, >= 0.

    Returns:
        rating: see `rating_loss`; ranking: `severity_loss`, the mean of both heads.
    """
    losses = [severity_loss(found[:series], margin=margin) for found in (score, rating)]
    return {"rating": rating_loss(rating, quality), "ranking": torch.stack(losses).mean()}
