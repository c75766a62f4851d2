from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noref.data.readers import READERS
from noref.data.records import Record, Scale
from noref.data.splits import (
    checksum,
    duplicates,
    folds,
    groups,
    load_split,
    official_split,
    random_split,
    save_split,
    thinned,
)
from noref.errors import DataError, OptionError

SCALE = Scale(0, 100)


@pytest.fixture
def photos(tmp_path):
    """Forty files of different bytes, of which 3 = 17 = 30 and 5 = 6."""
    records = []
    for i in range(40):
        path = tmp_path / "set" / f"{i}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"%03d" % {17: 3, 30: 3, 6: 5}.get(i, i))
        records.append(Record(path, float(i), SCALE))
    return records


@pytest.fixture
def distorted(tmp_path):
    """Ten references with six images each."""
    records = []
    for i in range(60):
        path = tmp_path / f"{i}.png"
        path.write_bytes(b"x" * i)
        records.append(Record(path, float(i), SCALE, reference=f"ref{i % 10}"))
    return records


def parts(split):
    return [split.train, split.validation, split.test]


def is_partition(split, count):
    return sorted(split.train + split.validation + split.test) == list(range(count))


def test_duplicates_are_found_by_their_bytes(photos):
    assert duplicates(photos) == [(3, 17, 30), (5, 6)]
    assert sorted(groups(photos)) == sorted(
        [(3, 17, 30), (5, 6)] + [(i,) for i in range(40) if i not in {3, 17, 30, 5, 6}]
    )


def test_files_of_one_size_but_other_bytes_are_no_duplicates(tmp_path):
    records = [Record(tmp_path / name, 1, SCALE) for name in "ab"]
    for record in records:
        record.path.write_bytes(record.path.name.encode())
    assert duplicates(records) == []
    assert len(groups(records)) == 2


def test_duplicates_tie_their_references_together(tmp_path):
    # a1 a2 | b1 b2 | c1, and a2 = b1 in bytes: a and b become one group
    content = {"a1": b"1", "a2": b"22", "b1": b"22", "b2": b"333", "c1": b"4444"}
    records = []
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
        records.append(Record(tmp_path / name, 1, SCALE, reference=name[0]))
    assert groups(records) == [(0, 1, 2, 3), (4,)]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    seed=st.integers(0, 10_000), test=st.floats(0.1, 0.5), validation=st.floats(0.1, 0.4), by_reference=st.booleans()
)
def test_a_split_is_a_partition_that_tears_nothing_apart(photos, distorted, seed, test, validation, by_reference):
    records = distorted if by_reference else photos
    split = random_split(records, test=test, validation=validation, seed=seed)
    assert is_partition(split, len(records))
    for group in groups(records):
        assert sum(set(group) <= set(part) for part in parts(split)) == 1
    for part in parts(split):
        assert list(part) == sorted(part)


def test_shares_are_counted_in_groups(photos, distorted):
    split = random_split(distorted, test=0.2, validation=0.1, seed=0)
    assert [len(part) for part in parts(split)] == [42, 6, 12]
    assert split.description == "random 70/10/20 by reference"
    # the 25 references of TID2013 and the 81 of KADID-10k split as 18/2/5 and 57/8/16
    for count, expected in ((25, [18, 2, 5]), (81, [57, 8, 16])):
        made = random_split(
            distorted[:1] * count, test=0.2, validation=0.1, seed=0, together=[(i,) for i in range(count)]
        )
        assert [len(part) for part in parts(made)] == expected
    assert random_split(photos, seed=0).description == "random 80/20 by image"


def test_the_seed_decides_and_nothing_else(photos):
    first = random_split(photos, seed=3, validation=0.1)
    assert first == random_split(photos, seed=3, validation=0.1)
    assert len({random_split(photos, seed=seed).test for seed in range(20)}) == 20
    assert random_split(photos, seed=3).test == first.test


def test_the_order_of_the_records_and_their_folder_do_not_matter(photos, tmp_path):
    def tested(records):
        split = random_split(records, seed=4, validation=0.1)
        return [{records[i].path.name for i in part} for part in parts(split)]

    expected = tested(photos)
    assert tested(photos[::-1]) == expected
    (tmp_path / "set").rename(tmp_path / "moved")
    moved = [dataclasses.replace(r, path=tmp_path / "moved" / r.path.name) for r in photos]
    assert tested(moved[7:] + moved[:7]) == expected


