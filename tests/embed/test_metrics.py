from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cosine
from scipy.stats import spearmanr

from noref.embed.metrics import nearest, score_agreement, silhouette, thirds, tsne, type_agreement, unit
from noref.errors import DataError, OptionError


@pytest.fixture
def labelled():
    """30 images in 10 groups of 3, 2 types; type and score are seen in the features, the group too."""
    rng = np.random.default_rng(3)
    groups, kinds, scores = np.repeat(np.arange(10), 3), np.tile([0, 1, 1], 10), rng.uniform(0, 9, 30)
    features = rng.normal(size=(30, 6))
    features[:, 0] += 3 * kinds
    features[:, 1] += scores
    return features, groups, kinds, scores


def slow_neighbours(features, groups, count):
    found = []
    for i in range(len(features)):
        others = [j for j in range(len(features)) if groups[j] != groups[i]]
        found.append(sorted(others, key=lambda j, i=i: cosine(features[i], features[j]))[:count])
    return found


@pytest.mark.parametrize("count", [1, 5])
def test_neighbours_against_a_slow_loop(labelled, count):
    features, groups, _, _ = labelled
    assert nearest(features, groups, count=count).tolist() == slow_neighbours(features, groups, count)


def test_neighbours_block_by_block(labelled, monkeypatch):
    features, groups, _, _ = labelled
    whole = nearest(features, groups)
    monkeypatch.setattr("noref.embed.metrics.BLOCK", 7)
    assert np.array_equal(nearest(features, groups), whole)


def test_score_agreement_against_a_slow_loop(labelled):
    features, groups, _, scores = labelled
    means = [np.mean([scores[j] for j in row]) for row in slow_neighbours(features, groups, 5)]
    found = score_agreement(nearest(features, groups), scores, groups)
    assert found.value == pytest.approx(spearmanr(means, scores).statistic)
    assert found.low < found.chance < found.high < found.value


def test_chance_never_takes_the_own_group():
    groups = np.array([4, 1, 4, 9, 1, 4, 4])
    features = np.random.default_rng(0).normal(size=(7, 3))
    found = type_agreement(nearest(features, groups, count=2), groups, groups)
    assert found.value == found.chance == found.high == 0


def test_chance_of_types_is_their_share_among_the_others(labelled):
    features, groups, kinds, _ = labelled
    found = type_agreement(nearest(features, groups), kinds, groups, draws=400)
    others = [np.mean(kinds[groups != groups[i]] == kinds[i]) for i in range(30)]
    assert found.chance == pytest.approx(np.mean(others), abs=0.01)
    slow = [np.mean(kinds[row] == kinds[i]) for i, row in enumerate(slow_neighbours(features, groups, 5))]
    assert found.value == pytest.approx(np.mean(slow))


def test_chance_lies_below_zero_where_groups_differ_in_score():
    groups = np.repeat(np.arange(4), 20)
    features = np.random.default_rng(1).normal(size=(80, 4))
    found = score_agreement(nearest(features, groups), groups + np.linspace(0, 0.1, 80), groups)
    assert found.high < 0


def test_silhouette_by_hand():
    angle = np.radians([0, 60, 90, 150])
    features = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    d = {60: 0.5, 90: 1.0, 30: 1 - np.sqrt(3) / 2, 150: 1 + np.sqrt(3) / 2}  # 1 less the cosine
    far, near = (d[90] + d[150]) / 2, (d[30] + d[90]) / 2
    expected = 2 * ((far - d[60]) / far + (near - d[60]) / max(near, d[60])) / 4
    found = silhouette(features * [[1], [5], [2], [9]], [0, 0, 1, 1], "type")
    assert found.value == pytest.approx(expected)
    assert found.name == "silhouette by type"


def test_silhouette_against_a_slow_loop(labelled):
    features, _, kinds, _ = labelled
    widths = []
    for i in range(30):
        means = {}
        for kind in (0, 1):
            members = [j for j in range(30) if kinds[j] == kind and j != i]
            means[kind] = np.mean([cosine(features[i], features[j]) for j in members])
        own, other = means[kinds[i]], means[1 - kinds[i]]
        widths.append((other - own) / max(own, other))
    found = silhouette(features, kinds, "type")
    assert found.value == pytest.approx(np.mean(widths))
    assert found.low <= found.chance <= found.high < found.value


def test_silhouette_of_many_images_takes_a_part(monkeypatch, labelled):
    monkeypatch.setattr("noref.embed.metrics.LARGEST", 20)
    features, _, kinds, _ = labelled
    assert silhouette(features, kinds, "type") == silhouette(features, kinds, "type")


def test_thirds():
    assert thirds([5, 1, 9, 3, 7, 2, 8]).tolist() == [1, 0, 2, 0, 1, 0, 2]  # 7 = 3 + 2 + 2
    assert thirds([4, 4, 4]).tolist() == [0, 1, 2]
    assert thirds([0, 34.9, 35, 70, 100], (35, 70)).tolist() == [0, 0, 1, 2, 2]
    with pytest.raises(OptionError, match="must rise"):
        thirds([1], (70, 35))


def test_same_seed_same_map(labelled):
    features = labelled[0]
    first = tsne(features, perplexity=5, seed=1)
    assert first.shape == (30, 2)
    assert np.array_equal(first, tsne(features, perplexity=5, seed=1))


def test_the_map_keeps_apart_what_is_apart():
    rng = np.random.default_rng(0)
    features = np.repeat(np.eye(3), 15, axis=0) + 0.02 * rng.normal(size=(45, 3))
    places = tsne(features, perplexity=8)
    kinds = np.repeat(np.arange(3), 15)
    distance = np.linalg.norm(places[:, None] - places, axis=2) + 1e9 * np.eye(45)
    assert np.array_equal(kinds[distance.argmin(axis=1)], kinds)


@pytest.mark.parametrize(
    ("features", "reason"),
    [
        (np.ones((1, 4)), "one image alone"),
        (np.ones((5, 4)), "all features are the same"),
        (np.array([[0.0, 0.0], [1.0, 2.0]]), "no direction"),
        (np.array([[np.nan, 0.0], [1.0, 2.0]]), "no direction"),
        (np.ones((5, 1)), "two or more numbers"),
        (np.ones(5), "two or more numbers"),
    ],
)
def test_features_that_cannot_be_mapped(features, reason):
    for call in (unit, tsne):
        with pytest.raises(DataError, match=reason):
            call(features)


@pytest.mark.parametrize("perplexity", [30, 31, 0, -1])
def test_a_perplexity_out_of_range(labelled, perplexity):
    with pytest.raises(OptionError, match="10 would do"):
        tsne(labelled[0], perplexity=perplexity)


def test_metrics_that_have_no_value(labelled):
    features, groups, kinds, _ = labelled
    with pytest.raises(DataError, match="an image has 0 of those"):
        nearest(features, np.zeros(30, int))
    with pytest.raises(DataError, match="as many groups"):
        nearest(features, groups[:4])
    with pytest.raises(DataError, match="1 labels on 30"):
        silhouette(features, kinds * 0, "type")
    with pytest.raises(DataError):
        score_agreement(nearest(features, groups), np.ones(30), groups)
