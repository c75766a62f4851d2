from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from noref.data.records import Record, Scale
from noref.data.splits import save_split, thinned
from noref.errors import DataError, OptionError
from noref.evaluate.split_protocol import SplitProtocol, parse_parts


@pytest.fixture
def records(tmp_path):
    """Ten references with three images each, all of other bytes."""
    found = []
    for number in range(30):
        path = tmp_path / f"{number:02}.png"
        path.write_bytes(b"x" * (number + 1))
        part = ("training", "validation", "test")[number % 3]
        found.append(Record(path, float(number), Scale(0, 30), f"r{number // 3}", split=part))
    return found


def references(records, indices):
    return {records[index].reference for index in indices}


def test_random_splits_are_by_reference_and_differ(records):
    splits = SplitProtocol(repeats=4, test=0.2, validation=0.1, seed=5).splits(records)
    assert [split.seed for split in splits] == [5, 6, 7, 8]
    assert len({split.test for split in splits}) > 1
    for split in splits:
        parts = [references(records, part) for part in (split.train, split.validation, split.test)]
        assert [len(part) for part in parts] == [7, 1, 2]
        assert not parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2]


def test_in_folds_every_image_tests_once(records):
    splits = SplitProtocol("folds", 5).splits(records)
    assert sorted(index for split in splits for index in split.test) == list(range(30))


def test_the_official_split_is_one(records):
    (split,) = SplitProtocol("official").splits(records)
    assert split.test == tuple(range(2, 30, 3))


def test_another_labs_files_come_back_as_they_were(records, tmp_path):
    splits = SplitProtocol(repeats=2).splits(records)
    files = [tmp_path / f"{number}.json" for number in range(2)]
    for split, file in zip(splits, files, strict=True):
        save_split(split, records, file)
    assert SplitProtocol("files", files=tuple(files)).splits(records) == splits
    with pytest.raises(DataError, match="not a split of these records"):
        SplitProtocol("files", files=(files[0],)).splits([*records[:-1], replace(records[-1], raw_score=3.5)])


def test_fractions_thin_the_training_part_alone_by_reference_and_are_nested(records):
    (split,) = SplitProtocol(repeats=1).splits(records)
    half, quarter = (thinned(split, records, fraction, seed=0) for fraction in (0.5, 0.25))
    assert (len(references(records, half.train)), len(references(records, quarter.train))) == (4, 2)
    assert set(quarter.train) < set(half.train) < set(split.train)
    assert all(
        index in half.train for index in split.train if records[index].reference in references(records, half.train)
    )
    assert (half.test, half.validation) == (split.test, split.validation)
    assert "50 % of the training part" in half.description
    assert thinned(split, records, 1.0, seed=0) is split
    assert thinned(split, records, 0.5, seed=1).train != half.train
    with pytest.raises(OptionError, match="none"):
        thinned(split, records, 0.01, seed=0)


@pytest.mark.parametrize(
    ("text", "expected"), [("80/20", (0.2, 0)), ("70/10/20", (0.2, 0.1)), ("60/20/20", (0.2, 0.2))]
)
def test_parts_become_shares(text, expected):
    assert parse_parts(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["80", "80/30", "80/20/0", "a/b", "", "25/25/25/25", "120/-20", "nan/20"])
def test_parts_that_make_no_whole(text):
    with pytest.raises(OptionError, match="write 80/20"):
        parse_parts(text)


@pytest.mark.parametrize(
    "how", [{"repeats": 0}, {"kind": "folds", "repeats": 1}, {"seed": -1}, {"fractions": ()}, {"fractions": (0.0,)}]
)
def test_split_protocols_that_make_no_sense(how):
    with pytest.raises(OptionError):
        SplitProtocol(**how)


def test_a_split_protocol_as_text():
    assert str(SplitProtocol(repeats=10, validation=0.1)) == "10 random splits 70/10/20, seeds 0-9"
    assert str(SplitProtocol("folds", 5, seed=3, fractions=(0.2, 1.0))) == (
        "5 folds, every image tests once, seed 3; 20, 100 % of the training part"
    )
    assert str(SplitProtocol("files", files=(Path("a"), Path("b")))) == "2 split files"
