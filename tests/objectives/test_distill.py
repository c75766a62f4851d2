from __future__ import annotations

import pytest
import torch

from noref.objectives.distill import distilled_loss


def smooth(x, beta):
    return x * x / 2 / beta if abs(x) < beta else abs(x) - beta / 2


def test_label_and_teacher_terms_are_equation_four():
    predicted, label, teacher = (torch.tensor(v, dtype=torch.float64) for v in ([0.2, 0.5], [0.25, 0.9], [0.0, 0.45]))
    for beta, weight in ((0.1, 0.9), (1.0, 0.5)):
        pairs = [(a - b, a - c) for a, b, c in zip(predicted.tolist(), label.tolist(), teacher.tolist(), strict=True)]
        expected = sum(smooth(x, beta) + weight * smooth(y, beta) for x, y in pairs) / 2
        assert distilled_loss(predicted, label, teacher, beta=beta, weight=weight).item() == pytest.approx(expected)
    absolute = distilled_loss(predicted, label, teacher, distance="l1").item()
    assert absolute == pytest.approx((0.05 + 0.4) / 2 + 0.9 * (0.2 + 0.05) / 2)


def test_without_a_teacher_the_label_stays_and_without_the_label_the_teacher():
    predicted, label, teacher = torch.rand(3, 5, generator=torch.Generator().manual_seed(0))
    alone = distilled_loss(predicted, label)
    assert torch.equal(alone, torch.nn.functional.smooth_l1_loss(predicted, label, beta=0.1))
    pseudo = distilled_loss(predicted, label, teacher, label_weight=0.0)
    torch.testing.assert_close(pseudo, 0.9 * distilled_loss(predicted, teacher))


def test_bad_calls_are_value_errors():
    with pytest.raises(ValueError, match="shape"):
        distilled_loss(torch.rand(3), torch.rand(3, 1))
    with pytest.raises(ValueError, match="shape"):
        distilled_loss(torch.rand(3), torch.rand(3), torch.rand(4))
