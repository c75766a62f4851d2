from __future__ import annotations

import csv as python_csv

import pytest
from scipy.io import loadmat, savemat

from noref.data.readers import READERS, missing, photos
from noref.data.records import Scale
from noref.errors import DataError, OptionError


def test_livec_drops_the_seven_training_images(livec_folder):
    records = READERS["livec"](livec_folder)
    assert [(r.path, r.raw_score) for r in records] == [
        (livec_folder / "Images" / f"{i}.bmp", 10.0 * i) for i in range(1, 6)
    ]
    assert [r.quality for r in records] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert {r.scale for r in records} == {Scale(0, 100)}
    assert {r.reference for r in records} == {None}


def test_livec_takes_a_folder_named_by_a_string(livec_folder):
    assert len(READERS["livec"](str(livec_folder))) == 5


def test_an_image_that_is_missing_is_left_out_and_named(livec_folder):
    (livec_folder / "Images" / "2.bmp").unlink()
    assert [r.raw_score for r in READERS["livec"](livec_folder)] == [10, 30, 40, 50]
    assert [r.raw_score for r in READERS["livec"](livec_folder, every=True)] == [10, 20, 30, 40, 50]
    assert missing("livec", livec_folder) == [livec_folder / "Images" / "2.bmp"]


def test_no_image_at_all_is_an_error(livec_folder):
    for path in (livec_folder / "Images").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"none of its 5 images is there; the first should be .*1\.bmp"):
        READERS["livec"](livec_folder)


@pytest.mark.parametrize("name", ["AllImages_release", "AllMOS_release"])
def test_livec_names_the_table_that_is_not_there_or_broken(livec_folder, name):
    table = livec_folder / "Data" / f"{name}.mat"
    table.write_bytes(b"x")
    with pytest.raises(DataError, match=f"{name}.mat: not a MATLAB file"):
        READERS["livec"](livec_folder)
    table.unlink()
    with pytest.raises(DataError, match=f"{name}.mat: No such file"):
        READERS["livec"](livec_folder)


def test_livec_tables_of_different_length(livec_folder):
    savemat(livec_folder / "Data" / "AllMOS_release.mat", {"AllMOS_release": [[1.0] * 11]})
    with pytest.raises(DataError, match="11 scores for the 12 images"):
        READERS["livec"](livec_folder)


def test_livec_score_that_is_no_number(livec_folder):
    savemat(livec_folder / "Data" / "AllMOS_release.mat", {"AllMOS_release": [[1.0] * 11 + [float("nan")]]})
    with pytest.raises(DataError, match=r"AllMOS_release\.mat, line 12: score 'nan'"):
        READERS["livec"](livec_folder)


def test_livec_as_restored_from_the_real_photos(real_data, livec_restored):
    records = READERS["livec"](livec_restored)
    with (real_data / "livec" / "scores.csv").open(newline="") as file:
        expected = {row["original"]: float(row["mos"]) for row in python_csv.DictReader(file)}
    assert {r.path.name: r.raw_score for r in records} == pytest.approx(expected)
    assert len(records) == 931
    cells = loadmat(livec_restored / "Data" / "AllImages_release.mat")["AllImages_release"]
    assert [r.path.name for r in records] == [str(cell[0]) for cell in cells[7:, 0]]


