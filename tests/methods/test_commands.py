"""`noref train`, `evaluate` and `export` as they are typed."""

from __future__ import annotations

import csv

import pytest

from noref.cli import run
from noref.methods import deiqt, launch
from noref.train.options import options_of


@pytest.fixture(scope="module")
def words(small):
    return [word for name, (value, _) in small.items() for word in (f"--{name.replace('_', '-')}", value)]


def test_train_export_score_and_evaluate(words, rated, tmp_path, capsys):
    out, model = tmp_path / "run", tmp_path / "model.onnx"
    assert run(["train", "deiqt", *words, "--epochs", "1", "--data", f"csv={rated}", "--out", str(out)]) == 0
    trained = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert trained["images"] == "5"
    assert -1 <= float(trained["srcc"]) <= 1

    assert run(["export", str(out), "--out", str(model)]) == 0
    capsys.readouterr()
    assert run(["score", str(rated.parent / "0.png"), "--model", str(model), "--format", "csv"]) == 0
    (row,) = csv.DictReader(capsys.readouterr().out.splitlines())
    assert 0 <= float(row["score"]) <= 100

    assert run(["evaluate", str(out), "--data", f"csv={rated}"]) == 0
    captured = capsys.readouterr()
    found = dict(line.split("\t") for line in captured.out.splitlines())
    assert trained.items() <= found.items()
    assert float(found["srcc_low"]) <= float(trained["srcc"]) <= float(found["srcc_high"])
    assert "own test part" in captured.err


def test_help_lists_every_option_of_the_recipe(capsys):
    assert run(["train", "deiqt", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for option in options_of(deiqt.Config):
        assert f"{option.flag} " in said
        assert " ".join(option.help.split()[:3]) in said
    for command in ("train", "evaluate", "export"):
        assert run([command, "--help"]) == 0
        assert f"Usage: noref {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train"], "Missing argument RECIPE"),
        (["train", "deiqt"], "Missing option --out"),
        (["train", "deikt", "--out", "OUT", "--data", "csv=x"], "did you mean deiqt?"),
        (["train", "deiqt", "--out", "OUT"], "needs --data"),
        (["train", "deiqt", "--out", "OUT", "--data", "csw=x"], "did you mean csv"),
        (["train", "deiqt", "--out", "OUT", "--data", "csv=x", "--epoch", "3"], "did you mean epochs"),
        (["train", "deiqt", "--out", "OUT", "--data", "csv=x", "--epochs", "many"], "'many' is not a whole number"),
        (["train", "deiqt", "--out", "OUT", "--data", "csv=x", "--epochs"], "--epochs needs a value"),
        (["train", "deiqt", "--out", "OUT", "--resume"], "no run to resume"),
        (["export", "OUT", "--out", "x.onnx"], "no trained model"),
        (["evaluate", "OUT", "--data", "csv"], "write NAME=PATH"),
        (["evaluate", "OUT"], "Missing option '--data'"),
    ],
)
def test_a_wrong_call_is_status_2_and_a_hint(words, says, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scores.csv").write_text("path,score\n")
    (tmp_path / "OUT").mkdir()
    assert run(words) == 2
    assert says in capsys.readouterr().err


def test_broken_files_are_status_1_and_named(tmp_path, rated, capsys):
    (tmp_path / "scores.csv").write_text("path,score\na.png,good\n")
    out = str(tmp_path / "run")
    assert run(["train", "deiqt", "--data", f"csv={tmp_path}", "--out", out]) == 1
    assert "scores.csv, line 2" in capsys.readouterr().err
    (tmp_path / "c.yaml").write_text("lr: [\n")
    config = str(tmp_path / "c.yaml")
    assert run(["train", "deiqt", "--data", f"csv={rated}", "--out", out, "--config", config]) == 1
    assert "c.yaml, line 2: not YAML" in capsys.readouterr().err


def test_a_stopped_run_says_how_to_go_on(words, rated, tmp_path, capsys, monkeypatch):
    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "train", stopped)
    assert run(["train", "deiqt", *words, "--data", f"csv={rated}", "--out", str(tmp_path / "run")]) == 130
    assert "--resume goes on" in capsys.readouterr().err


def test_a_model_on_the_images_it_learnt_from_is_no_test_and_that_is_said(words, rated, tmp_path, capsys):
    assert run(["train", "deiqt", "--data", f"csv={rated}", "--out", str(tmp_path / "run"), *words]) == 0
    own = ["--split", str(tmp_path / "run" / "split.json")]
    for part, cautioned in (([], False), (own, False), (["--split", "all"], True)):
        capsys.readouterr()
        assert run(["evaluate", str(tmp_path / "run"), "--data", f"csv={rated}", *part]) == 0
        assert ("CAUTION: deiqt-csv learnt from 19 of these 24 images" in capsys.readouterr().err) is cautioned
