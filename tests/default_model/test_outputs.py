"""The command that gives an export its outputs, on a model whose feature is its mean colour; intervals from runs."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
from PIL import Image

import noref
from noref.card import Card, Preprocessing, Scale
from noref.default_model import interval_fit, outputs
from noref.default_model.distorted_views import held_out
from noref.errors import DataError

MODEL = """<ir_version: 8, opset_import: ["" : 18]>
g (uint8[n, h, w, 3] image) => (float[n] quality)
<int64[2] sides = {1, 2}, float[3, 1] w = {0.001, 0.001, 0.001}, int64[1] last = {1}> {
    level = Cast<to = 1>(image)
    seen = ReduceMean<keepdims = 0>(level, sides)
    line = MatMul(seen, w)
    quality = Squeeze(line, last)
}"""


@pytest.fixture
def runs(tmp_path, make_model):
    """Two runs with test parts: predicted 0.5, people say 0.5 and a residual that grows from 0 to 0.3."""
    found = []
    for number in range(2):
        folder = tmp_path / f"run{number}"
        folder.mkdir()
        (folder / "model.onnx").write_bytes(b"x")
        Card("run", "", Scale(1, 5), Preprocessing()).write(folder / "model.onnx")
        with (folder / "predictions.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "predicted", "score", "quality"])
            for i in range(100):
                quality = 0.5 + 0.003 * i * (-1) ** i
                writer.writerow([f"{number}-{i}.jpg", 3, 1 + 4 * quality, 0.5])
        found.append(folder)
    return found


def test_held_out_scores_are_in_points_of_a_hundred(runs):
    scores = interval_fit.held_out_scores(runs)
    assert scores.shape == (200, 2)
    assert scores[:, 0] == pytest.approx(50)
    assert sorted(interval_fit.residuals(scores, None)) == pytest.approx(sorted([0.3 * i for i in range(100)] * 2))


def test_a_picture_that_two_runs_tested_is_refused(runs):
    with pytest.raises(DataError, match=r"0-0\.jpg was tested by another run too"):
        interval_fit.held_out_scores([runs[0], runs[0]])


def test_a_width_by_score_follows_residuals_that_depend_on_it():
    rng = np.random.default_rng(0)
    predicted = rng.uniform(10, 90, 4000)
    human = predicted + rng.normal(0, 1, 4000) * (14 - 0.13 * predicted)
    scores = np.stack([predicted, human], 1)
    spread = interval_fit.spread_of(scores)
    wide, narrow = interval_fit.spreads(np.array([20.0, 80.0]), spread)
    assert 1.8 < wide / narrow < 3.2  # 11.4 / 3.6, less the offset
    figures = [interval_fit.coverage_figures(scores, each) for each in (None, spread)]
    assert [one["coverage"] for one in figures] == pytest.approx([0.9, 0.9], abs=0.02)
    assert figures[1]["mean width"] < 0.95 * figures[0]["mean width"]
    assert min(figures[0]["coverage by thirds of the score"]) < min(figures[1]["coverage by thirds of the score"])
    assert interval_fit.is_worth_it(*figures)


def test_a_constant_width_is_kept_where_nothing_is_gained():
    even = {"mean width": 30.0, "coverage by thirds of the score": [0.88, 0.9, 0.92]}
    assert not interval_fit.is_worth_it(even, even | {"mean width": 29.0})
    assert interval_fit.is_worth_it(even, even | {"mean width": 28.0})
    assert interval_fit.is_worth_it(even | {"coverage by thirds of the score": [0.84, 0.9, 0.94]}, even)


def test_the_command_adds_all_and_the_model_scores_with_them(runs, make_model, tmp_path, monkeypatch, capsys):
    model = make_model(MODEL)
    quality = noref.Scorer(model).score(np.full((240, 250, 3), 200, np.uint8)).quality
    photos = tmp_path / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    names = [name for name in (f"{i}.png" for i in range(20)) if not held_out(name)][:4]
    for name in names:
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize((64, 48), Image.Resampling.BICUBIC).save(photos / name)
    words = ["--photos", photos, "--cache", tmp_path / "cache", "--passes", "1", "--heldout", *runs]
    monkeypatch.setattr("sys.argv", ["outputs", *map(str, [model, *words])])
    monkeypatch.setattr(outputs, "SIZES", [(40, 50)])
    monkeypatch.setattr("noref.default_model.fault_head.EPOCHS", 2)
    for _ in range(2):  # a second time replaces what is there
        outputs.main()
        assert "quality, features, faults" in capsys.readouterr().out
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == len(names)
    scorer = noref.Scorer(model)
    found = scorer.score(np.full((240, 250, 3), 200, np.uint8))
    assert found.quality == quality
    assert scorer.has_reasons
    assert len(scorer.card.outputs["faults"]) == 24
    half = sorted([0.3 * i for i in range(100)] * 2)[math.ceil(201 * 0.9) - 1]
    assert found.interval == pytest.approx((found.value - half, found.value + half), abs=0.01)


def test_a_model_that_cannot_be_read_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["outputs", str(tmp_path / "none.onnx")])
    with pytest.raises(SystemExit, match="2"):
        outputs.main()
    assert capsys.readouterr().err.splitlines()[-1].endswith("none.onnx: No such file or directory")
