from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noref.errors import DataError, OptionError
from noref.evaluate.correlation import fit_logistic4, krcc, plcc, rmse, srcc

ALL = [srcc, plcc, krcc, rmse]
SCORES = st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=3, max_size=30).filter(
    lambda rows: len({a for a, _ in rows}) > 1 and len({b for _, b in rows}) > 1
)


def slow_ranks(values):
    """Mean place of each value among all, counted one by one."""
    return [sum(v < x for v in values) + (sum(v == x for v in values) - 1) / 2 for x in values]


def slow_pearson(x, y):
    mx, my = sum(x) / len(x), sum(y) / len(y)
    top = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True))
    return top / math.sqrt(sum((a - mx) ** 2 for a in x) * sum((b - my) ** 2 for b in y))


def slow_tau_b(x, y):
    def sign(v):
        return (v > 0) - (v < 0)

    pairs = list(itertools.combinations(range(len(x)), 2))
    agree = sum(sign(x[i] - x[j]) * sign(y[i] - y[j]) for i, j in pairs)
    untied_x = sum(x[i] != x[j] for i, j in pairs)
    untied_y = sum(y[i] != y[j] for i, j in pairs)
    return agree / math.sqrt(untied_x * untied_y)


@given(SCORES)
def test_equal_the_loops_written_from_the_formulas(rows):
    x, y = (list(column) for column in zip(*rows, strict=True))
    assert srcc(x, y) == pytest.approx(slow_pearson(slow_ranks(x), slow_ranks(y)), abs=1e-9)
    assert plcc(x, y) == pytest.approx(slow_pearson(x, y), abs=1e-9)
    assert krcc(x, y) == pytest.approx(slow_tau_b(x, y), abs=1e-9)
    assert rmse(x, y) == pytest.approx(math.sqrt(sum((a - b) ** 2 for a, b in rows) / len(rows)))


def test_worked_by_hand():
    # ranks 1 2 3 4 5 and 2 1 4 3 5: squared differences 1 1 1 1 0, rho = 1 - 6 * 4 / (5 * 24); 8 pairs agree, 2 do not
    x, y = [1, 2, 3, 4, 5], [2, 1, 4, 3, 5]
    assert srcc(x, y) == pytest.approx(0.8)
    assert krcc(x, y) == pytest.approx(0.6)
    assert plcc(x, y) == pytest.approx(0.8)
    assert rmse(x, y) == pytest.approx(math.sqrt(4 / 5))


@pytest.mark.parametrize("function", ALL)
@pytest.mark.parametrize("mapping", [None, "logistic4"])
@pytest.mark.parametrize(
    ("predicted", "actual", "reason"),
    [
        ([1, 1, 1, 1], [1, 2, 3, 4], "all predicted scores are 1"),
        ([1, 2, 3, 4], [7, 7, 7, 7], "all actual scores are 7"),
        ([1, 2, 3], [1, 2, 3, 4], "one length"),
        ([1, 2], [1, 2], "3 values or more"),
        ([], [], "3 values or more"),
        ([1, math.nan, 3, 4], [1, 2, 3, 4], "predicted score 1 is nan"),
        ([1, 2, 3, 4], [1, 2, 3, math.inf], "actual score 3 is inf"),
        ([[1, 2], [3, 4]], [[1, 2], [3, 4]], "lists of one length"),
        (["a", "b", "c"], [1, 2, 3], "numbers"),
    ],
)
def test_what_has_no_answer_is_refused_with_the_reason(function, mapping, predicted, actual, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        function(predicted, actual, mapping=mapping)
    assert isinstance(caught.value, DataError)


@pytest.mark.parametrize("function", ALL)
def test_an_unknown_mapping_is_refused(function):
    with pytest.raises(OptionError, match="logistic5"):
        function([1, 2, 3], [1, 2, 4], mapping="logistic5")


def test_three_values_are_too_few_for_four_parameters():
    with pytest.raises(DataError, match="4 values"):
        plcc([1, 2, 3], [1, 2, 4], mapping="logistic4")


@pytest.mark.parametrize(("top", "bottom"), [(90.0, 10.0), (5.0, 80.0)])
@pytest.mark.parametrize("width", [0.3, 1.0, 2.5])
def test_a_known_logistic_is_found_again(top, bottom, width):
    x = np.linspace(-4, 6, 60)
    y = [bottom + (top - bottom) / (1 + math.exp(-(v - 1.2) / width)) for v in x]
    curve = fit_logistic4(x, y)
    assert (curve.top, curve.bottom, curve.centre, curve.width) == pytest.approx((top, bottom, 1.2, width), rel=1e-4)
    assert plcc(x, y, mapping="logistic4") == pytest.approx(1)
    assert rmse(x, y, mapping="logistic4") == pytest.approx(0, abs=1e-3)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.02, 2), st.booleans())
