"""`noref evaluate` of an exported model: no torch, and intervals."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from scipy.stats import pearsonr, spearmanr

from noref.agreement import evaluate_exported, is_exported

CODE = """
import sys
if sys.argv[1] == "without":
    sys.modules["scipy"] = None
from noref.cli import run
status = run(sys.argv[2:])
assert not {"torch", "lightning_fabric", "timm", "onnx", "pandas", "sklearn"} & sys.modules.keys()
sys.exit(status)
"""


@pytest.fixture
def table(tmp_path):
    """Grey pictures, their levels, and scores that follow them with noise."""
    rng = np.random.default_rng(0)
    levels = rng.permutation(np.arange(20, 240, 10))
    scores = (levels / 2.55 * 0.8 + rng.normal(0, 12, len(levels))).clip(0, 100).round(2)
    for number, level in enumerate(levels):
        Image.new("RGB", (240, 240), (int(level),) * 3).save(tmp_path / f"{number}.png")
    rows = "".join(f"{number}.png,{score}\n" for number, score in enumerate(scores))
    (tmp_path / "scores.csv").write_text("path,score\n" + rows)
    return tmp_path / "scores.csv", levels, scores


def evaluate(scipy, *words):
    call = [sys.executable, "-c", CODE, scipy, "evaluate", *map(str, words)]
    return subprocess.run(call, capture_output=True, text=True, check=False)


def test_it_needs_no_torch(table, brightness):
    file, levels, scores = table
    done = evaluate("with", brightness, "--data", f"csv={file}")
    assert done.returncode == 0, done.stderr
    found = {name: float(value) for name, value in (line.split("\t") for line in done.stdout.splitlines())}
    assert found["srcc"] == pytest.approx(spearmanr(levels, scores).statistic, abs=1e-4)
    assert found["plcc"] == pytest.approx(pearsonr(levels, scores).statistic, abs=1e-4)
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean((levels / 2.55 - scores) ** 2)), abs=1e-2)
    for name in ("srcc", "plcc", "rmse"):
        assert found[f"{name}_low"] < found[name] < found[f"{name}_high"]


def test_without_scipy_the_extra_is_named(table, brightness):
    done = evaluate("without", brightness, "--data", f"csv={table[0]}")
    assert done.returncode == 1
    assert "pip install 'noref[evaluate]'" in done.stderr


def test_what_counts_as_exported(tmp_path):
    assert is_exported("default")
    assert is_exported("some/model.onnx")
    assert not is_exported(str(tmp_path))
    assert not is_exported("run/model.safetensors")


def test_images_of_one_reference_are_one_case_of_the_interval(table, brightness):
    file = table[0]
    plain = evaluate_exported(str(brightness), data=f"csv={file}", intervals=True).intervals["srcc"]
    lines = file.read_text().splitlines()
    rows = [f"{line},{number % 4}" for number, line in enumerate(lines[1:])]
    file.write_text("\n".join(["path,score,reference", *rows]) + "\n")
    grouped = evaluate_exported(str(brightness), data=f"csv={file}", intervals=True).intervals["srcc"]
    assert grouped != plain