def table(tmp_path, text, name="t.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_csv_with_every_column(tmp_path, draw):
    draw("d/a.png"), draw("b.png")
    file = table(
        tmp_path, "score,path,reference,distortion,level,split,note\n4.5,d/a.png,r.png,jpeg,2,val,x\n1,b.png,,,,,\n"
    )
    a, b = READERS["csv"](file, low=1, high=5, higher_is_better=False)
    assert (a.path, a.raw_score, a.reference) == (tmp_path / "d" / "a.png", 4.5, "r.png")
    assert (a.distortion, a.level, a.split) == ("jpeg", 2, "validation")
    assert (b.reference, b.distortion, b.level, b.split) == (None, None, None, None)
    assert (a.quality, b.quality) == (0.125, 1.0)
    assert READERS["csv"](tmp_path, low=1, high=5, higher_is_better=False) == [a, b]


@pytest.mark.parametrize(
    ("scores", "low", "high"),
    [((0, 11), 0, 100), ((20.5, 80), 0, 100), ((1, 5), 1, 5), ((0, 10), 0, 10), ((-1, 99), -1, 99), ((5, 101), 5, 101)],
)
def test_csv_range_when_none_is_given(tmp_path, draw, scores, low, high):
    draw("a.png"), draw("b.png")
    file = table(tmp_path, f"path,score\na.png,{scores[0]}\nb.png,{scores[1]}\n")
    assert {r.scale for r in READERS["csv"](file)} == {Scale(low, high)}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("path,score\na.png,1\nc.png,2\n", r"line 3: no image 'c\.png'"),
        ("path,score\na.png,1\n,2\n", r"line 3: no image is named"),
        ("path,score\na.png,1\nb.png,good\n", r"line 3: score 'good' is no number"),
        ("path,score\na.png,nan\nb.png,1\n", r"line 2: score 'nan' is no number"),
        ("path,score\na.png,1\nb.png,2\n./a.png,1\n", r"line 4: a\.png is there already, in line 2"),
        ("path,score,level\na.png,1,x\nb.png,2,\n", r"line 2: level 'x' is no number"),
        ("path,score,split\na.png,1,left\nb.png,2,\n", r"line 2: split 'left' is none of"),
        ("path,mos\na.png,1\n", r"line 1: column score missing"),
        ("path,score\n", r"no rows"),
        ("path,score\na.png,3\nb.png,3\n", r"every score is 3"),
    ],
)
def test_a_wrong_csv_is_refused_with_file_and_line(tmp_path, draw, text, reason):
    draw("a.png"), draw("b.png")
    file = table(tmp_path, text)
    with pytest.raises(DataError, match=r"t\.csv.*" + reason):
        READERS["csv"](file)


def test_csv_score_outside_of_the_given_range(tmp_path, draw):
    draw("a.png"), draw("b.png")
    file = table(tmp_path, "path,score\na.png,1\nb.png,6\n")
    with pytest.raises(DataError, match=r"line 3: score 6 is outside of 1-5"):
        READERS["csv"](file, low=1, high=5)


def test_csv_options_that_cannot_work(tmp_path, draw):
    draw("a.png"), draw("b.png")
    file = table(tmp_path, "path,score\na.png,1\nb.png,6\n")
    with pytest.raises(OptionError, match="both ends"):
        READERS["csv"](file, low=1)
    with pytest.raises(OptionError, match="high > low"):
        READERS["csv"](file, low=5, high=1)


def test_csv_in_a_folder_must_be_the_only_one(tmp_path):
    with pytest.raises(DataError, match="is none"):
        READERS["csv"](tmp_path)
    table(tmp_path, "", "one.csv"), table(tmp_path, "", "two.csv")
    with pytest.raises(DataError, match=r"are 2: one\.csv, two\.csv"):
        READERS["csv"](tmp_path)


def test_every_missing_image_of_a_csv_is_named(tmp_path, draw):
    draw("a.png")
    file = table(tmp_path, "path,score\na.png,1\nb.png,2\nd/c.png,3\n")
    assert missing("csv", file) == [tmp_path / "b.png", tmp_path / "d" / "c.png"]


def test_an_unknown_data_set():
    with pytest.raises(OptionError, match="did you mean livec"):
        missing("livecc", "x")


def test_photos_are_all_image_files_below_a_folder_in_order(tmp_path, draw):
    wanted = [draw("b/2.JPG"), draw("b/10.png"), draw("a.webp")]
    (tmp_path / "notes.txt").touch()
    (tmp_path / "folder.png").mkdir()
    assert photos(tmp_path) == sorted(wanted)
    with pytest.raises(DataError, match="no image file"):
        photos(tmp_path / "folder.png")
    with pytest.raises(OptionError, match="none: no such file or folder"):
        photos(tmp_path / "none")
    with pytest.raises(OptionError, match="not a folder"):
        photos(tmp_path / "notes.txt")
