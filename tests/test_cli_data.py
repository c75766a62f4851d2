"""`noref data check`, and what `noref train` says of an incomplete set."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from noref.cli import run


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(6):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    path = tmp_path / "scores.csv"
    path.write_text("path,score\n" + "".join(f"{i}.png,{15 * i}\n" for i in range(6)))
    return path


def test_a_sound_table_passes_and_the_next_command_is_given(table, capsys):
    assert run(["data", "check", "csv", str(table)]) == 0
    assert f"noref train deiqt --data csv={table}" in capsys.readouterr().out


def test_a_broken_image_is_named(table, capsys):
    (table.parent / "3.png").write_bytes(b"no image")
    assert run(["data", "check", "csv", str(table)]) == 1
    assert "3.png" in capsys.readouterr().out


def test_an_unknown_set_offers_names(table, capsys):
    assert run(["data", "check", "livek", str(table)]) == 2
    assert "livec" in capsys.readouterr().err


def test_an_unknown_command_offers_names(capsys):
    assert run(["data", "chek"]) == 2
    assert "check" in capsys.readouterr().err
