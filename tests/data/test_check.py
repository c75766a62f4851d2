from __future__ import annotations

import dataclasses
import shutil

import pytest

from noref.data.check import check, shortfall
from noref.data.readers import READERS
from noref.data.records import Record, Scale
from noref.errors import DataError, OptionError


@pytest.fixture
def whole(tmp_path, draw):
    """A CSV with three references, two distortions, three levels; higher is better; nothing wrong with it."""
    lines = ["path,score,reference,distortion,level,split"]
    for reference in range(3):
        for kind in ("blur", "jpeg"):
            for level in (1, 2, 3):
                name = f"{reference}{kind}{level}.png"
                draw(name, seed=len(lines))
                part = ("train", "val", "test")[reference]
                lines.append(f"{name},{90 - 20 * level - reference},r{reference},{kind},{level},{part}")
    file = tmp_path / "set.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def test_nothing_wrong(whole):
    seen = []
    report = check("csv", whole, progress=lambda done, count: seen.append((done, count)))
    assert report.problems == []
    assert report.exit_status == 0
    assert report.falling == 1.0
    assert seen == [(i, 18) for i in range(1, 19)]
    text = report.render()
    for line in (
        "images        18",
        "scores        28 to 70 on a scale of 0-100, higher is better",
        "references    3",
        "distortions   2",
        "training 6, validation 6, test 6",
        "quality falls with the level in 100% of the series",
        "Nothing wrong.",
        "Too little to divide for training: 18 good images of 3 references",
    ):
        assert line in text


def test_a_missing_a_damaged_and_a_doubled_image_are_named(whole):
    folder = whole.parent
    (folder / "0blur1.png").unlink()
    (folder / "1jpeg2.png").write_bytes((folder / "1jpeg2.png").read_bytes()[:200])
    shutil.copy(folder / "2blur1.png", folder / "2jpeg3.png")
    report = check("csv", whole)
    assert report.missing == (folder / "0blur1.png",)
    assert [path for path, _ in report.unreadable] == [folder / "1jpeg2.png"]
    assert {record.path.name for record in report.duplicates[0]} == {"2blur1.png", "2jpeg3.png"}
    assert report.problems == ["incomplete, 1 missing: 17 of 18 images are here", "1 images cannot be read"]
    assert report.exit_status == 1
    text = report.render()
    for name in ("0blur1.png", "1jpeg2.png: damaged", "WRONG: incomplete"):
        assert name in text


def test_scores_that_run_the_other_way_are_noticed(whole):
    report = check("csv", whole, low=0, high=100, higher_is_better=False)
    assert report.falling == 0
    assert any("the other way" in problem for problem in report.problems)


def test_livec_is_incomplete_and_no_image_at_all_is_reported_too(livec_folder):
    report = check("livec", livec_folder)
    assert report.problems == ["incomplete, 1157 missing: 5 of 1162 images are here"]
    for path in (livec_folder / "Images").iterdir():
        path.unlink()
    empty = check("livec", livec_folder)
    assert empty.problems == ["incomplete, 1162 missing: 0 of 1162 images are here"]
    assert len(empty.missing) == 5
    assert "noref train" not in empty.render()


def test_too_many_images_scores_off_the_scale_and_all_the_same(whole):
    report = check("csv", whole)
    assert any("the release has 5" in p for p in dataclasses.replace(report, published=5).problems)
    stray = Record(whole, 120.0, Scale(0, 100))
    off = dataclasses.replace(report, records=(*report.records, stray))
    assert any("1 scores leave the scale 0-100" in p and "120" in p for p in off.problems)
    flat = dataclasses.replace(report, records=(Record(whole, 5.0, Scale(0, 9)),) * 3)
    assert "every score is 5" in flat.problems


def test_long_lists_are_cut_unless_all_is_wanted(whole):
    for path in whole.parent.glob("*blur*.png"):
        path.unlink()
    report = check("csv", whole)
    assert "... and 4 more" in report.render(limit=5)
    assert "more" not in report.render(limit=None)
    assert report.render(limit=None).count("blur") == 9 + 1  # once more where the whole class is said to be gone


def test_tables_that_cannot_be_read_and_names_that_are_not_known(tmp_path):
    with pytest.raises(DataError, match=r"AllImages_release\.mat"):
        check("livec", tmp_path)
    with pytest.raises(OptionError, match="did you mean livec"):
        check("live-c", tmp_path)