def test_the_logistic_is_no_worse_than_a_line(seed, noise, falls):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=50)
    y = (-1 if falls else 1) * np.tanh(x) + noise * rng.normal(size=50)
    line = np.polyval(np.polyfit(x, y, 1), x)
    assert rmse(x, y, mapping="logistic4") <= 1.001 * rmse(line, y)
    assert plcc(x, y, mapping="logistic4") >= abs(plcc(x, y)) - 1e-3


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(1e-9, 1e9), st.floats(-1e3, 1e3))
def test_units_of_the_predictions_do_not_matter_after_the_logistic(seed, unit, offset):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=40)
    y = np.tanh(x) + 0.3 * rng.normal(size=40)
    moved = unit * (x + offset)
    assert plcc(moved, y, mapping="logistic4") == pytest.approx(plcc(x, y, mapping="logistic4"), abs=1e-4)
    assert plcc(moved, y) == pytest.approx(plcc(x, y), abs=1e-9)


def test_a_reversed_model_keeps_its_sign_but_in_the_fitted_curve():
    x = np.linspace(0, 1, 30)
    y = -(x**3)
    assert srcc(x, y) == krcc(x, y) == pytest.approx(-1)
    assert srcc(x, y, mapping="logistic4") == pytest.approx(-1)
    assert plcc(x, y) < -0.9
    assert plcc(x, y, mapping="logistic4") > 0.99


def test_the_fitted_curve_is_monotone():
    rng = np.random.default_rng(3)
    for _ in range(20):
        x, y = rng.normal(size=30), rng.normal(size=30)
        values = np.diff(fit_logistic4(x, y)(np.sort(x)))
        assert (values >= 0).all() or (values <= 0).all()


def test_a_step_is_fitted():
    x = np.arange(20.0)
    y = np.where(x < 9.5, 2.0, 5.0)
    assert rmse(x, y, mapping="logistic4") < 0.01


def test_one_far_outlier_does_not_break_the_fit():
    x = np.append(np.linspace(0, 1, 50), 1e4)
    y = np.append(np.linspace(0, 1, 50), 1.0)
    assert 0.1 < plcc(x, y, mapping="logistic4") <= 1


def best_of_many_curves(x, y):
    """The least error over a dense grid of centres and widths, top and bottom by numpy's least squares."""
    best = math.inf
    for centre in np.quantile(x, np.linspace(0.01, 0.99, 41)):
        for width in np.geomspace(1e-3, 1e3, 37):
            step = (1 + np.tanh((x - centre) / (2 * width))) / 2
            columns = np.stack([step, np.ones_like(step)], axis=1)
            fitted = columns @ np.linalg.lstsq(columns, y, rcond=None)[0]
            best = min(best, float(np.sqrt(np.mean((fitted - y) ** 2))))
    return best


@pytest.mark.parametrize("seed", range(12))
def test_predictions_with_a_long_tail_are_fitted_as_well_as_by_trying_everything(seed):
    rng = np.random.default_rng(seed)
    x = np.exp(2 * rng.normal(size=60))
    middle = np.quantile(x, rng.uniform(0.1, 0.9))
    y = 1 / (1 + (middle / x) ** rng.uniform(1, 10)) + 0.1 * rng.normal(size=60)
    assert rmse(x, y, mapping="logistic4") <= 1.02 * best_of_many_curves(x, y)
