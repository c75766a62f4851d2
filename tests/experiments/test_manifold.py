from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import cosine

from noref.errors import DataError

from ..load_script import load_script

SCRIPT = Path(__file__).parents[2] / "experiments" / "lml_iqa" / "manifold.py"


spread = load_script(SCRIPT, "lml_iqa_manifold").spread


@pytest.mark.parametrize("shape", [(2, 2, 1), (3, 2, 4), (5, 4, 7)])
def test_against_a_loop_over_all_pairs(shape):
    features = np.random.default_rng(sum(shape)).normal(size=shape) * 3
    within, between = [[] for _ in range(shape[0])], []
    places = [(n, h) for n in range(shape[0]) for h in range(shape[1])]
    for a in places:
        for b in places:
            if a == b:
                continue
            distance = cosine(features[a], features[b])
            (within[a[0]] if a[0] == b[0] else between).append(distance)
    found = spread(features)
    assert found.images == pytest.approx([np.mean(one) for one in within])
    assert found.within == pytest.approx(np.mean([np.mean(one) for one in within]))
    assert found.between == pytest.approx(np.mean(between))
    assert found.ratio == pytest.approx(found.within / found.between)


def test_an_image_that_is_a_point_has_no_spread():
    rng = np.random.default_rng(0)
    found = spread(np.repeat(rng.normal(size=(6, 1, 5)), 4, axis=1))
    assert found.within == pytest.approx(0, abs=1e-12)
    assert found.ratio == pytest.approx(0, abs=1e-12)


def test_length_does_not_matter():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(4, 3, 5))
    assert spread(features * rng.uniform(0.1, 9, size=(4, 3, 1))).within == pytest.approx(spread(features).within)


@pytest.mark.parametrize(
    "features",
    [np.ones((1, 3, 2)), np.ones((3, 1, 2)), np.ones((3, 2)), np.zeros((2, 2, 2)), np.full((2, 2, 2), np.nan)],
)
def test_what_has_no_spread_is_refused(features):
    with pytest.raises(DataError):
        spread(features)