def test_a_class_that_is_gone_and_images_in_no_row_are_named(whole):
    for path in whole.parent.glob("*blur*.png"):
        path.rename(path.with_name(f"x{path.name}"))
    report = check("csv", whole)
    assert report.problems == [
        "incomplete, 9 missing: 9 of 18 images are here",
        "of the distortion blur not one image is there (9 missing)",
        "9 rows have no image and 9 images have no row: the table may belong to other images",
    ]
    assert "images in no row: 9" in report.render()


def test_images_in_another_letter_case_are_listed_and_not_wrong(whole):
    (whole.parent / "0blur1.png").rename(whole.parent / "0BLUR1.png")
    report = check("csv", whole)
    assert report.exit_status == 0
    assert f"0blur1.png is {whole.parent / '0BLUR1.png'}" in report.render()


def test_a_download_that_did_not_finish_is_named_with_what_it_spoils(whole, tmp_path):
    assert check("csv", whole.parent).exit_status == 0
    (whole.parent / "rest.zip.part").touch()
    sound = check("csv", whole.parent)
    assert sound.exit_status == 0
    assert "rest.zip.part: a download that did not finish" in sound.render()
    (whole.parent / "0blur1.png").write_bytes(b"")
    assert check("csv", whole.parent).problems == ["1 images cannot be read", "a download was cut short"]
    folder = tmp_path / "TID2013"
    folder.mkdir()
    (tmp_path / "TID2013.rar.part").touch()
    with pytest.raises(DataError, match=r"mos_with_names\.txt: No such file.*TID2013\.rar\.part: a download"):
        check("tid2013", folder)


def test_duplicates_across_an_official_split_or_two_references_are_said_and_not_wrong(whole):
    folder = whole.parent
    shutil.copy(folder / "0blur1.png", folder / "2blur1.png")
    report = check("csv", whole)
    assert report.exit_status == 0
    assert report.cautions == [
        "the official split has 1 sets of byte-identical images on both sides",
        "1 sets of byte-identical images join references that random splits keep apart",
    ]
    assert "CAUTION: the official split" in report.render()


def test_an_official_split_of_another_size_is_said(whole):
    report = dataclasses.replace(check("csv", whole), name="koniq10k", published=18)
    assert report.cautions == [
        "the official split is training 6, validation 6, test 6, "
        "published are training 7058, validation 1000, test 2015"
    ]


def test_half_of_livefbs_split_is_said(tmp_path, draw):
    draw("database/a/1.jpg", 1), draw("database/a/2.jpg", 2)
    (tmp_path / "labels_image.csv").write_text("name,mos\na/1.jpg,10\na/2.jpg,20\n")
    (tmp_path / "labels640.csv").write_text("name_image\na/1.jpg\n")
    report = check("livefb", tmp_path)
    assert report.half_split == tmp_path / "labels640.csv"
    assert any("half of the official split" in caution for caution in report.cautions)
    (tmp_path / "labels=640_padded.csv").write_text("name_image,is_valid\na/2.jpg,False\n")
    whole_split = check("livefb", tmp_path)
    assert whole_split.half_split is None
    assert "official split training 1, validation 0, test 1" in whole_split.render()


def test_many_images_of_the_same_bytes_fit_into_a_line(whole):
    content = (whole.parent / "0blur1.png").read_bytes()
    for path in whole.parent.glob("*.png"):
        path.write_bytes(content)
    report = check("csv", whole)
    assert "    18 images: " in report.render()
    assert report.render(limit=None).count(" = ") == 17


def test_a_path_that_is_not_there_is_a_wrong_call(tmp_path):
    with pytest.raises(OptionError, match="no such file or folder"):
        check("livec", tmp_path / "none")


@pytest.mark.parametrize(
    ("published", "here", "gone", "said"),
    [
        (6, 6, 0, None),
        (6, 5, 0, "5 of 6 images, 1 missing"),
        (6, 4, 2, "4 of 6 images, 2 missing"),
        (6, 6, 3, "6 of 9 images, 3 missing"),
        (None, 4, 0, None),
        (None, 4, 1, "4 of 5 images, 1 missing"),
    ],
)
def test_shortfall_takes_the_larger_of_published_and_named(tmp_path, monkeypatch, published, here, gone, said):
    def toy(folder):
        return [Record(folder / f"{i}.png", i, Scale(0, 9)) for i in range(here + gone)]

    toy.count = published
    monkeypatch.setitem(READERS, "toy", toy)
    for i in range(here):
        (tmp_path / f"{i}.png").touch()
    assert shortfall("toy", tmp_path) == said


def test_the_real_photos(livec_restored):
    report = check("livec", livec_restored)
    assert report.problems == ["incomplete, 231 missing: 931 of 1162 images are here"]
    assert [{record.path.stem for record in group} for group in report.duplicates] == [{"246", "333"}]