def test_the_same_split_in_another_python_with_another_hash_seed(photos, tmp_path):
    code = (
        "import sys; from pathlib import Path; from noref.data.records import *; from noref.data.splits import *\n"
        "records = [Record(p, 1.0, Scale(0, 1), reference=p.stem[0]) for p in Path(sys.argv[1]).iterdir()]\n"
        "split = random_split(records, seed=5)\n"
        "print(sorted(records[i].path.name for i in split.test))"
    )
    out = [
        subprocess.run(
            [sys.executable, "-c", code, tmp_path / "set"],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert out[0] == out[1]
    assert len(out[0]) > 10


def test_fractions_are_nested_and_leave_the_test_part_alone(photos):
    full = random_split(photos, seed=1, validation=0.1)
    last: set[int] = set()
    for fraction in (0.2, 0.4, 0.6, 1.0):
        split = thinned(full, photos, fraction, seed=1)
        assert (split.test, split.validation) == (full.test, full.validation)
        assert last < set(split.train) <= set(full.train)
        assert len(split.train) == pytest.approx(fraction * len(full.train), abs=2)
        last = set(split.train)
    assert last == set(full.train)


@pytest.mark.parametrize(
    "options", [{"test": 0}, {"test": 1}, {"test": 0.6, "validation": 0.4}, {"validation": -0.1}, {"seed": -1}]
)
def test_shares_that_cannot_work(photos, options):
    with pytest.raises(OptionError):
        random_split(photos, **{"seed": 0, **options})


def test_too_few_images_for_a_part(photos):
    with pytest.raises(DataError, match="test part is empty"):
        random_split(photos[:2], seed=0)
    with pytest.raises(DataError, match="validation part is empty"):
        random_split(photos[:4], test=0.3, validation=0.1, seed=0)
    with pytest.raises(DataError, match="training part is empty"):
        random_split([photos[3], photos[17], photos[30]], test=0.8, seed=0)


def test_a_file_that_is_gone(photos):
    photos[5].path.unlink()
    with pytest.raises(DataError, match=r"5\.jpg: No such file"):
        random_split(photos, seed=0)


@pytest.mark.parametrize("k", [2, 5, 7])
def test_in_folds_every_image_tests_once(photos, distorted, k):
    for records in (photos, distorted):
        made = folds(records, k, 9)
        assert sorted(i for split in made for i in split.test) == list(range(len(records)))
        assert all(is_partition(split, len(records)) for split in made)
        for split in made:
            for group in groups(records):
                assert not set(group) & set(split.test) or set(group) <= set(split.test)
    assert [s.description for s in made][:2] == [f"fold 1 of {k}", f"fold 2 of {k}"]
    assert folds(photos, k, 9) == folds(photos, k, 9) != folds(photos, k, 10)


def test_folds_that_cannot_be_filled(photos):
    with pytest.raises(OptionError, match="2 folds"):
        folds(photos, 1, 0)
    with pytest.raises(DataError, match="do not fill 5 folds"):
        folds(photos[:4], 5, 0)


def test_the_official_split(photos):
    named = [dataclasses.replace(r, split=("training", "validation", "test")[i % 3]) for i, r in enumerate(photos)]
    split = official_split(named)
    assert parts(split) == [tuple(range(start, 40, 3)) for start in range(3)]
    assert (split.seed, split.description) == (None, "official")
    with pytest.raises(DataError, match=r"0\.jpg: in no part"):
        official_split(photos)
    with pytest.raises(DataError, match="test part is empty"):
        official_split([dataclasses.replace(r, split="training") for r in photos])


def test_a_saved_split_comes_back_here_and_in_another_lab(photos, tmp_path):
    split = random_split(photos, seed=2, validation=0.1)
    file = tmp_path / "split.json"
    save_split(split, photos, file)
    assert load_split(file, photos) == split
    there = [dataclasses.replace(r, path=Path("/other/lab") / r.path.name) for r in photos[::-1]]
    back = load_split(file, there)
    for here, other in zip(parts(split), parts(back), strict=True):
        assert {photos[i].path.name for i in here} == {there[i].path.name for i in other}
    assert [path.name for path in tmp_path.glob("split*")] == ["split.json"]


def test_a_split_of_other_records_is_refused(photos, tmp_path):
    file = tmp_path / "split.json"
    save_split(random_split(photos, seed=2), photos, file)
    with pytest.raises(DataError, match=r"split\.json: 10 of its 40 images are not among the 30 records, such as"):
        load_split(file, photos[10:])
    with pytest.raises(DataError, match="the scores or images differ"):
        load_split(file, [*photos[:-1], dataclasses.replace(photos[-1], raw_score=1.5)])
    save_split(random_split(photos[10:], seed=2), photos[10:], file)
    with pytest.raises(DataError, match="made for 30 records, here are 40"):
        load_split(file, photos)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c.update(format=99), "not a split file of format"),
        (lambda c: c.pop("train"), "train is missing"),
        (lambda c: c.update(test="all"), "test is missing or of another kind"),
        (lambda c: c.update(test=[1, 2]), "no text"),
        (lambda c: c["test"].append(c["train"][0]), "is in it twice"),
        (lambda c: c.update(checksum="0" * 64), "not a split of these records"),
    ],
)
def test_a_broken_split_file(photos, tmp_path, change, reason):
    file = tmp_path / "split.json"
    save_split(random_split(photos, seed=2), photos, file)
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=reason):
        load_split(file, photos)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe"])
def test_a_file_that_is_no_split(photos, tmp_path, content):
    (tmp_path / "s.json").write_bytes(content)
    with pytest.raises(DataError, match=r"s\.json: not a split file"):
        load_split(tmp_path / "s.json", photos)
    with pytest.raises(DataError, match=r"none\.json: No such file"):
        load_split(tmp_path / "none.json", photos)


def test_the_checksum_knows_names_and_scores_but_no_order(photos):
    assert checksum(photos) == checksum(photos[::-1])
    assert checksum(photos) != checksum(photos[1:])
    assert checksum(photos) != checksum([dataclasses.replace(photos[0], raw_score=0.5), *photos[1:]])


def test_the_duplicates_among_the_real_photos(real_data):
    records = [
        Record(path, float(i), SCALE) for i, path in enumerate(sorted((real_data / "livec" / "images").iterdir()))
    ]
    assert [{records[i].path.stem for i in group} for group in duplicates(records)] == [{"246", "333"}]


def test_splits_of_the_official_layout(livec_folder):
    records = READERS["livec"](livec_folder)
    assert len(random_split(records, seed=0).test) == 1
