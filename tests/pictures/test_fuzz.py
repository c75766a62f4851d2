"""The short form of `python -m tests.pictures.fuzz`."""

from __future__ import annotations

from . import fuzz


def test_200_damaged_files():
    found = fuzz.run(200, seed=7)
    assert found["wrong"] == []
    assert found["of these without a caution"] == 0
    assert found["states"]["refused"] > 40


def test_a_crash_and_a_hang_are_seen_and_the_others_go_on(monkeypatch):
    monkeypatch.setattr(fuzz, "HANG", 0.5)

    def reader(content):
        exec(content.decode())
        return "fine"

    calls = [b"pass", b"import os; os._exit(3)", b"pass", b"import time; time.sleep(9)", b"1 / 0", b"pass"]
    states = [one[:2] for one in fuzz.attempts(reader, calls)]
    assert [state for state, _ in states] == ["read", "crash", "read", "hang", "failed", "read"]
    assert states[4][1] == "ZeroDivisionError: division by zero"


def test_the_same_seed_gives_the_same_files():
    assert list(fuzz.files(40, 3)) == list(fuzz.files(40, 3))
