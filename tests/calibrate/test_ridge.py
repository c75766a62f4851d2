from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from noref.calibrate import ridge
from noref.calibrate.ridge import Labelled, fit, folds, straight


def made(count, *, seed=0, size=30, taste=0.0, noise=0.05, scenes=None, random_labels=False):
    """Labels are the model's quality plus `taste` times one feature; scenes share half of their features."""
    rng = np.random.default_rng(seed)
    groups = np.arange(count) if scenes is None else np.arange(count) % scenes
    features = rng.standard_normal((count, size)) + rng.standard_normal((count, size))[groups]
    quality = 0.5 + 0.1 * rng.standard_normal(count)
    labels = quality + taste * features[:, 0] + noise * rng.standard_normal(count)
    if random_labels:
        labels = rng.random(count)
    return Labelled(quality, features.astype(np.float32), labels, groups.astype(np.int64))


def gain(found, test):
    """SRCC on pictures that were not learnt, less that of the model."""
    calibrated = spearmanr(found.line(test.quality, test.features), test.labels).statistic
    return calibrated - spearmanr(test.quality, test.labels).statistic


def test_a_taste_that_the_features_know_is_learnt():
    test = made(400, seed=1, taste=0.2)
    few, many = (fit(made(count, taste=0.2), [np.ones(30)]) for count in (60, 400))
    assert gain(few, test) > 0.2
    assert gain(many, test) > gain(few, test)
    assert many.evidence > few.evidence > 3


@pytest.mark.parametrize("count", [20, 60, 300])
def test_labels_at_random_do_little_harm(count):
    test = made(400, seed=1, noise=0.02)
    harm = [gain(fit(made(count, seed=s, random_labels=True), [np.ones(30)]), test) for s in range(20)]
    assert np.median(harm) > -0.01
    assert min(harm) > (-0.02 if count == 20 else -0.15)


def test_features_that_know_the_quality_do_not_undo_the_slope():
    """Labels at random want a slope of 0; features of which quality is one must not give it by a detour."""
    for seed in range(5):
        data, test = made(300, seed=seed, random_labels=True), made(300, seed=99, noise=0.02)
        knowing = [
            Labelled(d.quality, np.column_stack([d.features, 10 * d.quality]).astype(np.float32), d.labels, d.groups)
            for d in (data, test)
        ]
        assert gain(fit(knowing[0], [np.ones(31)]), knowing[1]) > -0.1


def test_labels_with_which_the_model_agrees_leave_its_order():
    found = fit(made(40, noise=0.0), [np.ones(30)])
    assert found.line.slope == pytest.approx(1.0, abs=0.2)
    assert gain(found, made(400, seed=1, noise=0.0)) > -1e-3


def test_of_two_weightings_the_one_that_generalises_is_taken():
    right, wrong = np.zeros(30), np.ones(30)
    right[0], wrong[0] = 1.0, 0.0
    weight = fit(made(100, taste=0.2), [wrong, right]).line.weight
    assert np.flatnonzero(weight).tolist() == [0]


def test_the_line_is_the_primal_solution_of_the_ridge():
    """By hand: augmented least squares in (intercept, slope, weight), then the slope drawn to the belief."""
    data = made(50, taste=0.2, scenes=5)
    problem_features = data.features - data.features.mean(axis=0)
    length = np.sqrt((problem_features**2).sum(axis=1).mean())
    z = (problem_features / length).astype(float)
    same = (data.groups[:, None] == data.groups).astype(float)
    penalty = 0.3
    problem = ridge._Problem(z @ z.T, same, data.quality, data.labels)
    ((intercept, slope, dual),) = ridge._path(problem, [penalty])

    scene = np.eye(5)[data.groups] * np.sqrt(ridge.SAME_GROUP)
    design = np.column_stack([np.ones(50), data.quality, z, scene])
    shrink = np.diag([0.0, 0.0, *([penalty] * (30 + 5))])
    solved = np.linalg.solve(design.T @ design + shrink, design.T @ data.labels)
    np.testing.assert_allclose(z.T @ dual, solved[2:32], atol=1e-9)
    believed = ridge.BELIEF * data.labels.std() / data.quality.std()
    assert slope == pytest.approx((50 * solved[1] + ridge.BELIEVED * believed) / (50 + ridge.BELIEVED))
    covariance = np.linalg.inv(z @ z.T + ridge.SAME_GROUP * same + penalty * np.eye(50))
    assert np.ones(50) @ covariance @ (data.labels - intercept - slope * data.quality) == pytest.approx(0, abs=1e-9)


def test_without_features_it_is_the_line_of_least_squares_drawn_to_the_belief():
    data = made(200, noise=0.02)
    intercept, slope = straight(data)
    own = np.polyfit(data.quality, data.labels, 1)
    believed = ridge.BELIEF * data.labels.std() / data.quality.std()
    assert slope == pytest.approx((200 * own[0] + ridge.BELIEVED * believed) / (200 + ridge.BELIEVED))
    assert intercept == pytest.approx(data.labels.mean() - slope * data.quality.mean())


def test_the_slope_never_turns():
    data = made(60, noise=0.0)
    turned = Labelled(data.quality, data.features, 1 - data.labels, data.groups)
    assert straight(turned)[1] > 0
    assert fit(turned, [np.ones(30)]).line.slope > 0


def test_folds_keep_groups_together_and_hold_each_picture_out_once():
    groups = np.repeat(np.arange(7), [1, 9, 2, 2, 3, 3, 4]).astype(np.int64)
    parts = folds(groups, 3, seed=0)
    assert np.array_equal(np.sum(parts, axis=0), np.ones(len(groups)))
    assert all(len({bool(part[i]) for i in np.flatnonzero(groups == g)}) == 1 for part in parts for g in range(7))
    assert max(part.sum() for part in parts) == 9
    assert [int(part.sum()) for part in folds(np.zeros(5, dtype=np.int64), 10, seed=0)] == [3, 2]


def test_a_far_feature_counts_no_more_than_the_clip():
    data = made(100, taste=0.2)
    line = fit(data, [np.ones(30)]).line
    far = np.zeros((2, 30))
    far[:, 0] = line.clip, 1e9
    assert line(np.array([0.5, 0.5]), far)[0] == line(np.array([0.5, 0.5]), far)[1]
    assert fit(data, [np.ones(30)], clipped=False).line.clip > 1e38


def test_an_order_of_pictures_changes_nothing_where_folds_are_the_same():
    data = made(60, taste=0.2)
    assert np.array_equal(fit(data, [np.ones(30)]).line.weight, fit(data, [np.ones(30)]).line.weight)
