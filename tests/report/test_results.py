from __future__ import annotations

import pandas as pd
import pytest

from noref.card import Scale
from noref.errors import DataError, OptionError
from noref.report.results import read_results


def edited(rows, place, **values):
    rows = [dict(row) for row in rows]
    rows[place].update(values)
    return rows


def test_cells_hold_what_the_table_says(make_bench, rows_of):
    rows = rows_of(split=0, distortions=("blur", "noise")) + rows_of(split=1)
    results = read_results(make_bench(rows))
    first, second = results.cells
    assert (first.model.training_set, first.split, first.seed, len(first.paths)) == ("livec", 0, 0, 12)
    assert first.levels[:6] == (1, 2, 3, 4, 5, 1)
    assert first.distortions[:2] == ("blur", "noise")
    assert first.units == first.references  # every image has one
    assert second.units == second.paths
    assert second.levels[0] is None
    assert first.score.tolist() == [row["score"] for row in rows[:12]]
    assert results.metadata == {}


@pytest.mark.parametrize("scale", [Scale(0, 100), Scale(1, 5), Scale(0, 1, False), Scale(-3, 112, False), Scale(0, 9)])
def test_without_a_bench_the_scale_follows_from_score_and_quality(make_bench, rows_of, scale):
    rows = rows_of(low=scale.low, high=scale.high, higher_is_better=scale.higher_is_better)
    assert read_results(make_bench(rows)).scales == {"livec": scale}


def test_the_bench_says_the_scale_and_the_rows_must_agree(make_bench, rows_of):
    said = {"data": {"livec": {"scale": {"low": 0, "high": 100, "higher_is_better": True}}}}
    assert read_results(make_bench(rows_of(), said)).scales["livec"] == Scale(0, 100)
    turned = {"data": {"livec": {"scale": {"low": 0, "high": 100, "higher_is_better": False}}}}
    with pytest.raises(DataError, match=r"predictions\.csv, line 2: score .* lower is better"):
        read_results(make_bench(rows_of(), turned))


def test_a_parquet_table_is_the_same_table(make_bench, rows_of, tmp_path):
    folder = make_bench(rows_of(distortions=("blur",)) + rows_of(split=1))
    frame = pd.read_csv(folder / "predictions.csv")
    (folder / "predictions.csv").rename(tmp_path / "table.csv")
    frame.to_parquet(folder / "predictions.parquet")
    one, other = read_results(tmp_path / "table.csv"), read_results(folder)
    assert [c.name for c in one.cells] == [c.name for c in other.cells]
    assert [c.levels for c in one.cells] == [c.levels for c in other.cells]
    assert [c.quality.tolist() for c in one.cells] == [c.quality.tolist() for c in other.cells]
    frame.loc[3, "quality"] = float("nan")
    frame.to_parquet(folder / "predictions.parquet")
    with pytest.raises(DataError, match=r"predictions\.parquet, line 4: quality is empty"):
        read_results(folder)
    frame.drop(columns="human").to_parquet(folder / "predictions.parquet")
    with pytest.raises(DataError, match="column human missing"):
        read_results(folder)
    (folder / "predictions.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="not a Parquet file"):
        read_results(folder)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"quality": "nan"}, "line 5: quality 'nan' is no number"),
        ({"predicted": "inf"}, "line 5: predicted 'inf' is no number"),
        ({"score": ""}, "line 5: score is empty"),
        ({"human": "good"}, "line 5: human 'good' is no number"),
        ({"path": "img/000.png"}, "line 5: img/000.png is in cell .* already, in line 2"),
        ({"level": "2.5"}, "line 5: level '2.5' is no whole number"),
        ({"variant": "other"}, "line 5: variant 'other'; cell .* began with ''"),
        ({"predicted": "50", "quality": "0.7"}, "line 5: predicted 50 is quality 0.5000 .* the row says 0.7"),
    ],
)
def test_a_row_that_cannot_be_trusted(make_bench, rows_of, values, words):
    with pytest.raises(DataError, match=rf"predictions\.csv, {words}"):
        read_results(make_bench(edited(rows_of(), 3, **values)))


def test_other_things_wrong_with_a_table(make_bench, rows_of, tmp_path):
    twice = [{**row, "cell": "again"} for row in rows_of()]
    with pytest.raises(DataError, match=r"line 14: cell 'again' is the same model and test set as cell 'all/livec-0"):
        read_results(make_bench(rows_of() + twice))
    with pytest.raises(DataError, match=r"fraction 1\.5 is not in"):
        read_results(make_bench(rows_of(fraction=1.5)))
    with pytest.raises(DataError, match="no predictions"):
        read_results(make_bench([]))
    folder = make_bench(rows_of())
    text = (folder / "predictions.csv").read_text()
    (folder / "predictions.csv").write_text(text.replace("human", "people", 1))
    with pytest.raises(DataError, match="line 1: column human missing"):
        read_results(folder)
    same = [{**row, "score": 50.0, "human": 0.5} for row in rows_of()]
    with pytest.raises(DataError, match="no scale for the scores of livec: all human scores are the same"):
        read_results(make_bench(same))
    with pytest.raises(OptionError, match="no such file"):
        read_results(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(OptionError, match=r"no predictions\.csv"):
        read_results(tmp_path / "empty")


def test_a_bench_file_that_is_broken_names_its_line(make_bench, rows_of):
    folder = make_bench(rows_of(), {})
    for text, words in (
        ('{"format": 1,\n "recipe"}', r"bench\.json, line 2"),
        ("[1, 2]", "not a JSON object"),
        ('{"format": 2}', "format 2; upgrade"),
        ('{"data": {"livec": {"scale": {"low": 1, "high": 0}}}}', r"bench\.json: no scale for the scores of livec"),
    ):
        (folder / "bench.json").write_text(text)
        with pytest.raises(DataError, match=words):
            read_results(folder)


@pytest.mark.parametrize("about", [{}, {"data": None, "cells": [], "splits": "x"}, {"data": {"livec": 3}}])
def test_a_bench_file_may_say_little(make_bench, rows_of, about):
    assert read_results(make_bench(rows_of(), about)).scales == {"livec": Scale(0, 100)}


def test_cells_without_a_correlation_say_why(make_bench, rows_of):
    constant = [{**row, "predicted": 50.0, "quality": 0.5} for row in rows_of(split=1)]
    cells = read_results(make_bench(rows_of() + constant + rows_of(split=2, images=2))).cells
    assert [cell.trouble for cell in cells] == [
        "",
        "constant predictions: every image has quality 0.5",
        "2 images: a correlation needs 3",
    ]
