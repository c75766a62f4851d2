"""Reasons: a model whose faults are worked out by hand, through Python, the command line and --resume."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import noref
from noref.card import read_card
from noref.cli import run as noref_run
from noref.degrade.pipeline import DISTORTIONS
from noref.errors import ModelError
from noref.scoring.reasons import WORDS, Reason, in_words

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
faulty (uint8[n, h, w, 3] image) => (float[n] quality, float[n, 3] faults) {
    level = Cast<to = 1>(image)
    top = Constant<value_float = 255.0>()
    mean = ReduceMean<axes = [1, 2], keepdims = 0>(level)
    faults = Div(mean, top)
    quality = ReduceMean<axes = [1], keepdims = 0>(faults)
}"""  # a picture's red, green and blue are the severities of three faults
GROUPS = {"motion_blur": "blur", "lens_blur": "blur", "white_noise": "noise"}


@pytest.fixture
def model(make_model):
    path = make_model(TEXT)
    outputs = {"faults": GROUPS, "interval": {"residuals": [float(value) for value in range(1, 100)]}}
    dataclasses.replace(read_card(path), outputs=outputs).write(path)
    return path


def coloured(red, green, blue):
    return np.full((240, 240, 3), (red, green, blue), np.uint8)


def test_severities_come_strongest_first_with_their_groups(model):
    found = noref.Scorer(model).score(coloured(51, 255, 102))
    assert [(r.name, r.group) for r in found.reasons] == [
        ("lens_blur", "blur"), ("white_noise", "noise"), ("motion_blur", "blur"),
    ]  # fmt: skip
    assert [r.severity for r in found.reasons] == pytest.approx([1.0, 0.4, 0.2])
    assert isinstance(found.reasons[0], noref.Reason)
    assert dataclasses.asdict(found)["reasons"][0]["severity"] == 1.0


def test_a_clean_picture_has_no_reasons(model):
    assert noref.Scorer(model).score(coloured(0, 10, 0)).reasons == []


def test_models_without_faults_have_no_reasons_and_no_interval(brightness):
    found = noref.Scorer(brightness).score(coloured(1, 2, 3))
    assert (found.reasons, found.interval) == ([], None)


def test_the_card_must_name_each_fault(model):
    dataclasses.replace(read_card(model), outputs={"faults": {"jpeg": "compression"}}).write(model)
    with pytest.raises(ModelError, match="puts out 3 faults, its card names 1"):
        noref.Scorer(model)


def test_words():
    assert WORDS.keys() == DISTORTIONS.keys()
    assert [str(Reason("jpeg", "", s)).split("(")[1] for s in (0.39, 0.4, 0.7)] == ["slight)", "moderate)", "strong)"]
    faults = [Reason(name, group, 0.9 - i / 10) for i, (name, group) in enumerate(GROUPS.items())]
    assert in_words(faults) == "motion blur (strong), noise (strong)"
    assert in_words([Reason("jpeg", "", 0.24)]) == ""


@pytest.fixture
def run(model, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    for name, colour in {"a": (255, 60, 102), "b": (10, 10, 10)}.items():
        Image.fromarray(coloured(*colour)).save(f"{name}.png")
    (tmp_path / "c.png").write_bytes(b"")

    def call(*words):
        status = noref_run(["score", "a.png", "b.png", "c.png", "--model", str(model), *words])
        return status, *capfd.readouterr()

    return call


def test_a_table_has_words(run):
    status, rows, _ = run("--why")
    first, second, third = rows.splitlines()[1:]
    assert status == 1
    assert first.endswith("motion blur (strong), noise (moderate)")
    assert "(" not in second
    assert "empty file" in third


def test_json_has_numbers(run):
    found = [json.loads(line) for line in run("--why", "--format", "jsonl")[1].splitlines()]
    assert found[0]["reasons"][0] == {"name": "motion_blur", "group": "blur", "severity": 1.0}
    assert (found[1]["reasons"], found[2]["reasons"]) == ([], None)
    assert "low" not in found[0]


def test_csv_has_names_with_numbers(run):
    rows = list(csv.DictReader(run("--why", "--interval", "0.5", "--format", "csv")[1].splitlines()))
    assert rows[0]["reasons"] == "motion_blur 1.0000; white_noise 0.4000; lens_blur 0.2353"
    assert (rows[1]["reasons"], rows[2]["reasons"]) == ("", "")
    score = float(rows[0]["score"])
    assert (float(rows[0]["low"]), float(rows[0]["high"])) == pytest.approx(
        (score - 50, min(100, score + 50)), abs=1e-3
    )
    assert (rows[0]["coverage"], rows[2]["low"]) == ("0.5", "")


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
def test_resume_keeps_the_columns(run, name):
    words = ("--why", "--interval", "0.9", "-o", name)
    run(*words)
    whole = Path(name).read_bytes()
    for end in (len(whole), len(whole) - 30, whole.index(b"\n") + 1, 5):
        Path(name).write_bytes(whole[:end])
        assert run(*words, "--resume")[0] == 1
        assert Path(name).read_bytes() == whole
    status, _, said = run("-o", name, "--resume")
    assert (status, "another choice of --why and --interval" in said) == (2, True)
    status, _, said = run("--why", "--interval", "0.8", "-o", name, "--resume")
    assert (status, "another --interval than 0.8" in said) == (2, True)
    assert Path(name).read_bytes() == whole


def test_sure_compares_the_lower_end(run):
    """Score 54.5; 90 % of 99 residuals 1 to 99: half a width of 90, so the lower end is 0."""
    Path("c.png").unlink()
    Path("b.png").unlink()
    Image.fromarray(coloured(255, 255, 255)).save("b.png")
    Image.fromarray(coloured(255, 255, 255)).save("c.png")
    assert run("--min", "50")[0] == 0
    assert run("--min", "50", "--sure")[0] == 3
    assert run("--min", "40", "--sure", "--interval", "0.1")[0] == 0
    status, _, said = run("--sure")
    assert (status, "--sure goes with --min" in said) == (2, True)


@pytest.mark.parametrize("share", ["0", "1", "90", "0.999"])
def test_a_coverage_that_cannot_be(run, share):
    status, _, said = run("--interval", share)
    assert (status, said.count("\n")) == (2, 1)
    assert "interval" in said


@pytest.mark.parametrize("words", [["--why"], ["--interval", "0.9"], ["--min", "5", "--sure"]])
def test_a_model_without_them_is_refused(run, brightness, words):
    status, _, said = run("--model", str(brightness), *words)
    assert (status, "the model brightness was exported without" in said) == (2, True)
