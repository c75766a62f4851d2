"""Two processes on the CPU stand for two GPUs: the same command, one run, one report."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture(scope="module")
def noref(tmp_path_factory):
    """The command as an installed script would be, for the launcher starts the other processes by it."""
    script = tmp_path_factory.mktemp("bin") / "command.py"
    script.write_text("from noref.cli import main\nmain()\n", encoding="utf-8")

    def call(*words):
        environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
        return subprocess.run([sys.executable, str(script), *words], capture_output=True, text=True, env=environment)

    return call


@pytest.mark.parametrize(
    ("recipe", "changed"),
    [("deiqt", ""), ("csiqa", "--backbone test_vit --crop 160 --width 64 --heads 4 --crops 1 --teacher-epochs 1")],
)
def test_two_processes_train_one_model(noref, small, rated, tmp_path, recipe, changed):
    out = str(tmp_path / "run")
    words = [word for name, (value, _) in small.items() for word in (f"--{name}", value)] + changed.split()
    both = noref("train", recipe, *words, "--epochs", "2", "--devices", "2", "--data", f"csv={rated}", "--out", out)
    assert both.returncode == 0, both.stderr
    assert [line.split("\t")[0] for line in both.stdout.splitlines()].count("srcc") == 1
    assert (tmp_path / "run" / "log.csv").read_text().count("\n") == 3
    assert (tmp_path / "run" / "model.safetensors").exists()
