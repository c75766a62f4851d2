from __future__ import annotations

import pytest
import torch

from noref.objectives.distill import distilled_loss, ranking_loss


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


@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_ranking_is_the_loop(margin):
    generator = torch.Generator().manual_seed(1)
    for batch in (1, 2, 9):
        predicted = torch.rand(batch, generator=generator, dtype=torch.float64)
        scores = torch.randint(0, 4, (batch,), generator=generator).double()  # some tie: no order
        pairs = torch.rand(batch, batch, generator=generator) < 0.6
        hinges = []
        for a in range(batch):
            for b in range(batch):
                if pairs[a, b] and scores[a] != scores[b]:
                    better, worse = (a, b) if scores[a] > scores[b] else (b, a)
                    hinges.append(max(0.0, margin - float(predicted[better] - predicted[worse])))
        expected = sum(hinges) / len(hinges) if hinges else 0.0
        assert ranking_loss(predicted, scores, pairs, margin=margin).item() == pytest.approx(expected)


def test_the_right_order_by_more_than_the_margin_costs_nothing():
    scores, pairs = torch.arange(5.0), torch.ones(5, 5, dtype=torch.bool)
    assert ranking_loss(scores, scores, pairs, margin=0.9) == 0
    assert ranking_loss(-scores, scores, pairs, margin=0.0) > 0


def test_bad_calls_are_value_errors():
    with pytest.raises(ValueError, match="shape"):
        distilled_loss(torch.rand(3), torch.rand(3, 1))
    with pytest.raises(ValueError, match="shape"):
        distilled_loss(torch.rand(3), torch.rand(3), torch.rand(4))
    with pytest.raises(ValueError, match="margin"):
        ranking_loss(torch.rand(2), torch.rand(2), torch.ones(2, 2, dtype=torch.bool), margin=-1)
    with pytest.raises(ValueError, match="together"):
        ranking_loss(torch.rand(2), torch.rand(2), torch.ones(3, 3, dtype=torch.bool), margin=0)
