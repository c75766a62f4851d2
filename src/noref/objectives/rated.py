"""Losses on scores: distance to human ratings, agreement within a batch, and order along a ladder of degradations."""

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


def lesson_loss(
    predicted: Tensor, quality: Tensor, line: Tensor, *, steps: int, margin: float
) -> tuple[Tensor, Tensor]:
    """The rating and the ranking loss on versions of one photograph.

    Args:
        predicted: (V,) quality of the photo, its ladder's steps from faint to strong, and single distortions.
        quality: (V,) mean ratings, NaN where there is none.
        line: (2,) offset and slope from those ratings to our quality: another scale, learnt along.
        steps: how many of the ladder there are.
        margin: by which quality must fall from one step to the next.

    Returns:
        () smooth L1 to the ratings and () hinge on the steps, both lower is better.
    """
    rated = ~torch.isnan(quality)
    rating = functional.smooth_l1_loss(predicted[rated], line[0] + line[1] * quality[rated], beta=BETA)
    ladder = predicted[: 1 + steps]
    return rating, functional.relu(margin - (ladder[:-1] - ladder[1:])).mean()
