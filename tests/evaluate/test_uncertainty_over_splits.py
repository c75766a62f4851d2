from __future__ import annotations

import numpy as np
import pytest

from noref.errors import DataError
from noref.evaluate.correlation import plcc, srcc
from noref.evaluate.uncertainty import Part, mean_interval, mean_paired_difference

NAMES = [f"{number:03}.png" for number in range(60)]


def scores(seed, noise=1.0, count=60):
    rng = np.random.default_rng(seed)
    actual = rng.normal(size=count)
    return actual + noise * rng.normal(size=count), actual


def width(parts):
    low, high = mean_interval(parts, plcc, repeats=300)
    return high - low


def slow_paired_difference(a, b, actual, repeats, seed):
    """The comparison on one split, draw by draw: the same images for both models."""
    rng, draws = np.random.default_rng(seed), []
    for _ in range(repeats):
        rows = rng.integers(len(actual), size=len(actual))
        draws.append(srcc(a[rows], actual[rows]) - srcc(b[rows], actual[rows]))
    smaller = min(sum(draw <= 0 for draw in draws), sum(draw >= 0 for draw in draws))
    value, p = srcc(a, actual) - srcc(b, actual), min(1, 2 * (smaller + 1) / (repeats + 1))
    return value, *np.quantile(draws, [0.025, 0.975]), p


def test_over_one_split_it_is_the_paired_comparison():
    (a, actual), (noise, _) = scores(0), scores(1)
    b = actual + 0.2 * noise
    over_splits = mean_paired_difference([Part(NAMES, a, actual)], [Part(NAMES, b, actual)], repeats=200, seed=3)
    assert (over_splits.value, over_splits.low, over_splits.high, over_splits.p) == pytest.approx(
        slow_paired_difference(a, b, actual, 200, 3)
    )


def test_the_same_split_twice_tells_no_more_than_once():
    part = Part(NAMES, *scores(0))
    assert mean_interval([part, part], repeats=200) == pytest.approx(mean_interval([part], repeats=200))


def test_a_second_split_of_other_images_narrows_it_by_the_root_of_two():
    one, other = Part(NAMES, *scores(0)), Part([f"other/{name}" for name in NAMES], *scores(7))
    mean_width = (width([one]) + width([other])) / 2
    assert width([one, other]) == pytest.approx(mean_width / np.sqrt(2), rel=0.25)


def test_images_of_few_references_tell_less():
    predicted, actual = (np.repeat(values[:12], 5) for values in scores(2))  # five equal images a reference
    references = np.repeat(NAMES[:12], 5).tolist()
    assert width([Part(references, predicted, actual)]) > 1.5 * width([Part(NAMES, predicted, actual)])


def test_by_hand_over_two_splits_that_share_images():
    predicted, actual = scores(4, count=20)
    halves = [slice(0, 14), slice(6, 20)]
    parts = [Part(NAMES[part], predicted[part], actual[part]) for part in halves]
    rng, draws = np.random.default_rng(9), []
    for _ in range(50):
        drawn = [NAMES[i] for i in rng.integers(20, size=20)]
        values = []
        for part in halves:
            rows = [NAMES.index(name) for name in drawn if name in NAMES[part]]
            values.append(srcc(predicted[rows], actual[rows]))
        draws.append(np.mean(values))
    assert mean_interval(parts, repeats=50, seed=9, level=0.9) == pytest.approx(np.quantile(draws, [0.05, 0.95]))


def test_two_seeds_of_one_model_count_as_their_mean():
    (a, actual), (b, _) = scores(0), scores(1)
    b = actual + 0.5 * b
    twice = [Part(NAMES, a, actual), Part(NAMES, b, actual)]
    found = mean_paired_difference(twice, [Part(NAMES, a, actual)], repeats=50)
    assert found.value == pytest.approx((srcc(b, actual) - srcc(a, actual)) / 2)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([], "no test part"),
        ([Part(["a", "b", "c"], [1, 2], [1, 2])], "3 values or more"),
        ([Part(["a", "b"], [1, 2, 3], [1, 2, 3])], "2 units for 3 scores"),
        ([Part(["a", "a", "a"], [1, 2, 3], [1, 1, 1])], "all actual scores are 1"),
        ([Part(["a", "a", "b"], [1, 2, 3], [1, float("nan"), 1])], "actual score 1 is nan"),
    ],
)
def test_what_has_no_interval(parts, words):
    with pytest.raises(DataError, match=words):
        mean_interval(parts, repeats=20)


def test_too_few_units_end_with_an_error_and_no_endless_search():
    # each part has an answer only in draws that hold both of its units: one draw in 30 or so does for all four
    parts = [Part([f"{n}a", f"{n}b", f"{n}b"], [1, 2, 2.5], [1, 2, 2]) for n in range(4)]
    with pytest.raises(DataError, match="no bootstrap interval from 8 units"):
        mean_interval(parts, repeats=50)


def test_other_images_are_refused():
    predicted, actual = scores(0)
    with pytest.raises(DataError, match=r"059\.png is in one model's"):
        mean_paired_difference(
            [Part(NAMES, predicted, actual)], [Part(NAMES[:-1], predicted[:-1], actual[:-1])], repeats=10
        )
