from __future__ import annotations

import numpy as np
import pytest

from noref.errors import DataError
from noref.evaluate.correlation import plcc, srcc
from noref.evaluate.uncertainty import Part, mean_interval, mean_paired_difference


def part(predicted, actual):
    """One test part whose images each count for themselves."""
    return [Part([f"{place:04}" for place in range(len(actual))], predicted, actual)]


def interval(predicted, actual, *how, **options):
    return mean_interval(part(predicted, actual), *how, **options)


def difference(first, second, actual, *how, **options):
    return mean_paired_difference(part(first, actual), part(second, actual), *how, **options)


def correlated(rng, size, correlation):
    actual = rng.normal(size=size)
    return correlation * actual + np.sqrt(1 - correlation**2) * rng.normal(size=size), actual


def test_the_interval_is_about_what_fisher_gives():
    # for normal data atanh(r) is normal with deviation 1 / sqrt(M - 3): another road to the same interval
    predicted, actual = correlated(np.random.default_rng(0), 400, 0.8)
    low, high = interval(predicted, actual, plcc, repeats=1000)
    centre, half = np.arctanh(plcc(predicted, actual)), 1.96 / np.sqrt(397)
    assert (low, high) == pytest.approx((np.tanh(centre - half), np.tanh(centre + half)), abs=0.02)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    inside = 0
    for seed in range(40):
        low, high = interval(*correlated(rng, 60, 0.5), plcc, seed=seed, repeats=120, level=0.8)
        inside += low <= 0.5 <= high
    assert 22 <= inside <= 40  # 32 expected; four standard deviations


def test_same_seed_same_interval():
    predicted, actual = correlated(np.random.default_rng(2), 40, 0.7)
    first = interval(predicted, actual, seed=5, repeats=200)
    assert first == interval(predicted, actual, seed=5, repeats=200)
    assert first != interval(predicted, actual, seed=6, repeats=200)
    assert first[0] < srcc(predicted, actual) < first[1]


def test_a_clear_difference_has_a_small_p_and_none_a_large_one():
    rng = np.random.default_rng(3)
    actual = rng.normal(size=150)
    good, bad = actual + 0.3 * rng.normal(size=150), actual + 2 * rng.normal(size=150)
    clear = difference(good, bad, actual, repeats=400)
    assert clear.p <= 2 / 401 + 1e-12
    assert 0 < clear.low < clear.value < clear.high
    assert clear.value == pytest.approx(srcc(good, actual) - srcc(bad, actual))
    none = difference(good, good, actual, repeats=100)
    assert (none.value, none.low, none.high, none.p) == (0, 0, 0, 1)


def test_swapping_the_models_mirrors_the_answer():
    rng = np.random.default_rng(4)
    actual = rng.normal(size=60)
    a, b = actual + rng.normal(size=60), actual + 1.2 * rng.normal(size=60)
    one, other = difference(a, b, actual, repeats=300), difference(b, a, actual, repeats=300)
    assert (one.value, one.low, one.high, one.p) == pytest.approx((-other.value, -other.high, -other.low, other.p))


def test_p_is_uniform_where_nothing_differs():
    rng = np.random.default_rng(5)
    p = []
    for seed in range(50):
        actual = rng.normal(size=50)
        models = actual + rng.normal(size=50), actual + rng.normal(size=50)
        p.append(difference(*models, actual, plcc, seed=seed, repeats=60).p)
    assert 11 <= sum(value < 0.5 for value in p) <= 39  # 25 expected; four standard deviations
    assert sum(value < 0.05 for value in p) <= 9


def test_perfect_predictions_are_certain():
    assert interval(np.arange(30), np.arange(30), repeats=50) == pytest.approx((1, 1))


def test_lengths_are_checked():
    with pytest.raises(DataError, match="one length"):
        difference([1, 2, 3], [1, 2], [1, 2, 3])
