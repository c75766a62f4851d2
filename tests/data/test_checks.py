"""The single checks of a data set, on folders that are broken on purpose."""

from __future__ import annotations

import io
import tarfile
import zipfile

import pytest

from noref.data.checks import (
    absent_classes,
    across_split,
    falling_share,
    part_counts,
    shortened,
    unfinished_downloads,
    unlisted_images,
)
from noref.data.records import Record, Scale


def test_series_need_two_levels():
    def record(level, raw):
        return Record(None, raw, Scale(0, 9), "r", "blur", level)

    assert falling_share([record(1, 5.0)]) is None
    assert falling_share([record(None, 5.0), record(None, 4.0)]) is None
    assert falling_share([record(1, 5.0), record(2, 6.0)]) == 0
    assert falling_share([record(1, 5.0), record(2, 5.0)]) == 0
    assert falling_share([record(1, 5.0), record(2, 6.0), record(3, 1.0)]) == 1


@pytest.fixture
def row(tmp_path):
    """row("a/1.png", reference=...): a record of an image below the folder, which need not be there."""

    def make(name, **known):
        return Record(tmp_path / name, 1.0, Scale(0, 9), **known)

    return make


def test_a_class_is_absent_when_each_of_its_images_is(row):
    rows = [
        row(f"{part}/{reference}{kind}.png", reference=reference, distortion=kind, split=part)
        for reference in ("r1", "r2")
        for kind in ("blur", "jpeg")
        for part in ("training", "test")
    ]

    def without(lost):
        return absent_classes(rows, [record.path for record in rows if lost(record)])

    assert without(lambda r: r.distortion == "jpeg") == ["of the distortion jpeg not one image is there (4 missing)"]
    assert without(lambda r: r.reference == "r2") == ["of the reference r2 not one image is there (4 missing)"]
    # the folder `test` is the same images, and they are told once
    assert without(lambda r: r.split == "test") == [
        "of the part of the official split test not one image is there (4 missing)"
    ]
    assert without(lambda r: r.split == "test" and r.reference == "r1") == []
    assert without(lambda r: True) == []
    assert without(lambda r: False) == []


def test_a_whole_folder_is_absent(row):
    rows = [row("a/1.png"), row("a/2.png"), row("b/1.png")]
    (sentence,) = absent_classes(rows, [rows[0].path, rows[1].path])
    assert sentence == f"of the folder {rows[0].path.parent} not one image is there (2 missing)"


def test_many_absent_classes_are_one_sentence(row):
    rows = [row(f"{i}.png", reference=f"r{i}") for i in range(6)]
    (sentence,) = absent_classes(rows, [r.path for r in rows[:5]])
    assert sentence == "of the reference r0, r1, r2 and 2 more not one image is there (5 missing)"


def test_unlisted_images_are_images_that_no_row_names(row, draw, tmp_path):
    rows = [row("d/1.png", reference="r.png"), row("d/2.png")]
    for name in ("d/1.png", "d/R.PNG", "d/x.JPG", "e/y.png"):
        draw(name)
    (tmp_path / "d" / "notes.txt").touch()
    assert unlisted_images(rows) == [tmp_path / "d" / "x.JPG"]


@pytest.fixture
def archives(tmp_path):
    """A whole and a cut zip and tar archive, by name."""
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("a.png", b"x" * 5000)
    with tarfile.open(fileobj=tarred, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.png"))
        member = tarfile.TarInfo("b.png")
        member.size = 5000
        archive.addfile(member, io.BytesIO(b"x" * 5000))
    return {"zip": zipped.getvalue(), "tar": tarred.getvalue()}


def test_downloads_that_did_not_finish(tmp_path, archives):
    folder = tmp_path / "TID2013"
    (folder / "distorted_images").mkdir(parents=True)
    torn = {
        folder / "a.rar.part": b"",
        folder / "distorted_images" / "b.zip.crdownload": b"x",
        folder / "cut.zip": archives["zip"][:3000],
        folder / "cut.tar": archives["tar"][:3000],
        folder / "empty.zip": b"",
        tmp_path / "tid2013.rar.part": b"",
    }
    sound = {
        folder / "whole.zip": archives["zip"],
        folder / "whole.tar": archives["tar"],
        folder / ".hidden.png.part": b"",
        folder / "part.png": b"",
        tmp_path / "other.rar.part": b"",
    }
    for path, content in {**torn, **sound}.items():
        path.write_bytes(content)
    found = unfinished_downloads(folder)
    assert sorted(line.split(": ")[0] for line in found) == sorted(map(str, torn))
    assert unfinished_downloads(tmp_path / "none") == []


def test_duplicates_in_two_parts_of_the_official_split(row):
    same = [row("1.png", split="training"), row("2.png", split="training")]
    torn = [row("3.png", split="training"), row("4.png", split="test")]
    loose = [row("5.png", split="unused"), row("6.png", split="test"), row("7.png")]
    assert across_split([same, torn, loose]) == [torn]
    assert part_counts([*same, *torn, *loose]) == (3, 0, 2)


def test_a_few_names():
    assert shortened(["a"]) == "a"
    assert shortened(["a", "b", "c", "d", "e"], limit=2) == "a, b and 3 more"
