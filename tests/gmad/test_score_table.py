"""Score tables of any tool, and two of them on one list."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from noref.errors import DataError, OptionError
from noref.gmad.pairs import both_roles, write_pairs
from noref.gmad.score_table import ScoreTable, align, read_score_table


def table(path, text):
    path.write_text(text)
    return path


def test_columns_and_direction_are_the_callers(tmp_path):
    path = table(tmp_path / "niqe.csv", "image,niqe,extra\nb.png,5.5,x\na.png,3,y\n")
    read = read_score_table(path, columns=("image", "niqe"), higher_is_better=False)
    assert (read.name, read.paths, read.scores.tolist()) == ("niqe", ("b.png", "a.png"), [5.5, 3])
    assert read.order.tolist() == [-5.5, -3]
    assert read.direction == "lower is better"


def test_paths_below_the_folder_lose_it(tmp_path):
    path = table(tmp_path / "s.csv", f"path,score\nphotos/x/a.png,1\n{Path.cwd()}/photos/b.png,2\n./c.png,3\n")
    assert read_score_table(path, below=Path("photos")).paths == ("x/a.png", "b.png", "c.png")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("path,score\n", "s.csv: no rows"),
        ("path,value\na,1\n", "line 1: column score missing; the file has path, value"),
        ("path,score\na,1\na,2\n", "line 3: a is in two rows"),
        ("path,score\na,1\nx/../a,2\n", "line 3: a is in two rows"),
        ("path,score\na,\n", "line 2: a has no score"),
        ("path,score\n,1\n", "line 2: no path"),
        ("path,score\na,nan\n", "line 2: score 'nan' is no number"),
        ("path,score\na,good\n", "line 2: score 'good' is no number"),
    ],
)
def test_rows_without_a_score_are_refused_with_their_line(tmp_path, text, reason):
    with pytest.raises(DataError, match=reason):
        read_score_table(table(tmp_path / "s.csv", text))


def scores_of(name, **scores):
    return ScoreTable(name, tuple(scores), np.array(list(scores.values()), dtype=float))


def test_two_tables_come_onto_one_list():
    first, second = align(scores_of("x", a=1, b=2, c=3), scores_of("y", c=30, a=10, b=20))
    assert first.paths == second.paths == ("a", "b", "c")
    assert second.scores.tolist() == [10, 20, 30]


def test_images_of_one_table_only_are_named():
    with pytest.raises(DataError, match="y has no score for b, nor for 1 others, which x has"):
        align(scores_of("x", a=1, b=2, c=3), scores_of("y", a=1))
    with pytest.raises(DataError, match="x has no score for z, which y has"):
        align(scores_of("x", a=1), scores_of("y", a=1, z=1))


def test_the_exact_order_goes_before_the_scores_that_are_shown():
    clipped = ScoreTable(
        "x", ("a", "b", "c", "d"), np.array([100.0, 100, 0, 0]), exact=np.array([1.2, 1.1, -0.1, -0.2])
    )
    other = scores_of("y", a=1, b=2, c=3, d=4)
    found = both_roles(clipped, other, levels=2)
    assert [(m.defender, m.level, m.better, m.worse) for m in found] == [
        ("x", 1, "d", "c"),
        ("x", 2, "b", "a"),
        ("y", 1, "a", "b"),
        ("y", 2, "c", "d"),
    ]
    assert clipped.take(np.array([2, 0])).order.tolist() == [-0.1, 1.2]


def test_a_score_where_lower_is_better_attacks_in_its_own_direction():
    noise = ScoreTable("noise", ("a", "b"), np.array([1.0, 9.0]), higher_is_better=False)
    (first, second) = both_roles(noise, scores_of("y", a=2, b=1), levels=1)
    assert (first.defender, first.better, second.defender, second.better) == ("noise", "a", "y", "a")
    assert (second.attacker_better, second.attacker_worse) == (1.0, 9.0)


def test_sides_are_shuffled_by_the_seed_and_say_nothing():
    rng = np.random.default_rng(0)
    paths = tuple(f"{i}.png" for i in range(1000))
    x, y = (ScoreTable(name, paths, rng.normal(size=1000)) for name in "xy")
    found = both_roles(x, y, levels=50, top=2, seed=1)
    left = [pair.left for pair in found]
    assert 70 < left.count("better") < 130  # 100 expected of 200; four standard deviations
    assert left == [pair.left for pair in both_roles(x, y, levels=50, top=2, seed=1)]
    assert left != [pair.left for pair in both_roles(x, y, levels=50, top=2, seed=2)]
    assert len({pair.pair for pair in found}) == 200


def test_models_that_cannot_compete_are_refused():
    with pytest.raises(OptionError, match="both models are called 'x'"):
        both_roles(scores_of("x", a=1, b=2), scores_of("x", a=1, b=2))
    with pytest.raises(OptionError, match="same images"):
        both_roles(scores_of("x", a=1, b=2), scores_of("y", b=1, a=2))


def test_the_table_of_pairs_holds_every_field(tmp_path):
    found = both_roles(scores_of("x", a=1, b=2), scores_of("y", a=1.5, b=0.25), levels=1)
    write_pairs(found, tmp_path / "pairs.csv")
    header, first, second = (tmp_path / "pairs.csv").read_text().splitlines()
    assert header.startswith("pair,attacker,defender,level,rank,better,worse,left,")
    assert first.startswith("1-1-1,y,x,1,1,a,b,")
    assert first.endswith(",1.5,0.25,1.0,2.0")
    assert second.startswith("2-1-1,x,y,1,1,b,a,")
