from __future__ import annotations

import pytest

from noref.cli import run


def test_bench_from_the_command_line(first, tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call = ["bench", "deiqt", "--data", f"csv={first}", "--repeats", "1", *tiny]
    assert run([*call, "--no-report"]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines()[0].startswith("variant\ttrained on\ttested on\truns\tSRCC mean")
    assert "[1/1] all/first-split00: first SRCC" in told.err
    assert (tmp_path / "bench-deiqt-first" / "predictions.csv").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["deiqtt", "--data", "csv=x.csv"], "did you mean deiqt"),
        (["deiqt"], "Missing option '--data'"),
        (["deiqt", "--data", "livec"], "write NAME=PATH"),
        (["deiqt", "--data", "csv=x.csv", "--repeats", "many"], "'many' is not a valid integer"),
    ],
)
def test_a_wrong_call_is_status_2_and_a_hint(words, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(["bench", *words]) == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_failed_run_is_status_1(first, tiny, tmp_path, capsys):
    call = ["bench", "deiqt", "--data", f"csv={first}", "--repeats", "1", "--out", str(tmp_path / "bench"), *tiny]
    assert run([*call, "--epochs", "3", "--lr", "1e30", "--clip", "none", "--no-report"]) == 1
    assert "FAILED runs/all/first-split00" in capsys.readouterr().err
