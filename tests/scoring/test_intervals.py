"""Conformal intervals against their definition: coverage over many draws, and ranks by hand."""

from __future__ import annotations

import numpy as np
import pytest

from noref.errors import OptionError
from noref.scoring.intervals import half_width, interval


def test_the_rank_by_hand():
    residuals = [float(value) for value in range(1, 20)]  # n = 19: (19 + 1) * 0.9 = 18
    assert half_width(residuals, 0.9) == 18.0
    assert half_width(residuals, 0.95) == 19.0
    with pytest.raises(OptionError, match=r"19 residuals give at most 0\.95"):
        half_width(residuals, 0.96)


@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_as_many_new_residuals_are_within_as_promised(coverage):
    """Exactly `coverage` on average where (n + 1) coverage is whole, whatever the law of the residuals."""
    rng = np.random.default_rng(0)
    draws = np.abs(rng.standard_cauchy((4000, 100)))
    halves = np.array([half_width(sorted(draw[:-1]), coverage) for draw in draws])
    assert (draws[:, -1] <= halves).mean() == pytest.approx(coverage, abs=0.02)


def test_an_interval_stays_on_the_scale():
    assert interval(3.0, 10.0) == (0.0, 13.0)
    assert interval(60.0, 10.0, 2.0) == (40.0, 80.0)
