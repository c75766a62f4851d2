from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from noref.errors import DataError, OptionError
from noref.evaluate.correlation import plcc, srcc
from noref.evaluate.uncertainty import Part, mean_interval, mean_paired_difference
from noref.report.cell_metrics import comparisons, groups, pairs, quick_plcc, quick_srcc, subsets
from noref.report.results import read_results


def parts(frame):
    return [Part(list(cell.path), cell.quality, cell.human) for _, cell in frame.groupby("cell", sort=False)]


def test_metrics_are_what_pandas_and_scipy_say(make_bench, rows_of):
    folder = make_bench([row for split in range(4) for row in rows_of(split=split, higher_is_better=False)])
    (group,) = groups(read_results(folder).cells, draws=40)
    frame = pd.read_csv(folder / "predictions.csv")
    by_hand = {"srcc": [], "plcc": [], "krcc": [], "rmse": []}
    for _, cell in frame.groupby("cell", sort=False):
        by_hand["srcc"].append(stats.spearmanr(cell.predicted, cell.score).statistic)
        by_hand["plcc"].append(np.corrcoef(cell.predicted, cell.score)[0, 1])
        by_hand["krcc"].append(stats.kendalltau(cell.predicted, cell.score).statistic)
        by_hand["rmse"].append(((cell.predicted - cell.score) ** 2).mean() ** 0.5)
    for name, values in by_hand.items():
        found, wanted = group.metrics[name], pd.Series(values)
        assert list(found.values.values()) == pytest.approx(values)
        assert (found.mean, found.median, found.std) == pytest.approx((wanted.mean(), wanted.median(), wanted.std()))
    assert group.images == frame.path.nunique()
    assert group.splits == (0, 1, 2, 3)
    srcc_, interval = group.metrics["srcc"], mean_interval(parts(frame), srcc, repeats=40)
    assert (srcc_.low, srcc_.high) == pytest.approx(interval)
    assert group.metrics["krcc"].low is None


def test_the_quick_statistics_are_the_careful_ones():
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, y = rng.integers(0, 9, (2, 15)).astype(float)  # with ties
        assert quick_srcc(x, y) == pytest.approx(srcc(x, y))
        assert quick_plcc(x, y) == pytest.approx(plcc(x, y))
    for x, y in (([1, 1, 1], [1, 2, 3]), ([1, 2], [1, 2]), ([], [])):
        with pytest.raises(DataError):
            quick_srcc(x, y)


def test_cells_of_other_models_are_not_mixed(make_bench, rows_of):
    changes = [
        {}, {"variant": "b"}, {"fraction": 0.5}, {"test_set": "spaq"}, {"protocol": "paper"}, {"selection": "test"},
        {"recipe": "arniqa"}, {"training_set": "spaq"},
    ]  # fmt: skip
    rows = [{**row, "cell": f"{i} {row['cell']}"} for i, change in enumerate(changes) for row in rows_of(**change)]
    assert len(groups(read_results(make_bench(rows)).cells, draws=20)) == len(changes)


def test_constant_cells_are_left_out_and_kept_in_view(make_bench, rows_of):
    constant = [{**row, "predicted": 50.0, "quality": 0.5} for row in rows_of(split=1)]
    (group,) = groups(read_results(make_bench(rows_of() + constant)).cells, draws=20)
    assert [cell.split for cell in group.cells] == [0]
    assert [cell.split for cell in group.undefined] == [1]
    assert group.metrics["srcc"].std is None
    (alone,) = groups(read_results(make_bench(constant)).cells, draws=20)
    assert alone.metrics == {}


def test_three_images_have_no_logistic_and_no_made_up_interval(make_bench, rows_of):
    (group,) = groups(read_results(make_bench(rows_of(images=3, noise=0.01))).cells, draws=20)
    assert "plcc_logistic4" not in group.metrics
    assert -1 <= group.metrics["srcc"].mean <= 1


def test_variants_are_compared_with_the_baseline_on_the_splits_that_both_have(make_bench, rows_of):
    rows = [row for split in range(3) for row in rows_of(split=split, variant="base", noise=0.3)]
    rows += [row for split in range(2) for row in rows_of(split=split, variant="better", noise=0.02)]
    folder = make_bench(rows)
    found = groups(read_results(folder).cells, draws=20)
    (one,) = comparisons(found, draws=60)
    assert (one.first.variant, one.second.variant, one.splits) == ("better", "base", (0, 1))
    frame = pd.read_csv(folder / "predictions.csv")
    frame = frame[frame.split < 2]
    ours, theirs = (parts(frame[frame.variant == name]) for name in ("better", "base"))
    wanted = mean_paired_difference(ours, theirs, srcc, repeats=60)
    assert (one.srcc.value, one.srcc.low, one.srcc.high, one.srcc.p) == pytest.approx(
        (wanted.value, wanted.low, wanted.high, wanted.p)
    )
    (turned,) = comparisons(found, "better", draws=60)
    assert turned.srcc.value == pytest.approx(-one.srcc.value)


def test_smaller_fractions_are_compared_with_the_largest(make_bench, rows_of):
    rows = [row for fraction in (0.2, 0.6, 1.0) for row in rows_of(fraction=fraction)]
    found = groups(read_results(make_bench(rows)).cells, draws=20)
    assert [(a.model.fraction, b.model.fraction) for a, b in pairs(found)] == [(0.2, 1.0), (0.6, 1.0)]


def test_what_cannot_be_compared_says_why(make_bench, rows_of):
    other = [f"other/{i}.png" for i in range(12)]
    found = groups(read_results(make_bench(rows_of(variant="a") + rows_of(variant="bb", names=other))).cells, draws=20)
    (one,) = comparisons(found, draws=20)
    assert one.srcc is None
    assert "not the same images" in one.trouble
    found = groups(read_results(make_bench(rows_of(variant="a") + rows_of(variant="bb", split=1))).cells, draws=20)
    (one,) = comparisons(found, draws=20)
    assert "no split that both have" in one.trouble


def test_an_unknown_baseline_offers_the_nearest(make_bench, rows_of):
    found = groups(read_results(make_bench(rows_of(variant="baseline") + rows_of(variant="b"))).cells, draws=20)
    with pytest.raises(OptionError, match="did you mean baseline"):
        pairs(found, "basline")
    found = groups(read_results(make_bench(rows_of())).cells, draws=20)
    with pytest.raises(OptionError, match="it has no name"):
        pairs(found, "basline")


def test_distortions_and_levels_by_hand(make_bench, rows_of):
    rows = [row for split in range(2) for row in rows_of(split=split, images=30, distortions=("noise", "blur", "jpeg"))]
    folder = make_bench(rows)
    (group,) = groups(read_results(folder).cells, draws=20)
    frame = pd.read_csv(folder / "predictions.csv")
    for found, column in ((subsets(group, "distortions"), "distortion"), (subsets(group, "levels"), "level")):
        assert [share.label for share in found] == [str(value) for value in sorted(frame[column].unique())]
        for share in found:
            kind = frame[frame[column].astype(str) == share.label]
            within = [stats.spearmanr(cell.quality, cell.human).statistic for _, cell in kind.groupby("cell")]
            assert share.srcc == pytest.approx(np.mean(within))
            assert share.residual == pytest.approx((kind.quality - kind.human).mean())
            assert share.images == kind.path.nunique()


def test_a_distortion_of_two_images_has_a_residual_and_no_correlation(make_bench, rows_of):
    (group,) = groups(read_results(make_bench(rows_of(images=4, distortions=("a", "b")))).cells, draws=20)
    assert [share.srcc for share in subsets(group, "distortions")] == [None, None]
