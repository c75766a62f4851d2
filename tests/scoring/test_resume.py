"""`noref score --resume`: what is there is kept, what is missing is scored, whatever happened in between."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from noref.cli import run
from noref.scoring import score_files as module

FORMATS = pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Six grey pictures, one with a name that needs quotes, and a broken one."""
    monkeypatch.chdir(tmp_path)
    Path("d").mkdir()
    for number, name in enumerate(["a", "b", 'odd, "x"\ny\rz é', "k", "m", "z"]):
        Image.new("RGB", (240, 240), (40 * number,) * 3).save(f"d/{name}.png")
    Path("d/broken.png").write_bytes(b"none")
    return tmp_path


@pytest.fixture
def scored(monkeypatch):
    """The paths that were really scored, in order."""
    seen = []
    original = module.Scorer.stream

    def stream(self, sources):
        return original(self, (seen.append(str(source)) or source for source in sources))

    monkeypatch.setattr(module.Scorer, "stream", stream)
    return seen


@pytest.fixture
def score(brightness, capfd):
    def call(*words):
        status = run(["score", *words, "--model", str(brightness)])
        return status, capfd.readouterr().err

    return call


@FORMATS
def test_a_table_that_was_cut_anywhere_is_completed(photos, score, scored, name):
    assert score("d", "-o", name)[0] == 1
    whole = Path(name).read_bytes()
    for end in [*range(0, len(whole), 7), len(whole)]:
        Path(name).write_bytes(whole[:end])
        scored.clear()
        status, err = score("d", "-o", name, "--resume")
        assert (status, Path(name).read_bytes()) == (1, whole), (end, err)
        lines = whole[:end].count(b"\n") if name.endswith("l") else None
        if lines is not None:
            assert len(scored) <= 7 - lines + 1  # the broken one is tried again
    assert scored == ["d/broken.png"]
    assert sorted(os.listdir()) == ["d", name]


@FORMATS
def test_what_is_new_changed_or_gone(photos, score, scored, name):
    score("d", "-o", name)
    os.utime("d/k.png", ns=(0, 1))
    Image.new("RGB", (240, 240), (255,) * 3).save("d/c.png")
    os.remove("d/b.png")
    os.remove("d/broken.png")
    scored.clear()
    assert score("d", "-o", name, "--resume")[0] == 0
    assert scored == ["d/c.png", "d/k.png"]
    fresh = "fresh" + Path(name).suffix
    score("d", "-o", fresh)
    assert Path(name).read_bytes() == Path(fresh).read_bytes()


def test_rows_of_other_files_stay(photos, score, scored):
    score("d/m.png", "d/a.png", "-o", "rows.csv")
    scored.clear()
    assert score("d/b.png", "d/a.png", "-o", "rows.csv", "--resume")[0] == 0
    assert scored == ["d/b.png"]
    rows = [line.partition(",")[0] for line in Path("rows.csv").read_text().splitlines()]
    assert rows == ["path", "d/m.png", "d/b.png", "d/a.png"]


def test_a_killed_process_loses_nothing(photos, score, brightness):
    for number in range(60):
        os.link("d/a.png", f"d/link{number:02}.png")
    score("d", "-o", "fresh.csv")
    words = ["score", "d", "-o", "rows.csv", "--resume", "--model", str(brightness)]
    before = 0
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", SLOW, *words], stderr=subprocess.DEVNULL)
        while process.poll() is None and (not Path("rows.csv").exists() or lines("rows.csv") < before + 5):
            time.sleep(0.002)
        process.kill()
        process.wait()
        assert lines("rows.csv") >= before + 5
        before = lines("rows.csv")
    assert score("d", "-o", "rows.csv", "--resume")[0] == 1
    assert Path("rows.csv").read_bytes() == Path("fresh.csv").read_bytes()


SLOW = """
import time
import noref.scoring.scorer as scorer
from noref.cli import main

def read(source, read=scorer.read, **options):
    time.sleep(0.01)
    return read(source, **options)

scorer.read = read
main()
"""


def lines(path):
    return Path(path).read_bytes().count(b"\n")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--resume"], "--output FILE"),
        (["-o", "rows.txt", "--resume"], "not with the format table"),
        (["-o", "rows.csv", "--resume", "--overwrite"], "choose one"),
        (["-o", "rows.csv", "--resume", "-f", "jsonl"], "another format than jsonl"),
        (["-o", "rows.jsonl", "--resume", "-f", "csv"], "another format than csv"),
        (["-o", "old.csv", "--resume"], "another version of noref"),
        (["-o", "other.csv", "--resume"], "was scored by another, sha256 0123"),
        (["-o", "d/a.png", "--resume"], "images to score"),
        (["-o", "notes.csv", "--resume"], "not written by noref"),
        (["-o", "/dev/null", "--resume", "-f", "csv"], "regular file"),
    ],
)
def test_calls_that_are_refused(photos, score, words, hint):
    score("d", "-o", "rows.csv")
    score("d", "-o", "rows.jsonl")
    Path("old.csv").write_text("path,score,error\nd/a.png,1.0000,\n")
    header = Path("rows.csv").read_text().partition("\n")[0]
    Path("other.csv").write_text(header + "\nd/a.png,1.0000,,another,0123,1,2026-01-01T00:00:00.000000000Z\n")
    Path("notes.csv").write_text("path,score\n")
    files = [*Path().glob("*"), Path("d/a.png")]
    before = {path: path.read_bytes() for path in files if path.is_file()}
    status, err = score("d", *words)
    assert (status, hint in err) == (2, True), err
    assert {path: path.read_bytes() for path in before} == before


def test_without_a_table_resume_begins_one(photos, score):
    score("d", "-o", "rows.csv", "--resume")
    score("d", "-o", "fresh.csv")
    assert Path("rows.csv").read_bytes() == Path("fresh.csv").read_bytes()
