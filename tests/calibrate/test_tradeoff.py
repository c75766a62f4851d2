from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, precision_score, recall_score

from noref.calibrate.tradeoff import best, plot, table, thresholds


@pytest.fixture
def cuts():
    rng = np.random.default_rng(0)
    good = rng.random(60) < 0.4
    scores = (50 + 20 * good + rng.normal(0, 15, 60)).round()
    return scores, good, thresholds(scores, good)


def test_each_threshold_against_scikit_learn(cuts):
    scores, good, found = cuts
    assert len(found) == len(set(scores))
    for cut in found:
        kept = scores >= cut.score
        assert cut.precision == pytest.approx(precision_score(good, kept))
        assert cut.recall == pytest.approx(recall_score(good, kept))
        assert cut.kept == pytest.approx(kept.mean())
        assert cut.balanced == pytest.approx(balanced_accuracy_score(good, kept))


def test_the_table_has_the_best_and_rises(cuts):
    _, _, found = cuts
    shown = table(found)
    assert best(found) in shown
    assert [cut.score for cut in shown] == sorted({cut.score for cut in shown})
    assert shown[0].recall == 1.0
    assert max(cut.balanced for cut in found) == best(found).balanced


def test_the_plot_is_a_picture_of_noref(cuts, tmp_path):
    plot(cuts[2], tmp_path / "cuts.png")
    assert (tmp_path / "cuts.png").read_bytes().startswith(b"\x89PNG")
    assert b"Software\0noref" in (tmp_path / "cuts.png").read_bytes()
