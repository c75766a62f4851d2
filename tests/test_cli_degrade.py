"""`noref degrade` as it is typed."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from noref.cli import run
from noref.data.readers import READERS
from noref.degrade.pipeline import apply


@pytest.fixture
def photo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((48, 36)).save(folder / "a.png")
    return folder / "a.png"


def test_one_distortion_is_what_apply_gives(photo, tmp_path, capsys):
    assert run(["degrade", str(photo), "--distortion", "white_noise", "--level", "4", "--seed", "3"]) == 0
    assert capsys.readouterr().out == "a_white_noise_4.png\n"
    wanted = apply(np.asarray(Image.open(photo)), "white_noise", 4, np.random.default_rng(3))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a_white_noise_4.png")), wanted)
    assert run(["degrade", str(photo), "-d", "white_noise", "-l", "4", "--seed", "3", "--out", "b.bmp"]) == 0
    assert np.array_equal(np.asarray(Image.open("b.bmp")), wanted)


def test_the_sheet(photo, capsys):
    assert run(["degrade", str(photo), "--sheet", "sheet.png"]) == 0
    assert Image.open("sheet.png").size[0] > 10 * 36
    assert capsys.readouterr().out == "sheet.png\n"


def test_a_set_is_read_by_the_csv_reader_and_goes_on(photo, capsys):
    Image.open(photo).transpose(Image.Transpose.ROTATE_90).save(photo.with_name("b.png"))
    words = ["degrade", str(photo.parent), "--out", "set", "--compositions", "3", "--workers", "2"]
    assert run(words) == 0
    assert "6 images, 6 new" in capsys.readouterr().err
    records = READERS["csv"]("set")
    assert len(records) == 6
    assert run(words) == 0
    captured = capsys.readouterr()
    assert "6 images, 0 new" in captured.err
    assert captured.out == "set/set.csv\n"
    assert run([*words, "--seed", "1"]) == 2
    assert "was begun with" in capsys.readouterr().err


def test_all_distortions_at_all_levels(photo):
    assert run(["degrade", str(photo), "--out", "set"]) == 0
    with open("set/set.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 120
    assert len({(row["distortion"], row["level"]) for row in rows}) == 120


def test_a_broken_photo_is_listed_and_the_status_is_1(photo, capsys):
    photo.with_name("bad.jpg").write_bytes(b"no image")
    assert run(["degrade", str(photo.parent), "--out", "set", "--compositions", "1"]) == 1
    assert "bad.jpg: not an image that can be read; skipped" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["PHOTO", "-d", "jpge", "-l", "3"], 2, "did you mean jpeg"),
        (["PHOTO", "-d", "jpeg", "-l", "6"], 2, "level must be 1 to 5, got 6"),
        (["PHOTO", "-d", "jpeg", "-l", "-1"], 2, "level must be 1 to 5, got -1"),
        (["PHOTO", "-d", "jpeg", "-l", "x"], 2, "whole number from 1 to 5, got 'x'"),
        (["PHOTO", "-d", "jpeg"], 2, "--level 1-5 is missing"),
        (["PHOTO", "-l", "3"], 2, "--distortion NAME is missing"),
        (["PHOTO"], 2, "--out DIR"),
        (["PHOTO", "-d", "jpeg", "-l", "3", "--sheet", "s.png"], 2, "choose one"),
        (["PHOTO", "--sheet", "s.png", "--compositions", "3"], 2, "choose one"),
        (["PHOTO", "--sheet", "s.png", "--out", "x.png"], 2, "leave out --out"),
        (["PHOTO", "--sheet", "s.jpg"], 2, "without loss"),
        (["PHOTO", "-d", "jpeg", "-l", "3", "--out", "gone/x.png"], 2, "there is no folder gone"),
        (["PHOTO", "-d", "jpeg", "-l", "3", "--out", "PHOTO"], 2, "overwrite the photo"),
        (["PHOTOS", "-d", "jpeg", "-l", "3"], 2, "take one image"),
        (["PHOTO", "--out", "set", "--workers", "0"], 2, "1 or more"),
        (["gone.jpg", "-d", "jpeg", "-l", "3"], 1, "gone.jpg"),
        (["gone", "--out", "set"], 1, "gone: no such file or folder"),
        (["EMPTY", "--out", "set"], 1, "no image file"),
        ([], 2, "Missing argument"),
    ],
)
def test_a_wrong_call_says_why(words, status, says, photo, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    places = {"PHOTO": str(photo), "PHOTOS": str(photo.parent), "EMPTY": str(tmp_path / "empty")}
    assert run(["degrade", *(places.get(word, word) for word in words)]) == status
    assert says in capsys.readouterr().err
    assert not (tmp_path / "s.png").exists()


def test_help_has_examples(capsys):
    assert run(["degrade", "--help"]) == 0
    assert "noref degrade photo.jpg --sheet sheet.png" in capsys.readouterr().out


def test_torch_is_never_imported(photo):
    code = (
        "import sys; from noref.cli import run; "
        f"status = run(['degrade', {str(photo)!r}, '-d', 'blur', '-l', '1']); "
        f"status += run(['degrade', {str(photo)!r}, '--out', 'set', '--compositions', '1']); "
        "sys.exit(status if 'torch' not in sys.modules else 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 2  # no `blur`


def test_without_the_extra_one_line_says_how_to_install_it(photo):
    code = (
        "import sys; sys.modules['cv2'] = None; from noref.cli import run; "
        f"sys.exit(run(['degrade', {str(photo)!r}, '-d', 'jpeg', '-l', '1']))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip() == "Error: noref.degrade needs an extra: pip install 'noref[degrade]'"


@pytest.mark.parametrize("words", [["--sheet"], ["-d", "jpeg", "-l", "1", "--out"]])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_only_pictures_that_noref_wrote_are_replaced(photo, capsys, words, suffix):
    own, foreign = f"own.{suffix}", Path(f"foreign.{suffix}")
    Image.open(photo).save(foreign)
    before = photo.read_bytes(), foreign.read_bytes()
    for more in ([], ["--overwrite"]):
        assert run(["degrade", str(photo), *words, str(foreign), *more]) == 2
        assert "was not written by noref" in capsys.readouterr().err
        assert run(["degrade", str(photo), *words, str(photo), *more]) == 2
    assert (photo.read_bytes(), foreign.read_bytes()) == before
    assert run(["degrade", str(photo), *words, own]) == 0
    capsys.readouterr()
    assert run(["degrade", str(photo), *words, own]) == 2
    assert "--overwrite replaces it" in capsys.readouterr().err
    assert run(["degrade", str(photo), *words, own, "--overwrite"]) == 0
