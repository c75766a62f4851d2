"""Scores that follow human scores and a teacher's: CSIQA's eq. 4, and the score loss of all methods."""

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
