from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from noref.card import Scale
from noref.data.records import Record
from noref.errors import DataError
from noref.evaluate.metrics import metrics, outside_scale

DMOS = Scale(-3, 112, higher_is_better=False)


@pytest.fixture
def rated():
    """Twelve images on a scale whose direction is reversed, and predictions of them."""
    rng = np.random.default_rng(0)
    records = [Record(Path(f"{i}.png"), float(score), DMOS) for i, score in enumerate(rng.uniform(-3, 112, 12))]
    return [record.quality + 0.2 * float(rng.normal()) for record in records], records


def test_metrics_are_what_scipy_says(rated):
    quality, records = rated
    found, human = metrics(quality, records), [record.quality for record in records]
    assert list(found) == ["images", "srcc", "plcc", "plcc_logistic4", "krcc", "rmse"]
    assert found["images"] == 12
    assert found["srcc"] == pytest.approx(stats.spearmanr(quality, human).statistic)
    assert found["plcc"] == pytest.approx(stats.pearsonr(quality, human).statistic)
    assert found["krcc"] == pytest.approx(stats.kendalltau(quality, human).statistic)
    assert found["plcc_logistic4"] >= found["plcc"] - 1e-6


def test_a_right_order_is_positive_on_a_reversed_scale_and_the_error_is_in_raw_units(rated):
    quality, records = rated
    found = metrics(quality, records)
    assert found["srcc"] > 0.5
    raw = [112 - 115 * value for value in quality]
    by_hand = math.sqrt(sum((a - record.raw_score) ** 2 for a, record in zip(raw, records, strict=True)) / 12)
    assert found["rmse"] == pytest.approx(by_hand)


def test_constant_predictions_have_no_metrics(rated):
    with pytest.raises(DataError, match="all predicted scores are"):
        metrics([0.5] * 12, rated[1])


def test_a_fresh_network_leaves_the_scale_and_share_and_range_are_said():
    found = outside_scale(np.array([-0.95, 1.77, 0.3, 0.9, 1.0, 0.0, 1.2, 0.5]), Scale(0, 100))
    assert (found.outside, found.images, found.share) == (3, 8, 0.375)
    assert (found.low, found.high) == pytest.approx((-95, 177))
    assert str(found) == (
        "3 of 8 predictions (37.5 %) lie outside of the scale 0 to 100: the lowest is -95, the highest 177"
    )


def test_the_range_is_in_raw_units_of_a_reversed_scale():
    found = outside_scale([0.5, 1.1], DMOS)  # better than the best: below the low end of the raw scores
    assert (found.low, found.high) == pytest.approx((112 - 1.1 * 115, 112 - 0.5 * 115))


@pytest.mark.parametrize("quality", [[], [0.0, 1.0, 0.5], [1 + 1e-9, -1e-9]])
def test_predictions_on_the_scale_are_nothing_to_speak_of(quality):
    assert outside_scale(quality, Scale(0, 100)) is None
