"""Each reader against the release's own table, laid out with empty stand-ins under the official names."""

from __future__ import annotations

import csv
import random
import shutil
from collections import Counter

import numpy as np
import pytest
from scipy.io import loadmat, savemat
from scipy.stats import spearmanr

from noref.data.readers import READERS, missing
from noref.data.splits import official_split
from noref.errors import DataError

COUNTS = {"live": 779, "csiq": 866, "tid2013": 3000, "kadid10k": 10125, "koniq10k": 10073, "livefb": 39810}
REFERENCES = {"live": 29, "csiq": 30, "tid2013": 25, "kadid10k": 81}
TIDY = {
    "live": ("LIVE.csv", "dmos_realigned"),
    "csiq": ("CSIQ.csv", "dmos"),
    "tid2013": ("TID2013.csv", "mos"),
    "kadid10k": ("KADID-10k.csv", "mos"),
    "koniq10k": ("KonIQ-10k.csv", "mos"),
    "livefb": ("FLIVE.csv", "mos"),
}


@pytest.fixture
def official(real_data, tmp_path):
    """Copy a release's tables into an empty folder: official(name) -> folder."""

    def copy(name):
        return shutil.copytree(real_data / "tables" / "official" / name, tmp_path / name)

    return copy


@pytest.fixture
def tidy(real_data):
    def rows(name):
        file, column = TIDY[name]
        with (real_data / "tables" / file).open(newline="", encoding="utf-8") as opened:
            return [{**row, "score": float(row[column])} for row in csv.DictReader(opened) if row[column]]

    return rows


@pytest.mark.parametrize("name", COUNTS)
def test_every_row_of_the_official_table(name, official, tidy):
    records = READERS[name](official(name), every=True)
    rows = tidy(name)
    assert len(records) == len(rows) == COUNTS[name]
    here = {r.path.parts[-2:] if name == "live" else r.path.name: r for r in records}
    for row in rows:
        key = tuple(row["filename"].split("/")) if name == "live" else row["filename"].split("/")[-1]
        record = here[key]
        assert record.raw_score == pytest.approx(row["score"], abs=1e-6)
        assert record.reference == row.get("reference")
        assert record.level == (int(row["level"]) if row.get("level") else None)
        if "distortion_type" in row:
            assert (record.distortion or "").lstrip("0") == row["distortion_type"].lstrip("0")
        assert record.scale.higher_is_better == (row["higher_is_better"] == "1")
    assert all(0 <= r.quality <= 1 for r in records)
    assert len({r.reference for r in records if r.reference}) == REFERENCES.get(name, 0)


@pytest.mark.parametrize("name", ["csiq", "tid2013", "kadid10k"])
def test_quality_falls_with_the_level_of_distortion(name, official):
    records = READERS[name](official(name), every=True)
    correlation = spearmanr([r.level for r in records], [r.quality for r in records]).statistic
    assert correlation < -0.4


def test_realigned_live_puts_undistorted_above_all(official):
    # realigned scores of the copies are 0 in the table; nearly every distorted image is worse than that
    records = READERS["live"](official("live"), every=True)
    at_zero = records[0].scale.quality(0.0)
    assert np.mean([r.quality < at_zero for r in records]) > 0.97


def test_koniq_has_its_official_split(official):
    records = READERS["koniq10k"](official("koniq10k"), every=True)
    assert Counter(r.split for r in records) == {"training": 7058, "validation": 1000, "test": 2015}
    split = official_split(records)
    assert [len(split.train), len(split.validation), len(split.test)] == [7058, 1000, 2015]


LAYOUTS = [
    ("live", "jp2k/img2.bmp", "jp2k/img2.bmp"),
    ("csiq", "dst_imgs/AWGN/1600.AWGN.1.png", "1600.AWGN.1.png"),
    ("csiq", "dst_imgs/awgn/1600.AWGN.1.png", "1600.AWGN.1.png"),
    ("csiq", "dst_imgs_all/1600.awgn.1.PNG", "1600.awgn.1.PNG"),
    ("tid2013", "distorted_images/I01_01_1.bmp", "I01_01_1.bmp"),
    ("tid2013", "distorted_images/i01_01_1.bmp", "i01_01_1.bmp"),
    ("tid2013", "distorted_images/I01_01_2.BMP", "I01_01_2.BMP"),
    ("kadid10k", "images/I01_01_01.png", "I01_01_01.png"),
    ("kadid10k", "distorted_images/I01_01_01.png", "I01_01_01.png"),
    ("koniq10k", "1024x768/10004473376.jpg", "10004473376.jpg"),
    ("koniq10k", "512x384/10004473376.jpg", "10004473376.jpg"),
    ("livefb", "database/blur_dataset/motion0044.jpg", "motion0044.jpg"),
]


@pytest.mark.parametrize(("name", "file", "found"), LAYOUTS)
def test_one_image_in_each_layout(name, file, found, official):
    folder = official(name)
    (folder / file).parent.mkdir(parents=True)
    (folder / file).touch()
    rows = READERS[name](folder, every=True)
    assert len(rows) == COUNTS[name]
    (record,) = (row for row in rows if row.path.is_file())
    assert record.path == folder / file
    assert record.path.name == found.split("/")[-1]


def test_what_is_there_and_what_is_missing_make_the_whole(official):
    folder = official("tid2013")
    (folder / "distorted_images").mkdir()
    for name in ("i01_01_1.bmp", "I25_24_5.BMP", "I07_03_2.bmp"):
        (folder / "distorted_images" / name).touch()
    here = [record.path.name for record in READERS["tid2013"](folder)]
    assert here == ["i01_01_1.bmp", "I07_03_2.bmp", "I25_24_5.BMP"]
    gone = missing("tid2013", folder)
    assert len(gone) == 2997
    assert not {path.name for path in gone} & set(here)


