"""Resized copies: sizes by hand, and everything else as in the original."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from noref.data.prepare import JOURNAL, TABLE_6, prepare
from noref.data.readers import READERS
from noref.data.records import names
from noref.data.splits import checksum, load_split, random_split, save_split
from noref.errors import DataError, OptionError

SIZES = {"1.bmp": (64, 48), "2.JPG": (48, 96), "sub/3.png": (32, 32), "4.bmp": (40, 50)}
KNOWN = ("raw_score", "scale", "reference", "distortion", "level", "split")


@pytest.fixture
def source(tmp_path, draw):
    """A DMOS-like table of four images of other sizes, with all that a table can say."""
    for seed, (name, size) in enumerate(SIZES.items()):
        draw(f"source/{name}", seed, size)
    folder = tmp_path / "source"
    (folder / "set.csv").write_text(
        "path,score,reference,distortion,level,split\n"
        "1.bmp,1.5,r1,blur,1,train\n2.JPG,2.5,r1,blur,2,train\nsub/3.png,3.5,r2,jpeg,1,val\n4.bmp,4.5,r3,jpeg,2,test\n"
    )
    (folder / "set.scale.json").write_text('{"low": 1, "high": 5, "higher_is_better": false}')
    return folder


def test_the_shorter_side_is_what_was_asked_for_and_nothing_else_changes(source, tmp_path):
    seen = []
    done = prepare("csv", source, tmp_path / "out", side=32, progress=lambda at, count: seen.append((at, count)))
    assert (done.side, done.written, done.kept, done.missing, done.failed) == (32, 4, 0, 0, ())
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    before, after = READERS["csv"](source), READERS["csv"](done.path)
    expected = {"1.bmp": (43, 32), "2.JPG": (32, 64), "sub/3.png": (32, 32), "4.bmp": (32, 40)}
    assert {name: Image.open(tmp_path / "out" / name).size for name in SIZES} == expected
    assert {Image.open(record.path).format for record in after} == {"PNG"}
    for old, new in zip(before, after, strict=True):
        assert [getattr(old, key) for key in KNOWN] == [getattr(new, key) for key in KNOWN]
        assert old.quality == new.quality
    assert names(before) == names(after)
    assert checksum(before) == checksum(after)
    split = random_split(before, test=0.3, seed=3)
    assert split == random_split(after, test=0.3, seed=3)
    save_split(split, before, tmp_path / "split.json")
    assert load_split(tmp_path / "split.json", after) == split


def test_the_pixels_are_pillows_bicubic(source, tmp_path):
    prepare("csv", source, tmp_path / "out", side=32)
    with Image.open(source / "4.bmp") as image:
        expected = image.resize((32, 40), Image.Resampling.BICUBIC)
    assert np.array_equal(np.array(Image.open(tmp_path / "out" / "4.bmp")), np.array(expected))


def test_an_image_of_the_right_size_is_copied_and_smaller_ones_are_enlarged(source, tmp_path):
    prepare("csv", source, tmp_path / "out", side=48)
    for name in ("1.bmp", "2.JPG"):
        assert (tmp_path / "out" / name).read_bytes() == (source / name).read_bytes()
    assert Image.open(tmp_path / "out" / "sub" / "3.png").size == (48, 48)


def test_jpeg_on_demand(source, tmp_path):
    prepare("csv", source, tmp_path / "out", side=32, jpeg=95)
    assert Image.open(tmp_path / "out" / "1.bmp").format == "JPEG"
    with pytest.raises(OptionError, match="95 to 100"):
        prepare("csv", source, tmp_path / "other", side=32, jpeg=90)


def test_a_repeated_call_does_what_is_left_and_what_has_changed(source, tmp_path, draw):
    out = tmp_path / "out"
    prepare("csv", source, out, side=32)
    times = {name: (out / name).stat().st_mtime_ns for name in SIZES}
    again = prepare("csv", source, out, side=32)
    assert (again.written, again.kept) == (0, 4)
    assert times == {name: (out / name).stat().st_mtime_ns for name in SIZES}
    draw("source/4.bmp", seed=99, size=(100, 64))  # the source is another image now
    (out / "1.bmp").unlink()  # one was lost
    os.truncate(out / "2.JPG", 10)  # one was cut
    assert prepare("csv", source, out, side=32).written == 3
    assert Image.open(out / "4.bmp").size == (50, 32)
    assert prepare("csv", source, out, side=32).kept == 4


def test_an_interruption_leaves_whole_files_only_and_the_next_call_goes_on(source, tmp_path):
    out = tmp_path / "out"

    def stop(done, count):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare("csv", source, out, side=32, threads=1, progress=stop)
    assert not list(out.rglob("*.part"))
    journal = out / JOURNAL
    finished = [json.loads(line)["path"] for line in journal.read_text().splitlines()[1:]]
    assert set(finished[:2]) == {"1.bmp", "2.JPG"}
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:3])[:-9])  # cut in the second entry
    done = prepare("csv", source, out, side=32)
    assert (done.written, done.kept) == (3, 1)
    assert prepare("csv", source, out, side=32).kept == 4


def test_what_cannot_be_read_is_listed_and_the_rest_is_there(source, tmp_path):
    (source / "1.bmp").write_bytes(b"")
    os.truncate(source / "4.bmp", 500)
    done = prepare("csv", source, tmp_path / "out", side=32)
    assert done.written == 2
    assert [path.name for path, _ in done.failed] == ["1.bmp", "4.bmp"]
    assert [why.split(": ")[1] for _, why in done.failed] == ["empty file", "damaged"]
    assert not (tmp_path / "out" / "1.bmp").exists()


def test_a_release_keeps_its_layout_and_its_reader(livec_folder, tmp_path):
    (livec_folder / "Images" / "2.bmp").unlink()
    done = prepare("livec", livec_folder, tmp_path / "small", side=32)
    assert (done.written, done.missing) == (4, 1)
    before, after = READERS["livec"](livec_folder), READERS["livec"](done.path)
    assert checksum(before) == checksum(after)
    assert [record.path.relative_to(tmp_path / "small") for record in after] == [
        record.path.relative_to(livec_folder) for record in before
    ]
    assert len(READERS["livec"](done.path, every=True)) == 5


def test_a_table_beside_the_folder_comes_into_the_new_one(tmp_path, draw):
    draw("CSIQ/dst_imgs/a.AWGN.1.png")
    (tmp_path / "meta_info").mkdir()
    (tmp_path / "meta_info" / "meta_info_CSIQDataset.csv").write_text("dist_name,dmos\na.AWGN.1.png,0.2\n")
    done = prepare("csiq", tmp_path / "CSIQ", tmp_path / "out" / "CSIQ", side=32)
    (record,) = READERS["csiq"](done.path)
    assert record.path == tmp_path / "out" / "CSIQ" / "dst_imgs" / "a.AWGN.1.png"
    assert record.raw_score == 0.2


def test_the_side_of_table_6():
    assert TABLE_6["csiq"] == TABLE_6["livefb"] == 512
    assert {TABLE_6[name] for name in ("live", "tid2013", "kadid10k", "koniq10k", "spaq")} == {384}
    assert TABLE_6["livec"] is None


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("csv", {}, "csv: Table 6 of CSIQA does not have it; --side"),
        ("livec", {}, "livec: Table 6 of CSIQA leaves its images as they are; --side"),
        ("csv", {"side": 8}, "32 to 8192 pixels, got 8"),
        ("csvv", {"side": 32}, "did you mean csv"),
    ],
)
def test_calls_that_are_wrong(source, tmp_path, name, options, reason):
    with pytest.raises(OptionError, match=reason):
        prepare(name, source, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_the_folder_must_be_its_own(source, tmp_path):
    for out in (source, tmp_path):
        with pytest.raises(OptionError, match="the data set lies in it"):
            prepare("csv", source, out, side=32)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(OptionError, match="not an empty folder"):
        prepare("csv", source, tmp_path / "full", side=32)
    prepare("csv", source, tmp_path / "out", side=32)
    with pytest.raises(OptionError, match="made with side 32, not 40, jpeg None, not 95"):
        prepare("csv", source, tmp_path / "out", side=40, jpeg=95)


def test_an_image_outside_of_the_data_set_has_no_place(tmp_path, draw):
    draw("a.png", 1), draw("set/b.png", 2)
    table = tmp_path / "set" / "t.csv"
    table.write_text("path,score\n../a.png,1\nb.png,2\n")
    with pytest.raises(DataError, match=r"a\.png: not below .*set"):
        prepare("csv", table, tmp_path / "out", side=32)
    with pytest.raises(OptionError, match="no such file or folder"):
        prepare("csv", Path("no/such"), tmp_path / "out", side=32)
