"""Every command and every line of Python in the README works as it stands there; its picture and numbers are real."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
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
    (tmp_path / "mos.csv").write_text("file;mos\n" + "".join(f"photos/{i}.jpg;{i / 3 + 1:.1f}\n" for i in range(10)))
    (tmp_path / "labelled").mkdir()
    for i in range(20):
        Image.fromarray(rng.integers(5 * i, 6 * i + 120, (64, 80, 3), dtype=np.uint8)).save(f"labelled/{i}.jpg")
    (tmp_path / "labels.csv").write_text("path,score\n" + "".join(f"labelled/{i}.jpg,{4 * i}\n" for i in range(20)))
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


SCORING = [w for w in NOREF if w[0] in ("score", "demo", "help") and "--model" not in w]


@pytest.mark.parametrize("words", SCORING, ids=" ".join)
def test_scoring_commands_run(words, photos, capsys):
    assert run(words) in (0, 3)
    assert capsys.readouterr().out or (photos / "rows.csv").stat().st_size


def test_training_commands_run_in_their_order(photos, capsys):
    """In small: the options that make a run quick are added, everything else is as it stands."""
    small = "--epochs 1 --crop 64 --crops 1 --batch 4 --weights none --head pooled --backbone test_resnet.r160_in1k"
    quick = {
        "train": [*small.split(), "--test", "0.4", "--validation", "0"],
        "bench": [*small.split(), "--repeats", "2", "--parts", "50/50"],
        "embed": ["--perplexity", "3"],  # of ten photos
        "gmad": ["--levels", "2"],
    }
    elsewhere = [w for w in NOREF if w[0] in ("batch", "serve") or any("hf:" in word for word in w)]
    commands = [w for w in NOREF if w not in SCORING and w not in elsewhere]
    assert [w[0] for w in commands] == [
        "calibrate", "score", "evaluate", "data", "train", "train", "train", "train", "evaluate", "export", "score",
        "bench", "bench", "report", "gmad", "explain", "explain", "embed", "degrade",
    ]  # fmt: skip
    for name in ("livec", "koniq10k"):
        shutil.copy("scores.csv", f"{name}.csv")
    for words in commands:
        words = [re.sub(r"^(livec|koniq10k)=.*", r"csv=\1.csv", word) for word in words]
        if words[0] in quick and "--resume" not in words:
            words = [w for w in words if w not in ("--backbone", "mobilenetv2_100")] + quick[words[0]]
        assert run(words) in (0, 3), words
        capsys.readouterr()


def test_the_batch_runs(photos):
    pytest.importorskip("ray", reason="needs the ray extra")
    (words,) = [w for w in NOREF if w[0] == "batch"]
    assert run([*words, "--concurrency", "1"]) == 0
    assert (photos / "scores.parquet").stat().st_size


def test_linked_pages_exist():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_recipes_of_the_table_exist():
    from noref.methods import METHODS

    for name in METHODS:
        assert f"`{name}`" in README


def test_every_command_of_the_project_is_in_the_readme():
    from noref.cli import cli

    assert set(cli.list_commands(None)) - {words[0] for words in NOREF} - {"convert"} == set()
    assert "`noref convert" in README


def test_extras_that_pip_is_asked_for_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = [re.findall(r"\[(.+)\]", words[-1]) for words in COMMANDS if words[0] == "pip"]
    assert asked == [["train"]]
    assert {"train", "degrade", "report", "explain"} <= extras.keys()


def test_published_numbers_are_those_of_the_papers():
    from noref.evaluate.published import published

    def printed(paper, table, variant, method):
        key = {"paper": paper, "table": table, "method": method, "variant": variant}
        found = [published(**key, training_set="livec", test_set="livec", metric=m) for m in ("srcc", "plcc")]
        return " / ".join(f"{number.value:.3f}" for (number,) in found)

    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in README.splitlines() if line.startswith("|")]
    rows = {row[0]: row for row in cells}
    assert rows["DEIQT"][3] == printed("csiqa", 1, "", "DEIQT") == printed("lml-iqa", 2, "", "DEIQT")
    assert rows["LML-IQA"][3] == printed("lml-iqa", 2, "", "LML-IQA")
    assert rows["LML-IQA"][4] == printed("lml-iqa", 4, "baseline", "LML-IQA")
    assert rows["CSIQA"][3] == printed("csiqa", 1, "", "CSIQA")
    assert rows["CSIQA"][4] == printed("csiqa", 4, "a) baseline", "CSIQA")


@pytest.mark.parametrize(
    ("method", "page", "line"),
    [
        ("DEIQT", "papers/deiqt.md", "0.803 (95 % 0.763 to 0.833) / 0.829"),
        ("LML-IQA", "papers/lml_iqa.md", "| LML-IQA | 0.801 (0.771 to 0.823) | 0.826"),
        ("CSIQA", "papers/csiqa.md", "| i EA HA LD | 2 | 0.819 (0.791 to 0.840) | 0.846"),
        ("ARNIQA, learnt from 512 photos", "papers/arniqa.md", "| 0.676 (0.039) / 0.725 (0.032) |"),
        ("the packaged model", "embedded.md", "| SRCC | 0.824 |"),
    ],
)
def test_our_numbers_are_those_of_the_pages(method, page, line):
    assert line in (ROOT / "docs" / page).read_text(encoding="utf-8")
    (row,) = [row for row in README.splitlines() if row.startswith(f"| {method} |")]
    assert re.findall(r"0\.\d{3}", line)[0] in row.split(" | ")[1]


def test_the_picture_is_drawn_by_its_script(tmp_path):
    folder = ROOT / "docs" / "pictures"
    subprocess.run([sys.executable, folder / "make.py", tmp_path / "score.png"], check=True, cwd=tmp_path)
    with Image.open(tmp_path / "score.png") as drawn, Image.open(folder / "score.png") as kept:
        ours, theirs = (np.asarray(image.convert("RGB"), dtype=float)[:-120] for image in (drawn, kept))  # but the rate
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).mean() < 4


def test_the_citation_is_one_that_citation_tools_read():
    yaml = pytest.importorskip("yaml", reason="needs the train extra")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert citation["authors"] == [{"name": "The noref authors"}]
    assert all(isinstance(citation[key], str) for key in ("title", "message", "abstract"))