@pytest.mark.parametrize("name", ["live", "csiq", "tid2013"])
def test_a_folder_without_images_and_one_without_tables(name, official, tmp_path):
    with pytest.raises(DataError, match=r"none of its .* images is there"):
        READERS[name](official(name))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="No such file"):
        READERS[name](tmp_path / "empty")


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("csiq", "a.AWGN.1.png 0.1\na.AWGN.2.png x\n", r"csiq_label\.txt, line 2: score 'x'"),
        ("csiq", "a.AWGN.1.png 0.1 0.2\n", r"csiq_label\.txt, line 1: 3 cells, 2 wanted"),
        ("csiq", "awgn1.png 0.1\n", r"line 1: 'awgn1\.png' is not NAME"),
        ("csiq", "a.AWGN.1.png 0.1\n\na.AWGN.1 0.1\n", r"line 3: a\.AWGN\.1\.png is there already, in line 1"),
        ("tid2013", "1.5 I01_01.bmp\n", r"mos_with_names\.txt, line 1: 'I01_01\.bmp' is not"),
        ("tid2013", "\n", r"mos_with_names\.txt: no rows"),
        ("kadid10k", "dist_img,ref_img,mos\n", r"dmos\.csv, line 1: column dmos missing"),
        ("koniq10k", "image_name,MOS,set\na.jpg,4,left\n", r"sets\.csv, line 2: split 'left'"),
        ("livefb", "name,mos\na.jpg,\n", r"labels_image\.csv, line 2: score ''"),
    ],
)
def test_a_broken_table_names_its_line(name, text, reason, tmp_path):
    table = {
        "csiq": "csiq_label.txt",
        "tid2013": "mos_with_names.txt",
        "kadid10k": "dmos.csv",
        "koniq10k": "koniq10k_distributions_sets.csv",
        "livefb": "labels_image.csv",
    }[name]
    (tmp_path / table).write_text(text)
    with pytest.raises(DataError, match=reason):
        READERS[name](tmp_path, every=True)


def test_live_original_scores_and_wrong_lengths(official):
    folder = official("live")
    flags = loadmat(folder / "dmos_realigned.mat")["orgs"]
    scores = [[random.Random(i).uniform(0, 84) for i in range(982)]]
    savemat(folder / "dmos.mat", {"dmos": scores, "orgs": flags})
    records = READERS["live-original"](folder, every=True)
    expected = [score for score, copy in zip(scores[0], flags[0], strict=True) if not copy]
    assert [r.raw_score for r in records] == expected
    assert all(r.scale.low == 0 and r.scale.high == 100 for r in records)
    savemat(folder / "dmos.mat", {"dmos": [scores[0][:-1]], "orgs": flags})
    with pytest.raises(DataError, match=r"dmos\.mat: 981 scores, 982 flags"):
        READERS["live-original"](folder)


def test_kadid_from_the_release_csv(tmp_path):
    (tmp_path / "dmos.csv").write_text("dist_img,ref_img,dmos,var\ni02_03_04.png,I02.png,4.5,0.1\n")
    (record,) = READERS["kadid10k"](tmp_path, every=True)
    assert (record.raw_score, record.quality, record.reference) == (4.5, 0.875, "I02.png")
    assert (record.distortion, record.level) == ("03", 4)


def test_koniq_from_the_other_table_takes_the_column_on_the_same_scale(tmp_path):
    (tmp_path / "koniq10k_scores_and_distributions.csv").write_text(
        '"image_name","c1","MOS","SD","MOS_zscore"\n"1.jpg",0,3.8,0.5,77.5\n'
    )
    (record,) = READERS["koniq10k"](tmp_path, every=True)
    assert (record.raw_score, record.quality, record.split) == (77.5, 0.775, None)


@pytest.mark.parametrize("suffix", [".xlsx", ".csv"])
def test_spaq_from_workbook_and_csv(suffix, tmp_path):
    rows = [["Image name", "MOS", "Brightness"], ["00001.jpg", 48.86, 60.1], ["00002.jpg", 62.5, 71]]
    table = tmp_path / "Annotations" / f"MOS and Image attribute scores{suffix}"
    table.parent.mkdir()
    if suffix == ".csv":
        table.write_text("\n".join(",".join(map(str, row)) for row in rows))
    else:
        import openpyxl

        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(row)
        book.save(table)
    (tmp_path / "TestImage").mkdir()
    (tmp_path / "TestImage" / "00002.JPG").touch()
    first, second = READERS["spaq"](tmp_path, every=True)
    assert (first.raw_score, second.raw_score, second.quality) == (48.86, 62.5, 0.625)
    assert READERS["spaq"](tmp_path) == [second]
    assert second.path.name == "00002.JPG"


def test_spaq_of_the_real_table(real_data, tmp_path):
    with (real_data / "tables" / "SPAQ.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    table = tmp_path / "Annotations" / "MOS and Image attribute scores.csv"
    table.parent.mkdir()
    table.write_text("Image name,MOS\n" + "".join(f"{r['filename']},{r['mos']}\n" for r in rows))
    records = READERS["spaq"](tmp_path, every=True)
    assert len(records) == 11125
    assert all(0 <= r.quality <= 1 for r in records)


def test_spaq_workbook_that_is_none(tmp_path):
    table = tmp_path / "Annotations" / "MOS and Image attribute scores.xlsx"
    table.parent.mkdir()
    table.write_bytes(b"PK\x03\x04 not a workbook")
    with pytest.raises(DataError, match="not an Excel workbook"):
        READERS["spaq"](tmp_path)
