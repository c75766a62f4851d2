"""Losses on scores, against the formulas written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr

from noref.objectives.rated import distorted_view_losses, rating_loss, score_loss, severity_loss


def smooth_l1_by_hand(predicted, wanted, beta=0.1):
    found = []
    for p, w in zip(predicted, wanted, strict=True):
        gap = abs(p - w)
        found.append(0.5 * gap * gap / beta if gap < beta else gap - 0.5 * beta)
    return sum(found) / len(found)


def test_score_loss_is_smooth_l1_plus_what_is_missing_of_correlation():
    rng = np.random.default_rng(0)
    predicted, wanted = rng.random(9), rng.random(9)
    expected = smooth_l1_by_hand(predicted, wanted) + 0.3 * (1 - pearsonr(predicted, wanted)[0])
    assert float(score_loss(torch.tensor(predicted), torch.tensor(wanted), 0.3)) == pytest.approx(expected, rel=1e-5)


def test_score_loss_of_a_constant_batch_is_finite_with_a_finite_gradient():
    predicted = torch.full((4,), 0.5, requires_grad=True)
    score_loss(predicted, torch.rand(4), 0.1).backward()
    assert torch.isfinite(predicted.grad).all()


def test_rating_loss_leaves_out_what_has_no_rating():
    predicted, wanted = torch.tensor([0.1, 0.9, 0.4]), torch.tensor([0.2, float("nan"), 0.9])
    assert float(rating_loss(predicted, wanted)) == pytest.approx(smooth_l1_by_hand([0.1, 0.4], [0.2, 0.9]), rel=1e-5)


def test_severity_loss_by_hand():
    # steps fall by 0.3, -0.1, 0.05 where 0.1 is asked: missing 0, 0.2, 0.05
    assert float(severity_loss(torch.tensor([0.8, 0.5, 0.6, 0.55]), margin=0.1)) == pytest.approx(0.25 / 3, rel=1e-5)


def test_the_losses_of_a_lesson_are_those_of_its_parts():
    score, rating = torch.tensor([0.9, 0.8, 0.8, 0.1]), torch.tensor([0.7, 0.6, 0.3, 0.2])
    quality = torch.tensor([0.9, float("nan"), float("nan"), 0.3])
    found = distorted_view_losses(score, rating, quality, series=3, margin=0.2)
    assert float(found["ranking"]) == pytest.approx(((0.1 + 0.2) / 2 + (0.1 + 0.0) / 2) / 2)  # two steps, two heads
    assert float(found["rating"]) == pytest.approx(((0.2 - 0.05) + 0.1**2 / 0.2) / 2)  # smooth L1 with beta 0.1
