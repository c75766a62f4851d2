"""A folder of `noref export` is enough to get noref's scores: here with numpy and ONNX Runtime, from its rule alone."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import onnxruntime as ort
import pytest

import noref
from noref.card import Preprocessing
from noref.cli import run
from noref.scoring.network import DEFAULT


def cubic(x):
    x = np.abs(x)
    return np.where(x < 1, 1.5 * x**3 - 2.5 * x**2 + 1, np.where(x < 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0))


def lanczos(x):
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


def along_rows(lines, m, rule):
    """(L, n, 3) -> (L, m, 3) whole levels, by README.md's step 3."""
    n = lines.shape[1]
    step = n / m
    wide = max(1, step)
    f = {"bicubic": cubic, "lanczos": lanczos}[rule["filter"]]
    out = np.empty((len(lines), m, 3))
    for i in range(m):
        centre = (i + 0.5) * step
        first = max(0, math.floor(centre - rule["support"] * wide + 0.5))
        end = min(n, math.floor(centre + rule["support"] * wide + 0.5))
        weights = f((np.arange(first, end) + 0.5 - centre) / wide)
        out[:, i] = np.tensordot(lines[:, first:end], weights / weights.sum(), axes=(1, 0))
    return np.clip(np.floor(out + 0.5), 0, 255)


def new_size(width, height, size):
    """By README.md's step 2."""
    short, long = min(width, height), max(width, height)
    assert long <= size["max_aspect"] * short
    fit = math.inf if size["max_pixels"] is None else math.sqrt(size["max_pixels"] / (width * height))
    scale = min(1, fit)
    least = max(size["min_side"], size["crop"] or 0) / short
    if least > scale:
        scale = least if size["crop"] else min(least, max(fit, size["least_side"] / short))
    return max(1, round(width * scale)), max(1, round(height * scale))


