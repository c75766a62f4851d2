"""Every command and every line of Python in the README works as it stands there."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from noref.cli import run

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [
    shlex.split(line, comments=True) for kind, text in BLOCKS if kind == "bash" for line in text.splitlines() if line
]
NOREF = [words[1:] for words in COMMANDS if words and words[0] == "noref"]


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder as the README's reader has it: pictures, and a CSV of scores."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for place in ("photo.jpg", *(f"photos/{i}.jpg" for i in range(10))):
        Image.fromarray(rng.integers(90, 166, (240, 256, 3), dtype=np.uint8)).save(place)
    rows = "".join(f"photos/{i}.jpg,{20 + 7 * i}\n" for i in range(10))
    (tmp_path / "scores.csv").write_text("path,score\n" + rows)
    return tmp_path


def test_the_first_two_commands_are_make():
    assert COMMANDS[0] == ["make", "demo"]
    assert COMMANDS[1] == ["make", "test"]
    makefile = (ROOT / "Makefile").read_text()
    assert "\ndemo:" in makefile
    assert "\ntest:" in makefile


def test_python_comes_before_line_thirty():
    assert "```python" in README.splitlines()[:30]


def test_ci_runs_the_first_two_commands():
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    assert [line for line in script if line.startswith("make")] == ["make demo", "make test"]


@pytest.mark.parametrize("code", [text for kind, text in BLOCKS if kind == "python"])
def test_python_runs(code, photos, capsys):
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out


@pytest.mark.parametrize("words", [w for w in NOREF if w[0] in ("score", "demo") and "--model" not in w], ids=" ".join)
def test_scoring_commands_run(words, photos, capsys):
    assert run(words) in (0, 3)
    assert capsys.readouterr().out or (photos / "scores.csv").stat().st_size


def test_training_commands_run_in_their_order(photos, capsys):
    """In small: the options that make a run quick are added, everything else is as it stands."""
    small = "--epochs 1 --crop 64 --crops 1 --batch 4 --weights none --head pooled --backbone test_resnet.r160_in1k"
    quick = {
        "train": [*small.split(), "--test", "0.4", "--validation", "0"],
        "bench": [*small.split(), "--repeats", "2", "--parts", "50/50"],
        "embed": ["--perplexity", "3"],  # of ten photos
        "gmad": ["--levels", "2"],
    }
    commands = [w for w in NOREF if w[0] not in ("score", "demo") or "--model" in w]
    assert [w[0] for w in commands] == [
        "data", "train", "train", "train", "evaluate", "export", "score",
        "explain", "explain", "embed", "gmad", "bench", "bench", "report",
    ]  # fmt: skip
    for name in ("livec", "koniq10k"):
        shutil.copy("scores.csv", f"{name}.csv")
    for words in commands:
        words = [re.sub(r"^(livec|koniq10k)=.*", r"csv=\1.csv", word) for word in words]
        if words[0] in quick and "--resume" not in words:
            words = [w for w in words if w not in ("--backbone", "mobilenetv2_100")] + quick[words[0]]
        assert run(words) in (0, 3), words
        capsys.readouterr()


def test_linked_pages_exist():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_recipes_of_the_table_exist():
    from noref.methods import METHODS

    for name in METHODS:
        assert f"`{name}`" in README
