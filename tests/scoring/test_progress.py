"""A long run says how far it is."""

from __future__ import annotations

import io
import re
import sys
import time

import pytest

from noref.methods import launch
from noref.scoring import progress as module
from noref.scoring.progress import progress, tracked


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_shows_count_rate_and_time_left_and_goes_away():
    stream = Terminal()
    with progress(3, stream) as advance:
        for _ in range(3):
            advance()
    assert "3/3" in stream.getvalue()
    assert "0:00:0" in stream.getvalue()
    assert re.search(r"\d images/s", stream.getvalue())


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(module, "EVERY", 0.02)


def test_where_there_is_no_terminal_lines_have_count_rate_and_time_left(often):
    stream = io.StringIO()
    with progress(1000, stream, title="epoch 1", unit="batches", done=400) as advance:
        while not stream.getvalue():  # before the first item is done, too
            time.sleep(0.01)
        advance(100, title="epoch 2")
        seen = stream.tell()
        while stream.tell() < seen + 40:
            time.sleep(0.01)
    first, *_, last = stream.getvalue().splitlines()
    assert first == "epoch 1: 400 of 1000"
    done, total, rate, left = re.fullmatch(
        r"epoch 2: (\d+) of (\d+), ([\d.]+) batches/s, about ([\d.]+) s left", last
    ).groups()
    assert (done, total) == ("500", "1000")
    assert float(left) == pytest.approx(500 / float(rate), abs=1)
    lines = stream.getvalue()
    time.sleep(0.1)
    assert stream.getvalue() == lines


def test_a_short_run_and_a_run_inside_of_another_say_nothing(often, capsys):
    stream = io.StringIO()
    with progress(9, io.StringIO()):
        assert list(tracked([1, 2], "inside")) == [1, 2]
        with progress(5, stream) as advance:
            time.sleep(0.1)
            advance()
    assert (stream.getvalue(), capsys.readouterr().err) == ("", "")
    with progress(5, stream) as advance:
        advance()
    assert stream.getvalue() == ""


def test_training_says_how_far_it_is(often, rated, small, tmp_path, capfd):
    launch.train("deiqt", data=f"csv={rated}", out=str(tmp_path / "run"), options=small)
    lines = capfd.readouterr().err.splitlines()
    assert any(re.fullmatch(r"epoch \d: \d+ of \d+, [\d.]+ batches/s, about [\d.]+ s left", line) for line in lines)
    assert [line.split()[1] for line in lines if line.startswith("epoch ") and "loss" in line] == ["1", "2", "3"]


def test_on_a_terminal_the_lines_of_epochs_stand_above_the_bar(rated, small, tmp_path, monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    launch.train("deiqt", data=f"csv={rated}", out=str(tmp_path / "run"), options=small)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue()).replace("\r", "\n")
    for epoch in "123":
        assert re.search(rf"^epoch {epoch}  loss ", text, flags=re.MULTILINE)
    assert re.search(r"epoch 3 ━+.* \d+/\d+", text)
