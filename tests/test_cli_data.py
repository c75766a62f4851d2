"""`noref data check` and `noref data prepare`, as typed."""

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


def test_a_sound_table_passes(table, capsys):
    assert run(["data", "check", "csv", str(table)]) == 0
    assert "Nothing wrong.\nToo little to divide for training: 6 good images\n" in capsys.readouterr().out


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


def test_a_path_that_is_not_there_is_a_wrong_call(table, capsys):
    assert run(["data", "check", "livec", str(table.parent / "none")]) == 2
    assert "none: no such file or folder" in capsys.readouterr().err


def test_long_lists_are_whole_on_demand(table, capsys):
    table.write_text("path,score\n" + "".join(f"{i}.png,{i}\n" for i in range(60)))
    assert run(["data", "check", "csv", str(table)]) == 1
    assert "... and 34 more" in capsys.readouterr().out
    assert run(["data", "check", "csv", str(table), "--all"]) == 1
    out = capsys.readouterr().out
    assert "more" not in out
    assert out.count(".png") == 54


def test_a_row_that_is_wrong_is_named_with_its_line(table, capsys):
    table.write_text("path,score\n0.png,1\n0.png,2\n")
    assert run(["data", "check", "csv", str(table)]) == 1
    assert "scores.csv, line 3: 0.png is there already, in line 2" in capsys.readouterr().err


def test_prepare_then_check(table, tmp_path, capsys):
    out = tmp_path / "small"
    call = ["data", "prepare", "csv", str(table), "--out", str(out), "--side", "32"]
    assert run(call) == 0
    text = capsys.readouterr().out
    assert "shorter side 32: 6 images written, 0 kept, 0 failed" in text
    assert f"noref data check csv {out / 'scores.csv'}" in text
    assert run(call) == 0
    assert "0 images written, 6 kept" in capsys.readouterr().out
    assert run(["data", "check", "csv", str(out)]) == 0


def test_prepare_lists_what_it_cannot_read(table, tmp_path, capsys):
    (table.parent / "3.png").write_bytes(b"no image")
    assert run(["data", "prepare", "csv", str(table), "--out", str(tmp_path / "small"), "--side", "32"]) == 1
    found = capsys.readouterr()
    assert "3.png: not an image" in found.err
    assert "5 images written, 0 kept, 1 failed" in found.out


def test_prepare_wants_a_side_where_table_6_has_none(table, tmp_path, capsys):
    assert run(["data", "prepare", "csv", str(table), "--out", str(tmp_path / "small")]) == 2
    assert "--side PIXELS" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["check", "prepare"])
def test_help_has_an_example(command, capsys):
    assert run(["data", command, "--help"]) == 0
    assert f"noref data {command} " in capsys.readouterr().out


def test_a_bar_on_a_terminal_and_none_in_a_pipe(table, capsys, monkeypatch):
    assert run(["data", "check", "csv", str(table)]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert run(["data", "check", "csv", str(table)]) == 0
    assert "6/6" in capsys.readouterr().err
