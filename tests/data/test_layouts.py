"""Each way in which a data set lies on a disk, with tiny tables and empty stand-ins; docs/data.md lists them all."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path

import numpy as np
import openpyxl
import pytest
from scipy.io import savemat

from noref.data.readers import READERS, describe, missing
from noref.data.splits import official_split
from noref.errors import DataError, OptionError


@pytest.fixture
def lay(tmp_path):
    """lay({path: text or rows of a workbook, or None for a stand-in}) -> the folder `set`."""

    def write(files, sheet="Sheet"):
        for name, content in files.items():
            path = tmp_path / "set" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, list):
                book = openpyxl.Workbook()
                book.active.title = "titles"
                page = book.create_sheet(sheet) if sheet != "Sheet" else book.active
                for row in content:
                    page.append(row)
                book.save(path)
            else:
                path.write_text(content or "")
        return tmp_path / "set"

    return write


ICBC = "dis_img_path,dis_type,ref_img_path,score\n"
LAYOUTS = {
    "ARNIQA csiq": (
        "csiq",
        {"CSIQ.txt": ICBC + "CSIQ/dst_imgs/BLUR/a.BLUR.2.png,GBLUR,CSIQ/src_imgs/a.png,0.36\n"},
        "dst_imgs/BLUR/a.BLUR.2.png",
        (0.36, "a.png", "BLUR", 2, None),
    ),
    "ARNIQA live": (
        "live",
        {"LIVE.txt": ICBC + "LIVE/gblur/img7.bmp,gblur,LIVE/refimgs/b.bmp,49.5\n"},
        "gblur/img7.bmp",
        (49.5, "b.bmp", "gblur", None, None),
    ),
    "DEIQT csiq": ("csiq", {"csiq_label.txt": "a.jpeg2000.1.png 0.2\n"}, "dst_imgs_all/a.jpeg2000.1.png", None),
    "DEIQT kadid": (
        "kadid10k",
        {"dmos.csv": "dist_img,ref_img,dmos,var\nI02_03_04.png,I02.png,4.5,1\n"},
        "distorted_images/I02_03_04.png",
        (4.5, "I02.png", "03", 4, None),
    ),
    "ARNIQA kadid": (
        "kadid10k",
        {"dmos.csv": "dist_img,ref_img,dmos,var\nI02_03_04.png,I02.png,4.5,1\n"},
        "images/I02_03_04.png",
        None,
    ),
    "IQA-PyTorch live": (
        "live-original",
        {"../meta_info/meta_info_LIVEIQADataset.csv": "ref_name,dist_name,mos\nrefimgs/b.bmp,wn/img3.bmp,50\n"},
        "wn/img3.bmp",
        (50, "b.bmp", "wn", None, None),
    ),
    "IQA-PyTorch csiq": (
        "csiq",
        {"../meta_info/meta_info_CSIQDataset.csv": "ref_name,dist_name,dmos\na.png,a.AWGN.1.png,0.2\n"},
        "dst_imgs/awgn/a.AWGN.1.png",
        (0.2, "a.png", "AWGN", 1, None),
    ),
    "IQA-PyTorch tid2013": (
        "tid2013",
        {"../meta_info/meta_info_TID2013Dataset.csv": "ref_name,dist_name,mos,std\ni25.bmp,I25_24_5.bmp,3.5,0.1\n"},
        "distorted_images/i25_24_5.bmp",
        (3.5, "I25.BMP", "24", 5, None),
    ),
    "IQA-PyTorch kadid": (
        "kadid10k",
        {"../meta_info/meta_info_KADID10kDataset.csv": "ref_name,dist_name,dmos,std\nI02.png,I02_03_04.png,4.5,1\n"},
        "images/I02_03_04.png",
        None,
    ),
    "IQA-PyTorch livec": (
        "livec",
        {"../meta_info/meta_info_LIVEChallengeDataset.csv": "img_name,mos,std\nt1.bmp,63,9\nt7.bmp,1,9\n3.bmp,20,9\n"},
        "Images/3.bmp",
        (20, None, None, None, None),
    ),
    "IQA-PyTorch koniq": (
        "koniq10k",
        {"../meta_info/meta_info_KonIQ10kDataset.csv": "img_name,mos,std,split,c1\n1.jpg,77.5,0.5,val,0\n"},
        "512x384/1.jpg",
        (77.5, None, None, None, "validation"),
    ),
    "IQA-PyTorch flive": (
        "livefb",
        {
            "../meta_info/meta_info_FLIVEDataset.csv": "img_name/patch_name,mos,split\n"
            "blur_dataset/m.jpg,75,2\npatches/m_patch_1.jpg,1,2\n"
        },
        "database/blur_dataset/m.jpg",
        (75, None, None, None, "test"),
    ),
    "IQA-PyTorch spaq": (
        "spaq",
        {"../meta_info/meta_info_SPAQDataset.csv": "Image name,MOS,Brightness\n00001.jpg,48.86,60\n"},
        "TestImage/00001.jpg",
        None,
    ),
    "a table in the folder itself": (
        "csiq",
        {"meta_info/meta_info_CSIQDataset.csv": "ref_name,dist_name,dmos\na.png,a.AWGN.1.png,0.2\n"},
        "dst_imgs/a.AWGN.1.png",
        None,
    ),
    "PaQ-2-PiQ": (
        "livefb",
        {"database/labels_image.csv": "name,mos\nblur_dataset/m.jpg,75\n"},
        "database/blur_dataset/m.jpg",
        (75, None, None, None, None),
    ),
    "DEIQT spaq": (
        "spaq",
        {"Annotations/MOS and Image attribute scores.xlsx": [["Image name", "MOS"], ["00001.jpg", 48.86]]},
        "SPAQ zip/512x384/00001.jpg",
        (48.86, None, None, None, None),
    ),
    "AGIQA-3K": (
        "agiqa3k",
        {"data.csv": 'name,prompt,mos_quality,mos_align\nxl.jpg,"a hat, anime",2.5,4\n'},
        "images/xl.jpg",
        (2.5, None, None, None, None),
    ),
    "AGIQA-3K flat": ("agiqa3k", {"data.csv": "name,mos_quality\nxl.jpg,2.5\n"}, "xl.jpg", None),
    "BID": (
        "bid",
        {"DatabaseGrades.xlsx": [["Image Number", "Average Subjective Grade", "std"], [7, 4.5, 0.2]]},
        "DatabaseImage0007.JPG",
        (4.5, None, None, None, None),
    ),
    "BID below": (
        "bid",
        {"DatabaseGrades.csv": "Image Number,Average Subjective Grade\n590,4.5\n"},
        "ImageDatabase/DatabaseImage0590.JPG",
        None,
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_image_in_each_layout(layout, lay):
    name, tables, image, known = LAYOUTS[layout]
    folder = lay({**tables, image: None})
    (record,) = READERS[name](folder)
    assert record.path == folder / image
    if known:
        assert (record.raw_score, record.reference, record.distortion, record.level, record.split) == known


TEXT = [layout for layout, (_, tables, *_) in LAYOUTS.items() if isinstance(next(iter(tables.values())), str)]


@pytest.mark.parametrize("layout", TEXT)
@pytest.mark.parametrize("bad", ["n/a", "nan", "inf", "", "1;2"])
def test_a_score_that_is_none_is_named_in_each_layout(layout, bad, lay):
    name, tables, image, _ = LAYOUTS[layout]
    ((file, text),) = tables.items()
    (record,) = READERS[name](lay({file: text, image: None}))
    start, score, end = text.rpartition(f"{record.raw_score:g}")
    assert score
    if "patches" in end:  # IQA-PyTorch's flive: the image's row is the one before
        end = "," + end.split(",", 1)[1]
    folder = lay({file: start + bad + end})
    line = (start + bad).count("\n") + 1
    with pytest.raises(DataError, match=rf"{file.rpartition('/')[2]}, line {line}: "):
        READERS[name](folder)
    with pytest.raises(DataError, match=rf"line {line}: "):
        READERS[name](folder, every=True)


@pytest.mark.parametrize("layout", TEXT)
def test_an_image_in_two_rows_and_a_row_cut_off_are_named_in_each_layout(layout, lay):
    name, tables, image, _ = LAYOUTS[layout]
    ((file, text),) = tables.items()
    last = text.splitlines()[1 if "patches" in text else -1]
    with pytest.raises(DataError, match=rf", line \d+: {re.escape(Path(image).name)} is there already, in line \d+"):
        READERS[name](lay({file: f"{text}{last}\n", image: None}))
    separator = "," if "," in last else " "
    with pytest.raises(DataError, match=rf"line {text.count(chr(10)) + 1}: "):
        READERS[name](lay({file: f"{text}{last.rpartition(separator)[0]}\n"}))


@pytest.mark.parametrize("layout", TEXT)
def test_an_image_that_is_missing_is_left_out_and_named_in_each_layout(layout, lay):
    name, tables, image, _ = LAYOUTS[layout]
    ((file, text),) = tables.items()
    lines = text.splitlines(keepends=True)
    row = lines[1 if "patches" in text else -1]
    stem = Path(image).stem
    digit = next((d for d in reversed(stem) if d in "123456"), None)
    other = stem[::-1].replace(digit, "7" if digit != "7" else "6", 1)[::-1] if digit else f"{stem}other"
    written = next(w for w in (stem, stem.upper(), str(int(stem[-4:])) if stem[-4:].isdigit() else stem) if w in row)
    renamed = row.replace(written, str(int(other[-4:])) if written.isdigit() and len(written) < 5 else other)
    folder = lay({file: text + renamed, image: None})
    (lost,) = missing(name, folder)
    assert lost.stem.casefold() == other.casefold()
    assert [record.path for record in READERS[name](folder)] == [folder / image]


def test_the_workbook_of_csiq_with_titles_above_and_columns_beside(lay):
    rows = [
        ["CSIQ"],
        [None],
        ["DMOS"],
        [None, None, None, "image", "dst_idx", "dst_type", "dst_lev", "dmos_std", "dmos"],
    ]
    rows += [
        [None, None, None, 1600, 1, "noise", 1, 0.1, 0.0619],
        [None, None, None, "elk", 5, "jpeg 2000", 5, 0.1, 0.9],
    ]
    folder = lay({"csiq.DMOS.xlsx": rows}, sheet="all_by_image")
    first, second = READERS["csiq"](folder, every=True)
    assert (first.path.name, first.raw_score, first.reference) == ("1600.AWGN.1.png", 0.0619, "1600.png")
    assert (second.path.name, second.distortion, second.level) == ("elk.jpeg2000.5.png", "jpeg2000", 5)
    rows[4][8] = "n/a"
    lay({"csiq.DMOS.xlsx": rows}, sheet="all_by_image")
    with pytest.raises(DataError, match=r"csiq\.DMOS\.xlsx, line 5: score 'n/a'"):
        READERS["csiq"](folder, every=True)
    lay({"csiq.DMOS.xlsx": rows}, sheet="by_kind")
    with pytest.raises(DataError, match="not an Excel workbook with all_by_image"):
        READERS["csiq"](folder, every=True)


LABELS = "name,mos\na/1.jpg,10\na/2.jpg,20\nb/3.jpg,30\nb/4.jpg,40\n"
TRAINING = "name_image,is_valid,mos_image\na/1.jpg,False,10\na/2.jpg,True,20\n"
TEST = "mos_image,name_image\n30,b/3.jpg\n"


@pytest.mark.parametrize(
    "names", [("labels=640_padded.csv", "labels640.csv"), ("labels<=640_padded.csv", "labels>640.csv")]
)
def test_livefb_with_its_split(lay, names):
    folder = lay({"labels_image.csv": LABELS, names[0]: TRAINING, names[1]: TEST})
    records = READERS["livefb"](folder, every=True)
    assert [record.split for record in records] == ["training", "validation", "test", "unused"]
    split = official_split(records)
    assert (split.train, split.validation, split.test) == ((0,), (1,), (2,))
    assert "1 images in none" in split.description


def test_half_of_livefbs_split_is_no_split(lay):
    folder = lay({"labels_image.csv": LABELS, "labels640.csv": TEST})
    assert {record.split for record in READERS["livefb"](folder, every=True)} == {None}


@pytest.mark.parametrize(
    ("training", "test", "reason"),
    [
        (TRAINING + "c/9.jpg,False,1\n", TEST, r"labels=640_padded\.csv, line 4: c/9\.jpg is not in labels_image\.csv"),
        (TRAINING, TEST + "30,a/1.jpg\n", r"labels640\.csv, line 3: a/1\.jpg is in the split already"),
        (TRAINING.replace("True", "yes"), TEST, r"labels=640_padded\.csv, line 3: is_valid 'yes'"),
        ("name,is_valid\n", TEST, r"labels=640_padded\.csv, line 1: column name_image missing"),
    ],
)
def test_a_split_of_livefb_that_does_not_fit(lay, training, test, reason):
    folder = lay({"labels_image.csv": LABELS, "labels=640_padded.csv": training, "labels640.csv": test})
    with pytest.raises(DataError, match=reason):
        READERS["livefb"](folder, every=True)


def test_livefbs_table_of_iqa_pytorch_with_another_split(lay):
    table = "../meta_info/meta_info_FLIVEDataset.csv"
    with pytest.raises(DataError, match=r"line 2: split '3' is none of 0, 1, 2"):
        READERS["livefb"](lay({table: "img_name/patch_name,mos,split\na/1.jpg,5,3\n"}), every=True)


def test_only_the_original_scores_of_live_are_there(lay):
    folder = lay({"refnames_all.mat": None})
    savemat(folder / "dmos.mat", {"dmos": np.zeros((1, 982)), "orgs": np.zeros((1, 982))})
    with pytest.raises(DataError, match=r"dmos_realigned\.mat: no realigned scores; dmos\.mat .* as live-original"):
        READERS["live"](folder)


@pytest.mark.parametrize(("name", "count", "high"), [("agiqa3k", 2982, 5), ("bid", 586, 5)])
def test_the_real_tables_of_agiqa3k_and_bid(name, count, high, real_data, lay):
    with (real_data / "tables" / {"agiqa3k": "AGIQA-3K.csv", "bid": "BID.csv"}[name]).open(newline="") as file:
        rows = list(csv.DictReader(file))
    if name == "agiqa3k":
        lines = [f"{row['filename']},{row['mos']}" for row in rows]
        folder = lay({"data.csv": "\n".join(["name,mos_quality", *lines])})
    else:
        cells = [[int(row["filename"][13:17]), float(row["mos"])] for row in rows]
        folder = lay({"DatabaseGrades.xlsx": [["Image Number", "Average Subjective Grade"], *cells]})
    records = READERS[name](folder, every=True)
    assert len(records) == count
    assert [r.path.name for r in records] == [row["filename"] for row in rows]
    assert [r.raw_score for r in records] == [float(row["mos"]) for row in rows]
    assert all(0 <= r.quality <= 1 and (r.scale.low, r.scale.high) == (0, high) for r in records)
    assert Counter(r.scale.higher_is_better for r in records) == {True: count}


def test_every_set_says_which_scores_are_read():
    assert all(describe(name) for name in READERS)
    assert describe("live-original").startswith("original DMOS")
    with pytest.raises(OptionError, match="did you mean bid"):
        describe("bidd")


@pytest.mark.parametrize("name", READERS)
def test_a_path_that_is_not_there_is_a_wrong_call(name, tmp_path):
    with pytest.raises(OptionError, match="none: no such file or folder"):
        READERS[name](tmp_path / "none")
    with pytest.raises(OptionError, match="NUL"):
        READERS[name](f"{tmp_path}/a\0b")


def test_a_csvs_range_lies_beside_it(lay):
    folder = lay({"t.csv": "path,score\na.png,20\nb.png,60\n", "a.png": None, "b.png": None})
    assert [r.quality for r in READERS["csv"](folder)] == [0.2, 0.6]
    lay({"t.scale.json": '{"low": 0, "high": 80, "higher_is_better": false}'})
    assert [r.quality for r in READERS["csv"](folder / "t.csv")] == [0.75, 0.25]
    assert [r.quality for r in READERS["csv"](folder, low=0, high=100)] == [0.8, 0.4]
    assert [r.quality for r in READERS["csv"](folder, low=0, high=100, higher_is_better=True)] == [0.2, 0.6]


@pytest.mark.parametrize(
    "text", ["", "[1]", '{"low": 0}', '{"low": 5, "high": 1}', '{"low": 0, "high": 9, "higher_is_beter": false}',
             '{"low": 0, "high": 9, "higher_is_better": "no"}',
             '{"low": 0, "high": 9, "higher_is_better": 0}']
)  # fmt: skip
def test_a_range_that_is_none_is_refused(text, lay):
    folder = lay({"t.csv": "path,score\na.png,2\nb.png,6\n", "a.png": None, "b.png": None, "t.scale.json": text})
    with pytest.raises(DataError, match=r"t\.scale\.json: not a scale"):
        READERS["csv"](folder)
