"""Every command of docs/calibrate.md works as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from noref.cli import run

PAGE = (Path(__file__).parent.parent / "docs" / "calibrate.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```bash\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [shlex.split(line)[1:] for text in BLOCKS for line in text.splitlines()]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Twenty pictures of noise, the darker the less it is liked."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for i in range(20):
        Image.fromarray(rng.integers(5 * i, 6 * i + 120, (64, 80, 3), dtype=np.uint8)).save(f"photos/{i}.png")
    for name, column, value in (
        ("labels", "score", lambda i: 5 * i),
        ("scores", "score", lambda i: 90 - i),
        ("keep", "good", lambda i: "yes" if i > 8 else "no"),
    ):
        rows = "".join(f"photos/{i}.png,{value(i)}\n" for i in range(20))
        (tmp_path / f"{name}.csv").write_text(f"path,{column}\n{rows}")
    return tmp_path


def test_the_commands_run_in_their_order(folder, capsys):
    assert [words[0] for words in COMMANDS] == ["calibrate", "score", "calibrate", "score", "evaluate"]
    for words in COMMANDS:
        assert run(words) in (0, 3), words
    shown = capsys.readouterr()
    assert {"srcc_low", "plcc_high", "rmse_low"} <= {line.split("\t")[0] for line in shown.out.splitlines()}
    assert "CAUTION: mine learnt from 20 of these 20 images" in shown.err
    assert (folder / "keep.png").is_file()
