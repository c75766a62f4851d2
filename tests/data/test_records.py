from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noref import card
from noref.data.records import Record, Scale, names

NUMBER = st.floats(-1e6, 1e6)


def test_there_is_one_scale():
    assert Scale is card.Scale


@given(NUMBER, st.floats(1e-3, 1e6), st.booleans(), st.floats(0, 1))
def test_quality_is_the_share_of_the_way_from_worst_to_best(low, width, higher, share):
    scale = Scale(low, low + width, higher_is_better=higher)
    worst, best = (scale.low, scale.high) if higher else (scale.high, scale.low)
    record = Record(Path("a"), worst + share * (best - worst), scale)
    assert record.quality == pytest.approx(share, abs=1e-6)
    assert scale.raw(record.quality) == pytest.approx(record.raw_score, abs=1e-6 * max(1, abs(low) + width))


@given(st.lists(st.floats(0, 9), min_size=2, max_size=20))
def test_a_reversed_scale_reverses_the_order(raws):
    rising, falling = Scale(0, 9), Scale(0, 9, higher_is_better=False)
    up = [Record(Path("a"), raw, rising).quality for raw in raws]
    down = [Record(Path("a"), raw, falling).quality for raw in raws]
    assert down == pytest.approx([1 - value for value in up])
    assert all(0 <= value <= 1 for value in up + down)


def test_a_record_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Record(Path("a"), 1, Scale(0, 1)).raw_score = 2


def test_names_do_not_depend_on_where_the_set_lies():
    def at(root):
        return [Record(Path(root, path), 0, Scale(0, 1)) for path in ("x/1.png", "x/2.png", "y/z/1.png")]

    assert names(at("/here")) == names(at("/there/deep")) == ["x/1.png", "x/2.png", "y/z/1.png"]
    assert names(at("/here")[:2]) == ["1.png", "2.png"]
    assert names([]) == []


def test_names_of_relative_paths_beside_absolute_ones(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    mixed = [Record(path, 0, Scale(0, 1)) for path in (Path("1.png"), tmp_path / "x" / "2.png", Path("x/../3.png"))]
    assert names(mixed) == ["1.png", "x/2.png", "3.png"]
