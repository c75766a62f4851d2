"""What is doubtful about a picture reaches the score, its row, the summary and `--strict`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from noref.cli import run
from noref.decoding.cautions import CUT, UNKNOWN
from noref.errors import ImageError
from noref.scoring.scorer import Scorer

from ..made_pictures import packed, picture

PHOTO = Image.fromarray(picture(320, 240))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A good picture, an animation, and a JPEG that ends in its middle."""
    monkeypatch.chdir(tmp_path)
    jpeg = packed(PHOTO, "jpeg", quality=90)
    (tmp_path / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2] + b"\xff\xd9")
    (tmp_path / "good.jpg").write_bytes(jpeg)
    PHOTO.save(tmp_path / "moving.gif", save_all=True, append_images=[Image.fromarray(picture(320, 240, seed=1))])
    return tmp_path


@pytest.fixture
def score(folder, brightness, capfd):
    def call(*words):
        status = run(["score", ".", *words, "--model", str(brightness)])
        return status, *capfd.readouterr()

    return call


def cautions(text):
    return {row["path"]: (bool(row["score"]), row["caution"]) for row in csv.DictReader(text.splitlines())}


def test_a_score_has_cautions(folder, brightness):
    scorer = Scorer(brightness)
    assert scorer.score("good.jpg").cautions == ()
    assert scorer.score("cut.jpg").cautions == (CUT,)
    assert scorer.score("moving.gif").cautions == ("the first of 2 frames",)


def test_rows_and_summary(score):
    status, out, err = score("-f", "csv")
    assert (status, cautions(out)) == (
        0,
        {"./cut.jpg": (True, CUT), "./good.jpg": (True, ""), "./moving.gif": (True, "the first of 2 frames")},
    )
    assert "3 of 3 scored, 0 failed, 2 with a caution (1 damaged), " in err
    rows = [json.loads(line) for line in score("-f", "jsonl")[1].splitlines()]
    assert [row["caution"] for row in rows] == [CUT, None, "the first of 2 frames"]
    table = score()[1].splitlines()
    assert [
        line.endswith(end) for line, end in zip(table[1:], [f"  {CUT}", "", "  the first of 2 frames"], strict=True)
    ]
    assert "caution" not in score("good.jpg", "-f", "paths")[2].partition("failed")[0]


def test_strict_makes_damage_an_error_and_leaves_notes(score, folder, brightness):
    status, out, err = score("-f", "csv", "--strict")
    rows = {row["path"]: row for row in csv.DictReader(out.splitlines())}
    assert (status, rows["./cut.jpg"]["error"], rows["./cut.jpg"]["score"]) == (1, CUT, "")
    assert rows["./moving.gif"]["score"]
    assert "2 of 3 scored, 1 failed, 1 with a caution, " in err
    with pytest.raises(ImageError, match=f"^cut.jpg: {CUT}$"):
        Scorer(brightness, strict=True).score("cut.jpg")


def test_resume_with_strict_looks_again_at_damage(score):
    score("-o", "rows.csv")
    assert score("-o", "rows.csv", "--resume", "--strict")[0] == 1
    assert cautions(Path("rows.csv").read_text())["./cut.jpg"] == (False, "")


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
def test_a_table_without_cautions_is_resumed_and_says_so(score, name):
    score("-o", name)
    whole = Path(name).read_text()
    lines = whole.splitlines()
    if name.endswith("csv"):
        before = [line.rpartition(",")[0] for line in lines]
    else:
        before = [json.dumps(dict(list(json.loads(line).items())[:-1])) for line in lines]
    Path(name).write_text("\n".join(before[:-1]) + "\n")
    assert score("-o", name, "--resume")[0] == 0
    assert Path(name).read_text().count(UNKNOWN) == 2
    assert "the first of 2 frames" in Path(name).read_text()
    Path(name).write_text("\n".join(before) + "\n")
    assert score("-o", name, "--resume", "--strict")[0] == 1
    assert UNKNOWN not in Path(name).read_text()


def test_resume_does_not_mix_trimmed_and_whole_pictures(score, folder):
    page = Image.new("RGB", (500, 400), "white")
    page.paste(PHOTO, (90, 80))
    page.save("page.png")
    score("-o", "whole.csv")
    score("-o", "trimmed.csv", "--trim")
    assert "margin trimmed: 38 % of the picture are left" in Path("trimmed.csv").read_text()
    for name, words in (("whole.csv", ["--trim"]), ("trimmed.csv", [])):
        expected = Path("trimmed.csv" if words else "fresh.csv")
        if not words:
            score("-o", "fresh.csv")
        Path("again.csv").write_bytes(Path(name).read_bytes())
        score("-o", "again.csv", "--resume", *words)
        assert Path("again.csv").read_bytes() == expected.read_bytes()
