"""Every command and the Python of docs/why.md and docs/interval.md works as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from noref.cli import run

DOCS = Path(__file__).parent.parent / "docs"
TEXT = (DOCS / "why.md").read_text(encoding="utf-8") + (DOCS / "interval.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [
    shlex.split(line, comments=True)[1:] for kind, text in BLOCKS if kind == "bash" for line in text.splitlines()
]


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    smooth = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8))
    for name in ("photo.jpg", "photos/a.jpg", "photos/b.jpg"):
        smooth.resize((400, 390), Image.Resampling.BICUBIC).save(name)


def test_the_commands_run(photos):
    assert len(COMMANDS) == 4
    for words in COMMANDS:
        assert run(words) in (0, 3), words


def test_the_python_runs(photos, capsys):
    (code,) = [text for kind, text in BLOCKS if kind == "python"]
    exec(code, {})
    assert "blur" in capsys.readouterr().out
