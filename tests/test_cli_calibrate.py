"""`noref calibrate`: from a table of labels to a model that any command takes."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from scipy.stats import spearmanr

import noref
from noref import Scorer
from noref.card import read_card
from noref.cli import run

FEATURED = """
<ir_version: 8, opset_import: ["" : 18]>
featured (uint8[n, h, w, 3] image) => (float[n] quality, float[n, 3] features)
<float[3] weight = {0.3333, 0.3333, 0.3333}>
{
    level = Cast<to = 1>(image)
    axes = Constant<value_ints = [1, 2]>()
    mean = ReduceMean<keepdims = 0>(level, axes)
    top = Constant<value_float = 255.0>()
    features = Div(mean, top)
    quality = MatMul(features, weight)
}
"""


@pytest.fixture
def model(make_model):
    """Quality is the mean grey level, features are the mean levels of red, green and blue."""
    return make_model(FEATURED, name="featured")


@pytest.fixture
def pictures(tmp_path):
    """Noise of 60 tones; (name, mean level of red, of all) in [0, 1]."""
    rng, rows = np.random.default_rng(0), []
    for number in range(60):
        tone = rng.uniform(30, 220, 3)
        pixels = (tone + rng.normal(0, 20, (240, 240, 3))).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        rows.append((f"{number}.png", pixels[..., 0].mean() / 255, pixels.mean() / 255))
    return rows


def write(path, header, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header.split(","), *rows])
    return str(path)


def reds(pictures):
    """Labels of somebody who likes red, 1 to 5."""
    return [(name, round(1 + 4 * red, 3)) for name, red, _ in pictures]


def test_a_taste_is_learnt_and_the_file_is_a_model(pictures, model, tmp_path, capsys):
    labels = write(tmp_path / "labels.csv", "path,score", reds(pictures)[:40])
    out = tmp_path / "mine.onnx"
    assert run(["calibrate", labels, "--out", str(out), "--model", str(model), "--range", "1,5"]) == 0
    shown = capsys.readouterr()
    lines = {line.split()[0]: line.split()[1:] for line in shown.out.splitlines()}
    assert float(lines["calibrated"][0]) > float(lines["featured"][0])
    assert "40 pictures, 40 scenes" in shown.err
    rest = pictures[40:]
    scores = Scorer(out).score_many([tmp_path / name for name, _, _ in rest])
    assert spearmanr(scores, [red for _, red, _ in rest]).statistic > 0.95
    assert np.abs(np.array(scores) - [100 * red for _, red, _ in rest]).max() < 10
    card = read_card(out)
    assert card.name == "mine"
    assert card.training["calibrated on"]["pictures"] == 40
    assert str(card.scale) == "1-5, higher is better"
    assert {row["metric"] for row in card.results} == {"srcc", "plcc", "rmse"}
    residuals = card.outputs["interval"]["residuals"]
    assert len(residuals) == 40
    rmse = next(row["value"] for row in card.results if row["metric"] == "rmse" and "calibrated" in row["protocol"])
    assert np.sqrt(np.mean(np.square(residuals))) == pytest.approx(rmse, rel=0.05)


def test_dmos_turns_the_direction(pictures, model, tmp_path, capsys):
    labels = write(tmp_path / "l.csv", "path,score", [(name, 100 - 100 * red) for name, red, _ in pictures])
    out = tmp_path / "mine.onnx"
    assert run(["calibrate", labels, "--out", str(out), "--model", str(model), "--lower-is-better"]) == 0
    scores = Scorer(out).score_many([tmp_path / name for name, _, _ in pictures])
    assert spearmanr(scores, [red for _, red, _ in pictures]).statistic > 0.95
    assert read_card(out).scale.higher_is_better is False


def test_yes_and_no_give_a_threshold_and_a_plot(pictures, model, tmp_path, capsys):
    words = [(name, "Yes" if red > 0.5 else "no") for name, red, _ in pictures]
    labels, out, plot = write(tmp_path / "l.csv", "path,good", words), tmp_path / "mine.onnx", tmp_path / "cuts.png"
    assert run(["calibrate", labels, "--out", str(out), "--model", str(model), "--plot", str(plot)]) == 0
    shown = capsys.readouterr()
    assert "threshold  precision  recall  kept" in shown.out
    assert "interval" not in read_card(out).outputs
    least = read_card(out).training["calibrated on"]["threshold"]["score"]
    assert f"--min {least:.1f}" in shown.err
    scores = np.array(Scorer(out).score_many([tmp_path / name for name, _, _ in pictures]))
    right = (scores >= least) == [red > 0.5 for _, red, _ in pictures]
    assert right.mean() > 0.85
    assert Image.open(plot).size == (960, 600)


def test_a_picture_that_cannot_be_read_is_listed_and_left_out(pictures, model, tmp_path, capsys):
    rows = reds(pictures)[:30]
    (tmp_path / "1.png").write_bytes(b"\x89PNG broken")
    (tmp_path / "2.png").unlink()
    labels = write(tmp_path / "l.csv", "path,score", rows)
    assert run(["calibrate", labels, "--out", str(tmp_path / "m.onnx"), "--model", str(model), "--range", "1,5"]) == 1
    shown = capsys.readouterr().err
    assert "28 pictures" in shown
    assert "1.png: " in shown
    assert "2.png: " in shown


def test_a_calibrated_model_knows_what_it_has_learnt_from(pictures, model, tmp_path, capsys):
    labels, out = write(tmp_path / "l.csv", "path,score", reds(pictures)[:40]), str(tmp_path / "mine.onnx")
    assert run(["calibrate", labels, "--out", out, "--model", str(model), "--range", "1,5"]) == 0
    rest = write(tmp_path / "rest.csv", "path,score", reds(pictures)[30:])
    capsys.readouterr()
    assert run(["evaluate", out, "--data", f"csv={rest}"]) == 0
    shown = capsys.readouterr()
    assert "CAUTION: mine learnt from 10 of these 30 images" in shown.err
    assert run(["calibrate", labels, "--out", out, "--model", str(model), "--range", "1,5", "--overwrite"]) == 0
    again = str(tmp_path / "again.onnx")
    assert run(["calibrate", labels, "--out", again, "--model", out, "--range", "1,5"]) == 0
    assert "CAUTION: mine learnt from 40 of these 40 pictures" in capsys.readouterr().err


def test_a_scale_that_was_guessed_is_said(pictures, model, tmp_path, capsys):
    labels = write(tmp_path / "l.csv", "path,score", reds(pictures))
    assert run(["calibrate", labels, "--out", str(tmp_path / "m.onnx"), "--model", str(model)]) == 0
    assert "--range LOW,HIGH" in capsys.readouterr().err


WRONG = {
    "few": (lambda rows: ("path,score", rows[:19]), [], "19 labels, 20 or more are needed"),
    "constant": (lambda rows: ("path,score", [(name, 3) for name, _ in rows]), [], "every score is 3"),
    "column": (lambda rows: ("path,mos", rows), [], "column"),
    "both": (lambda rows: ("path,score,good", [(*row, "yes") for row in rows]), [], "score and good"),
    "word": (lambda rows: ("path,good", [(name, "maybe") for name, _ in rows]), [], "line 2: good 'maybe' is neither"),
    "no number": (lambda rows: ("path,score", [(rows[0][0], "x"), *rows[1:]]), [], "line 2: score 'x' is no number"),
    "twice": (lambda rows: ("path,score", [*rows, (rows[0][0], 2)]), [], "0.png is there already, in line 2"),
    "outside": (lambda rows: ("path,score", rows), ["--range", "2,5"], "is outside of 2-5"),
    "missing": (lambda rows: ("path,score", [(f"no{n}", s) for n, s in rows]), [], "0 of 60 pictures can be read"),
}


@pytest.mark.parametrize(("make", "options", "message"), WRONG.values(), ids=WRONG)
def test_bad_labels_are_refused_by_name(make, options, message, pictures, model, tmp_path, capsys):
    labels = write(tmp_path / "l.csv", *make(reds(pictures)))
    assert run(["calibrate", labels, "--out", str(tmp_path / "m.onnx"), "--model", str(model), *options]) == 1
    shown = capsys.readouterr().err
    assert message in shown
    assert "l.csv" in shown
    assert not (tmp_path / "m.onnx").exists()


def test_wrong_calls(pictures, model, brightness, tmp_path, capsys):
    labels = write(tmp_path / "l.csv", "path,score", reds(pictures))
    good = write(tmp_path / "g.csv", "path,good", [(name, n % 2) for n, (name, _) in enumerate(reds(pictures))])
    (tmp_path / "there.onnx").write_bytes(b"precious")
    out = ["--out", str(tmp_path / "m.onnx")]
    plain = ["--model", str(model)]
    for words, message in (
        ([labels], "Missing option '--out'"),
        ([str(tmp_path / "none.csv"), *out, *plain], "none.csv"),
        ([labels, "--out", str(tmp_path / "m.bin"), *plain], "ends in .onnx"),
        ([labels, "--out", str(tmp_path / "no" / "m.onnx"), *plain], "there is no folder"),
        ([labels, "--out", str(tmp_path / "there.onnx"), *plain], "was not written by noref"),
        ([labels, "--out", str(model), *plain], "is there; --overwrite"),
        ([labels, "--out", str(model), *plain, "--overwrite"], "is the model itself"),
        ([labels, *out, *plain, "--range", "5"], "write LOW,HIGH"),
        ([labels, *out, *plain, "--plot", str(tmp_path / "p.png")], "yes and no"),
        ([good, *out, *plain, "--range", "0,1"], "neither range nor direction"),
        ([good, *out, *plain, "--plot", str(tmp_path / "p.svg")], "ends in .png"),
        ([labels, *out, "--model", "defualt"], "did you mean default"),
    ):
        assert run(["calibrate", *words]) in (1, 2), words
        assert message in capsys.readouterr().err
    assert run(["calibrate", labels, *out, "--model", str(brightness)]) == 1
    assert "puts out no features" in capsys.readouterr().err
    assert (tmp_path / "there.onnx").read_bytes() == b"precious"
    assert not (tmp_path / "m.onnx").exists()


BASE = """
import sys
sys.modules.update(dict.fromkeys(("torch", "scipy", "onnx", "pandas", "sklearn", "matplotlib", "cv2")))
from noref.cli import run
sys.exit(run(sys.argv[1:]))
"""


def test_it_runs_in_the_base_install(pictures, model, tmp_path):
    labels = write(tmp_path / "l.csv", "path,good", [(name, int(red > 0.5)) for name, red, _ in pictures])
    words = ["calibrate", labels, "--out", str(tmp_path / "m.onnx"), "--model", str(model)]
    done = subprocess.run([sys.executable, "-c", BASE, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "m.card.json").read_text())["name"] == "m"
    words[3], plot = str(tmp_path / "other.onnx"), ["--plot", str(tmp_path / "p.png")]
    done = subprocess.run([sys.executable, "-c", BASE, *words, *plot], capture_output=True, text=True, check=False)
    assert "pip install 'noref[report]'" in done.stderr
    assert not (tmp_path / "other.onnx").exists()


def test_the_default_can_be_calibrated(pictures, tmp_path, capsys):
    labels, out = write(tmp_path / "l.csv", "path,score", reds(pictures)[:20]), str(tmp_path / "mine.onnx")
    assert run(["calibrate", labels, "--out", out, "--range", "1,5"]) == 0
    assert run(["score", str(tmp_path / "0.png"), "--model", out]) == 0


def test_other_commands_take_the_calibrated_model_as_any_other(pictures, model, tmp_path, capsys):
    pytest.importorskip("jinja2", reason="needs the report extra")
    labels, out = write(tmp_path / "l.csv", "path,score", reds(pictures)[:40]), str(tmp_path / "mine.onnx")
    assert run(["calibrate", labels, "--out", out, "--model", str(model), "--range", "1,5"]) == 0
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, _, _ in pictures[40:48]:
        (tmp_path / name).rename(photos / name)
    pairs = ["gmad", "pairs", "--defender", out, "--attacker", str(model), "--images", str(photos), "--levels", "2"]
    assert run([*pairs, "--out", str(tmp_path / "pairs")]) == 0
    assert run(["explain", str(photos / "40.png"), "--model", out, "--out", str(tmp_path / "maps")]) == 0
    assert "mine" in (tmp_path / "pairs" / "pairs.csv").read_text()


def test_the_torch_twin_computes_the_calibrated_graph(pictures, model, tmp_path, capsys):
    torch = pytest.importorskip("torch", reason="needs the train extra")
    labels, out = write(tmp_path / "l.csv", "path,score", reds(pictures)[:40]), tmp_path / "mine.onnx"
    assert run(["calibrate", labels, "--out", str(out), "--model", str(model), "--range", "1,5"]) == 0
    pixels = np.asarray(Image.open(tmp_path / "50.png"))
    twin = noref.load_torch(out)(torch.from_numpy(pixels / 255).float().permute(2, 0, 1)[None])
    assert float(twin) == pytest.approx(Scorer(out).score(pixels).quality, abs=1e-4)


def test_the_service_scores_with_a_calibrated_model(pictures, model, tmp_path, capsys):
    pytest.importorskip("fastapi", reason="needs the serve extra")
    from fastapi.testclient import TestClient

    from noref.serve.app import create_app
    from noref.serve.settings import Settings

    labels, out = write(tmp_path / "l.csv", "path,score", reds(pictures)[:40]), tmp_path / "mine.onnx"
    assert run(["calibrate", labels, "--out", str(out), "--model", str(model), "--range", "1,5"]) == 0
    photo = tmp_path / "50.png"
    with TestClient(create_app(Settings(models=(str(out),)))) as client:
        (found,) = client.post("/v1/score", content=photo.read_bytes()).json()["results"]
    assert found["score"] == pytest.approx(Scorer(out).score(photo).value)
    assert found["model"] == "mine"
