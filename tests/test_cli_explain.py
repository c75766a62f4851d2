"""`noref explain` from the command line: exit statuses, what is printed, what is refused."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from noref.card import Preprocessing
from noref.cli import run

from .conftest import BRIGHTNESS


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(path)
    return str(path)


@pytest.fixture
def model(make_model):
    return str(make_model(BRIGHTNESS.format(height="h", width="w"), Preprocessing(min_side=48)))


def call(capsys, *args):
    status = run(["explain", *args])
    return status, *capsys.readouterr()


def test_a_photo(photo, model, tmp_path, capsys):
    out = str(tmp_path / "out")
    status, printed, complained = call(capsys, photo, "--model", model, "--crop", "48", "--out", out)
    assert (status, complained) == (0, "")
    assert printed == f"1 drawn, 0 failed: {tmp_path / 'out' / 'explain.html'}\n"
    status, printed, _ = call(capsys, photo, "--model", model, "--crop", "48", "--out", out)
    assert printed.startswith("0 drawn, 1 were there, 0 failed")


def test_what_fails_is_listed_with_status_one(photo, model, tmp_path, capsys):
    missing = str(tmp_path / "none.jpg")
    status, printed, complained = call(
        capsys, photo, missing, "--model", model, "--crop", "48", "--out", str(tmp_path / "out")
    )
    assert (status, complained) == (1, f"left out: {missing}: No such file or directory\n")
    assert printed.startswith("1 drawn, 1 failed")


def test_a_name_with_a_line_break_is_one_line_of_the_list(photo, model, tmp_path, capsys):
    other = tmp_path / "a\nb.jpg"
    Image.open(photo).save(other)
    given = [str(other), photo, "--model", model, "--crop", "48", "--out", str(tmp_path / "out")]
    status, printed, complained = call(capsys, *given)
    listed = str(other).replace("\n", "\\n")
    assert (status, complained) == (1, f"left out: {listed}: its name has a line break: rename it\n")
    assert printed.startswith("1 drawn, 1 failed")


def test_a_map_that_is_named_twice_is_drawn_once(photo, model, tmp_path, capsys):
    out = tmp_path / "out"
    given = [photo, "--model", model, "--crop", "48", "--map", "quality", "--map", "quality", "--out", str(out)]
    assert call(capsys, *given)[0] == 0
    with np.load(out / "maps" / "a.npz") as kept:
        assert kept["kinds"].tolist() == ["quality"]


def test_photos_without_a_true_score_are_listed(photo, model, tmp_path, capsys):
    other = tmp_path / "b.png"
    Image.fromarray(np.zeros((60, 60, 3), np.uint8)).save(other)
    third = tmp_path / "c.png"
    Image.fromarray(np.zeros((60, 60, 3), np.uint8)).save(third)
    scores = tmp_path / "scores.csv"
    scores.write_text("path,score\na.jpg,10\nb.png,90\n")
    given = [photo, str(third), "--model", model, "--crop", "48", "--scores", str(scores), "--out", str(tmp_path / "o")]
    status, _, complained = call(capsys, *given)
    assert (status, complained) == (1, f"no true score: {third} is not in {scores}\n")


def test_true_scores_of_another_table(photo, model, tmp_path, capsys):
    Image.fromarray(np.zeros((60, 60, 3), np.uint8)).save(tmp_path / "b.png")
    scores = tmp_path / "mos.csv"
    scores.write_text("file;mos\na.jpg;2,5\nb.png;4\n")
    given = [photo, "--model", model, "--crop", "48", "--scores", str(scores), "--columns", "image=file,score=mos"]
    status, _, complained = call(capsys, *given, "--out", str(tmp_path / "seen"))
    assert status == 0
    assert "CAUTION: the range of the scores is not said; taken for it is 2.5 to 4" in complained
    assert call(capsys, *given, "--range", "1,5", "--out", str(tmp_path / "said"))[::2] == (0, "")
    assert "2.5 of 1-5" in (tmp_path / "said" / "explain.html").read_text()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--range", "1,5"], "are for --scores FILE"),
        (["--map", "qualty"], "unknown map 'qualty': did you mean quality?"),
        (["--map", "window"], "has no map window: it has quality"),
        (["--layer", "conv1"], "exported model, whose layers cannot be looked into"),
        (["--crop", "4"], "at least 32 pixels"),
        (["--model", "defualt"], "unknown model 'defualt': did you mean default?"),
        (["--scores", "none.csv"], "none.csv: no such file or folder"),
    ],
)
def test_wrong_calls_have_status_two(photo, tmp_path, capsys, args, words):
    status, printed, complained = call(capsys, photo, "--out", str(tmp_path / "out"), *args)
    assert (status, printed) == (2, "")
    assert words in complained


def test_a_call_without_photos_or_folder_and_a_typo(photo, capsys):
    assert call(capsys, "--out", "x")[0] == 2
    assert call(capsys, photo)[0] == 2
    assert run(["explian", photo]) == 2
    assert "did you mean explain" in capsys.readouterr().err


def test_help_has_an_example_and_the_kinds(capsys):
    assert run(["explain", "--help"]) == 0
    text = capsys.readouterr().out
    for words in ("noref explain photos/ --out maps", "gradcam-down", "panel-attention", "--sanity"):
        assert words in text


def test_the_local_map_needs_no_torch(photo, model, tmp_path):
    import subprocess

    code = (
        "import sys\nfrom noref.cli import run\n"
        "for name in ('torch', 'scipy', 'timm', 'cv2', 'pandas'): sys.modules[name] = None\n"
        f"sys.exit(run(['explain', {photo!r}, '--model', {model!r}, '--crop', '48', '--out', {str(tmp_path / 'o')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_sanity_check_prints_a_table_and_a_verdict(photo, model, tmp_path, capsys):
    pytest.importorskip("onnx")
    pytest.importorskip("scipy")
    status, printed, _ = call(
        capsys, photo, "--model", model, "--crop", "48", "--sanity", "--out", str(tmp_path / "out")
    )
    assert status == 1  # a mean grey level has no weights
    lines = printed.splitlines()
    assert lines[0].split("\t")[:4] == ["model", "map", "weights shuffled", "photos"]
    assert lines[-1].startswith("quality of other FAILS")
