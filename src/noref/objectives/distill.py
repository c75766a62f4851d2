"""Scores that follow people and a teacher, and scores that follow an order: the terms on a network's output."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as functional
from torch import Tensor

Distance = Literal["smooth_l1", "l1"]


def distilled_loss(
    predicted: Tensor,
    label: Tensor,
    teacher: Tensor | None = None,
    *,
    weight: float = 0.9,
    label_weight: float = 1.0,
    distance: Distance = "smooth_l1",
    beta: float = 0.1,
) -> Tensor:
    """Distance to human scores plus `weight` times the distance to a teacher's scores.

    Args:
        predicted: (B,) a network's scores.
        label: (B,) human scores, in the same unit and direction.
        teacher: (B,) a frozen network's scores likewise; None: no such term.
        weight: of the teacher's term, l1 in the paper; >= 0.
        label_weight: of the label's term; 0: pseudo-labels only (Table 8).
        distance: "smooth_l1" or "l1".
        beta: below this error smooth L1 is a parabola; in the scores' unit. 0.1 suits quality in [0, 1], 1 raw scores.

    Returns:
        () mean, >= 0, in the scores' unit; lower is better.

    Raises:
        ValueError: shapes that differ.

    Source:
        CSIQA eq. 4.
    Differs:
        Eq. 4 writes L1, section 3.2 says smooth L1; the default is the latter, the other is `distance="l1"`.

    Example:
        >>> import torch
        >>> one, two, four = torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor([4.0])
        >>> distilled_loss(one, two, four, distance="l1")  # 1 + 0.9 * 3
        tensor(3.7000)
    """
    loss = label_weight * _distance(predicted, label, distance, beta)
    return loss if teacher is None else loss + weight * _distance(predicted, teacher, distance, beta)


def _distance(predicted: Tensor, wanted: Tensor, kind: Distance, beta: float) -> Tensor:
    if predicted.shape != wanted.shape:
        raise ValueError(f"scores {tuple(predicted.shape)} and {tuple(wanted.shape)} differ in shape")
    if kind == "l1":
        return functional.l1_loss(predicted, wanted)
    return functional.smooth_l1_loss(predicted, wanted, beta=beta)


def ranking_loss(predicted: Tensor, scores: Tensor, pairs: Tensor, *, margin: float) -> Tensor:
    """How far chosen pairs are from the order that people gave them: what quality context is compared with.

    For each pair (a, b) whose scores differ: max(0, margin - sign(score a - score b) * (predicted a - predicted b)).

    Args:
        predicted: (B,) a network's scores.
        scores: (B,) human scores, in the same direction.
        pairs: (B, B) bool, such as positives and negatives of `select_pairs` together.
        margin: by which predictions must differ, in their unit; >= 0.

    Returns:
        () mean over the pairs that have an order, 0 without any; lower is better.

    Raises:
        ValueError: shapes that differ, or a negative margin.

    Source:
        Liu et al. 2017 (RankIQA), https://arxiv.org/abs/1707.08347, eq. 2; CSIQA tables 15 and 16 compare with such
        a loss without saying which.

    Example:
        >>> import torch
        >>> pairs = torch.tensor([[False, True], [True, False]])
        >>> ranking_loss(torch.tensor([0.5, 0.25]), torch.tensor([1.0, 2.0]), pairs, margin=0.25)
        tensor(0.5000)
    """
    if margin < 0:
        raise ValueError(f"margin must be >= 0, got {margin}")
    batch = len(scores)
    if predicted.shape != (batch,) or scores.shape != (batch,) or pairs.shape != (batch, batch):
        raise ValueError(f"{tuple(predicted.shape)}, {tuple(scores.shape)} and {tuple(pairs.shape)} do not go together")
    order = (scores[:, None] - scores[None, :]).sign()
    ahead = predicted[:, None] - predicted[None, :]
    ordered = pairs & (order != 0)
    hinge = functional.relu(margin - order * ahead).masked_fill(~ordered, 0.0)
    return hinge.sum() / ordered.sum().clamp(min=1)
