"""Votes counted by hand; strengths against scipy's optimiser; intervals against what they claim."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import norm

from noref.errors import DataError
from noref.gmad.preference_counts import (
    COLUMNS,
    Preference,
    count_preferences,
    read_preferences,
    strengths,
    write_counts,
)


def said(attacker, defender, pair, *answers):
    return [Preference(attacker, defender, f"{pair}+", f"{pair}-", answer) for answer in answers]


def role_of(result, attacker, defender):
    (found,) = [d for d in result.roles if (d.attacker, d.defender) == (attacker, defender)]
    return found


def test_worked_by_hand():
    votes = [
        *said("new", "old", "a", 1, 1, 1, 0),  # s = 3/4
        *said("new", "old", "b", -1, 1),  # s = 0
        *said("old", "new", "c", 0, 0, -1, -1),  # s = -1/2
    ]
    result = count_preferences(votes, repeats=50)
    new = role_of(result, "new", "old")
    assert (new.pairs, new.votes) == (2, 6)
    assert new.aggressiveness.value == pytest.approx((4 * 0.75 + 2 * 0) / 6)
    assert new.resistance.value == pytest.approx((4 * 0.25 + 2 * 1) / 6)
    old = role_of(result, "old", "new")
    assert (old.aggressiveness.value, old.resistance.value) == (-0.5, 0.5)
    assert math.isnan(old.resistance.low)  # one pair says nothing of other pairs
    assert [model.model for model in result.models] == ["new", "old"]


def test_the_order_of_votes_and_the_names_of_models_play_no_role():
    rng = np.random.default_rng(0)
    pairs = [(f"{i}", *rng.integers(-1, 2, size=3)) for i in range(8)]
    votes = [vote for i, pair in enumerate(pairs) for vote in said(*(("x", "y") if i % 2 else ("y", "x")), *pair)]
    assert count_preferences(votes[::-1], seed=3) == count_preferences(votes, seed=3)
    assert count_preferences(votes, seed=3) != count_preferences(votes, seed=4)
    swapped = [
        Preference({"x": "y", "y": "x"}[v.attacker], {"x": "y", "y": "x"}[v.defender], v.better, v.worse, v.agrees)
        for v in votes
    ]
    here, there = count_preferences(votes), count_preferences(swapped)
    assert role_of(here, "x", "y").aggressiveness.value == role_of(there, "y", "x").aggressiveness.value


def test_overall_strengths_are_where_scipy_finds_the_peak():
    rng = np.random.default_rng(1)
    for size in (2, 3, 6):
        wins = rng.uniform(0, 1, (size, size))
        np.fill_diagonal(wins, np.nan)

        def loss(m, wins=wins):
            total = (m**2).sum() / 2
            for i in range(len(m)):
                total -= sum(wins[i, j] * norm.logcdf(m[i] - m[j]) for j in range(len(m)) if j != i)
            return total

        found = minimize(loss, np.zeros(size), tol=1e-12).x
        assert strengths(wins) == pytest.approx(found, abs=1e-4)
        assert strengths(wins).sum() == pytest.approx(0, abs=1e-9)


def test_strengths_of_many_matrices_are_those_of_each():
    wins = np.random.default_rng(2).uniform(0, 1, (5, 3, 3))
    assert strengths(wins) == pytest.approx(np.array([strengths(w) for w in wins]), abs=1e-8)


def test_a_model_that_always_wins_stays_finite_and_equals_are_equal():
    strong = strengths(np.array([[0.0, 1.0], [0.0, 0.0]]))
    assert 0.3 < strong[0] < 1
    assert strengths(np.ones((3, 3))) == pytest.approx(np.zeros(3))
    alone = strengths(np.array([[np.nan, 1, np.nan], [0, np.nan, np.nan], [np.nan] * 3]))
    assert alone[2] == pytest.approx(0)


def test_three_models_are_ranked():
    votes = []
    for attacker, defender, answer in [
        ("a", "b", 1),
        ("b", "a", 0),
        ("b", "c", 1),
        ("c", "b", 0),
        ("a", "c", 1),
        ("c", "a", 0),
    ]:
        for pair in range(4):
            votes += said(attacker, defender, f"{attacker}{defender}{pair}", answer)
    result = count_preferences(votes, repeats=20)
    assert [model.model for model in result.models] == ["a", "b", "c"]
    assert [model.aggressiveness.value for model in result.models] == sorted(
        (model.aggressiveness.value for model in result.models), reverse=True
    )


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(3)
    inside = 0
    for seed in range(60):  # people agree with the attacker in 7 pairs of 10, one vote a pair
        votes = [v for i, agree in enumerate(rng.random(60) < 0.7) for v in said("x", "y", i, 1 if agree else -1)]
        estimate = count_preferences(votes, seed=seed, repeats=300, level=0.8).roles[0].aggressiveness
        inside += estimate.low <= 0.4 <= estimate.high
    assert 35 <= inside <= 60  # 48 expected; four standard deviations


def write(path, rows, header=COLUMNS):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


ROW = ["1-1-1", "new", "old", 1, 1, "a.png", "b.png", "worse", "right"]


def test_sides_become_agreement(tmp_path):
    cases = {("better", "left"): 1, ("better", "right"): -1, ("worse", "left"): -1, ("worse", "right"): 1}
    cases |= {("better", "same"): 0, ("worse", "same"): 0}
    rows = [[*ROW[:5], f"{i}.png", "z.png", *case] for i, case in enumerate(cases)]
    assert [vote.agrees for vote in read_preferences(write(tmp_path / "v.csv", rows))] == list(cases.values())


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], "no votes"),
        ([[*ROW[:8], "up"]], "line 2: vote is 'up', not one of left, right, same"),
        ([[*ROW[:7], "leftt", "left"]], "line 2: left is 'leftt'"),
        ([ROW, ROW], "line 3: this pair is in two rows"),
        ([[*ROW[:1], "old", *ROW[2:]]], "line 2: old attacks itself"),
        ([[*ROW[:5], "", *ROW[6:]]], "line 2: no better"),
        ([ROW[:-1]], "line 2: 8 cells"),
    ],
)
def test_rows_that_are_no_votes_are_refused_with_their_line(tmp_path, rows, reason):
    with pytest.raises(DataError, match=reason):
        read_preferences(write(tmp_path / "v.csv", rows))


def test_a_file_of_another_kind_is_refused(tmp_path):
    with pytest.raises(DataError, match="column left and vote missing"):
        read_preferences(write(tmp_path / "v.csv", [], header=COLUMNS[:-2]))
    with pytest.raises(DataError, match="No such file"):
        read_preferences(tmp_path / "none.csv")
    with pytest.raises(DataError, match="no votes"):
        count_preferences([])


def test_metrics_are_written_as_a_table(tmp_path):
    write_counts(
        count_preferences([*said("x", "y", "a", 1), *said("x", "y", "b", 0), *said("y", "x", "c", 1)]),
        tmp_path / "t.csv",
    )
    first, second = csv.DictReader((tmp_path / "t.csv").open())
    assert (first["attacker"], first["pairs"], first["aggressiveness"], first["resistance"]) == (
        "x",
        "2",
        "0.5000",
        "0.5000",
    )
    assert (second["aggressiveness"], second["aggressiveness_low"]) == ("1.0000", "")
