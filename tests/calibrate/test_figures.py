from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from noref.calibrate.figures import figures, ranks


@pytest.mark.parametrize("seed", range(3))
def test_against_scipy_with_ties(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 9, 40).astype(float), rng.normal(size=40).round(1)
    found = figures(x, y)
    assert found["srcc"] == pytest.approx(stats.spearmanr(x, y).statistic)
    assert found["plcc"] == pytest.approx(stats.pearsonr(x, y).statistic)
    assert found["rmse"] == pytest.approx(math.sqrt(sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) / 40))
    assert ranks(x).tolist() == stats.rankdata(x).tolist()


def test_a_constant_side_has_no_correlation():
    found = figures(np.ones(3), np.arange(3.0))
    assert math.isnan(found["srcc"])
    assert math.isnan(found["plcc"])