def starts(n, side):
    gaps = math.ceil(n / side) - 1
    return [round(i * (n - side) / gaps) for i in range(gaps + 1)] if gaps else [(n - side) // 2]


def by_the_rule(folder, picture):
    """The score from the folder's files alone."""
    rule = json.loads((folder / "model.card.json").read_text())["input_rule"]
    height, width = picture.shape[:2]
    to_width, to_height = new_size(width, height, rule["size"])
    levels = picture.astype(float)
    if to_width != width:
        levels = along_rows(levels, to_width, rule["resize"])
    if to_height != height:
        levels = along_rows(levels.transpose(1, 0, 2), to_height, rule["resize"]).transpose(1, 0, 2)
    levels, side = levels.astype(np.uint8)[None], rule["size"]["crop"]
    if side:
        corners = [(top, left) for top in starts(to_height, side) for left in starts(to_width, side)]
        levels = np.concatenate([levels[:, top : top + side, left : left + side] for top, left in corners])
    session = ort.InferenceSession(str(folder / "model.onnx"))
    quality = session.run(None, {rule["tensor"]["name"]: levels})[0].mean()
    return 100 * min(1, max(0, quality))


def picture(height, width, seed=0):
    """Waves and noise."""
    y, x = np.mgrid[:height, :width]
    waves = 128 + 90 * np.sin(x / 9) * np.cos(y / 13)
    noise = np.random.default_rng(seed).normal(0, 15, (height, width, 3))
    return (waves[..., None] * (1, 0.8, 0.6) + noise).clip(0, 255).astype(np.uint8)


SIZES = [(480, 640), (700, 300), (100, 130), (384, 650), (60, 2000), (501, 501)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "folder"
    assert run(["export", "default", "--out", str(path)]) == 0
    return path


@pytest.mark.parametrize("size", SIZES)
def test_numpy_alone_gets_norefs_score(size, folder):
    image = picture(*size)
    assert by_the_rule(folder, image) == pytest.approx(noref.score(image).value, abs=0.05)


@pytest.mark.parametrize("sizing", [
    Preprocessing(max_pixels=40_000, min_side=64, crop=96, resample="lanczos"),
    Preprocessing(max_pixels=None, min_side=64, crop=128),
    Preprocessing(max_pixels=None, min_side=150),
])  # fmt: skip
def test_so_it_does_for_crops_and_other_filters(sizing, tmp_path, make_model):
    text = """<ir_version: 8, opset_import: ["" : 17]> g (uint8[n, h, w, 3] image) => (float[n] quality) {
        x = Cast<to = 1>(image) y = ReduceMean<axes = [1, 2, 3], keepdims = 0>(x) t = Constant<value_float = 255.0>()
        quality = Div(y, t) }"""
    assert run(["export", str(make_model(text, sizing)), "--out", str(tmp_path / "folder")]) == 0
    for size in [(300, 400), (90, 70), (128, 131)]:
        image = picture(*size)
        expected = noref.score(image, model=tmp_path / "folder" / "model.onnx").value
        assert by_the_rule(tmp_path / "folder", image) == pytest.approx(expected, abs=0.01)


def test_the_words_name_the_numbers_of_the_rule(folder, tmp_path, make_model):
    card = json.loads((folder / "model.card.json").read_text())
    words = (folder / "README.md").read_text()
    size = card["input_rule"]["size"]
    assert f"sqrt({size['max_pixels']} / (width * height))" in words
    assert f"scale = min({size['min_side']} / short, max(fit, {size['least_side']} / short))" in words
    assert f"long > {size['max_aspect']} * short" in words
    assert card["sha256"] in words
    assert "$" not in words
    text = '<ir_version: 8, opset_import: ["" : 17]> g (uint8[n, h, w, 3] image) => (float[n] quality) {}'
    model = make_model(text, Preprocessing(max_pixels=None, min_side=50, crop=60, resample="lanczos"))
    assert run(["export", str(model), "--out", str(tmp_path / "folder")]) == 0
    words = (tmp_path / "folder" / "README.md").read_text()
    assert "scale = max(1, max(50, 60) / short)" in words
    assert "squares of 60 x 60" in words
    assert "centre - 3 * wide" in words


def test_it_is_the_shipped_file_and_can_be_scored_with(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "model.card.json", "model.onnx", "score.mjs"]
    assert (folder / "model.onnx").read_bytes() == DEFAULT.read_bytes()
    scorer, image = noref.Scorer(folder / "model.onnx"), picture(240, 320)
    assert scorer.score(image).value == noref.score(image).value
    assert scorer.card.sha256 == noref.Scorer().card.sha256


def test_what_is_there_stays_unless_it_may_be_replaced(folder, capsys):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert run(["export", "default", "--out", str(folder)]) == 2
    assert "is there; --overwrite replaces it" in capsys.readouterr().err
    assert run(["export", "default", "--out", str(folder), "--overwrite"]) == 0
    assert run(["export", str(folder / "model.onnx"), "--out", str(folder), "--overwrite"]) == 2
    assert "is one of the inputs" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_foreign_files_stay(tmp_path, capsys):
    (tmp_path / "README.md").write_text("# mine")
    assert run(["export", "default", "--out", str(tmp_path), "--overwrite"]) == 2
    assert "was not written by noref" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


@pytest.mark.parametrize(("model", "out", "says"), [
    ("default", "model.pt", "ends in .onnx"),
    ("default", "nowhere/folder", "cannot be made"),
    ("default", "nowhere/model.onnx", "not an .onnx file in a folder"),
    ("missing.onnx", "folder", "there is no such model file"),
    ("run", "folder", "no trained model"),
])  # fmt: skip
def test_wrong_calls_leave_nothing(model, out, says, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(["export", model, "--out", out]) == 2
    assert says in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_default_is_exported_without_torch(tmp_path):
    call = f"run(['export', 'default', '--out', {str(tmp_path / 'model.onnx')!r}])"
    code = f"import sys; sys.modules['torch'] = sys.modules['onnx'] = None; from noref.cli import run; sys.exit({call})"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.card.json", "model.onnx"]
