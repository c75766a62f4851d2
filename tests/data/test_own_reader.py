"""A data set is one function and one line of `READERS`: every command takes a reader that says nothing else."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from noref.cli import run
from noref.data import readers
from noref.data.check import check, shortfall
from noref.data.prepare import prepare
from noref.data.readers import READERS, describe, missing
from noref.data.records import Record, Scale
from noref.errors import OptionError


def cameras(folder):
    """Stars from a phone test, 0 to 5."""
    lines = (folder / "tables" / "stars.txt").read_text().splitlines()
    return [Record(folder / "shots" / name, float(stars), Scale(0, 5)) for name, stars in map(str.split, lines)]


@pytest.fixture
def toy(rated, tmp_path, monkeypatch):
    """The images of `rated` in a layout that no reader knows, and a plain function that does."""
    folder = tmp_path / "cameras"
    (folder / "tables").mkdir(parents=True)
    shutil.copytree(rated.parent, folder / "shots", ignore=shutil.ignore_patterns("*.csv", "*.txt"))
    rows = [line.split(",") for line in rated.read_text().splitlines()[1:]]
    (folder / "tables" / "stars.txt").write_text("".join(f"{name} {int(score) / 20}\n" for name, score in rows))
    monkeypatch.setitem(READERS, "cameras", cameras)
    return folder


def test_every_command_takes_it(toy, small, tmp_path, capsys):
    data = f"cameras={toy}"
    options = {**{name: value for name, (value, _) in small.items() if name != "validation"}, "epochs": "1"}
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    assert run(["data", "check", "cameras", str(toy)]) == 0
    said = capsys.readouterr().out
    assert "images        24" in said
    assert "stars from a phone test, 0 to 5" in said
    assert run(["data", "prepare", "cameras", str(toy), "--out", str(tmp_path / "half"), "--side", "48"]) == 0
    assert [r.raw_score for r in cameras(tmp_path / "half")] == [r.raw_score for r in cameras(toy)]
    out, bench = tmp_path / "run", tmp_path / "bench"
    assert run(["train", "deiqt", "--data", data, "--out", str(out), *words]) == 0
    assert run(["evaluate", str(out), "--data", data]) == 0
    assert run(["bench", "deiqt", "--data", data, "--out", str(bench), "--repeats", "1", "--no-report", *words]) == 0
    facts = json.loads((bench / "bench.json").read_text())["data"]["cameras"]
    assert (facts["images"], facts["shortfall"], facts["note"]) == (24, None, "stars from a phone test, 0 to 5")


def test_rows_without_an_image_are_missing_whether_the_reader_knows_it_or_not(toy):
    (toy / "shots" / "3.png").unlink()
    assert missing("cameras", toy) == [toy / "shots" / "3.png"]
    assert shortfall("cameras", toy) == "23 of 24 images, 1 missing"
    report = check("cameras", toy)
    assert report.problems == ["incomplete, 1 missing: 23 of 24 images are here"]


def test_a_reader_that_keeps_rows_on_demand_is_asked_to(toy, monkeypatch):
    def whole(folder, *, every=False):
        return [record for record in cameras(folder) if every or record.path.is_file()]

    monkeypatch.setitem(READERS, "cameras", whole)
    (toy / "shots" / "3.png").unlink()
    assert missing("cameras", toy) == [toy / "shots" / "3.png"]


def test_facts_may_hang_on_the_function(toy, monkeypatch):
    monkeypatch.setattr(cameras, "count", 30, raising=False)
    monkeypatch.setattr(cameras, "scores", "stars, 0 to 5, higher is better", raising=False)
    assert describe("cameras") == "stars, 0 to 5, higher is better"
    assert shortfall("cameras", toy) == "24 of 30 images, 6 missing"
    assert check("cameras", toy).published == 30


def test_a_reader_without_words_still_has_a_description(monkeypatch):
    monkeypatch.setitem(READERS, "bare", lambda folder: [])
    assert describe("bare") == "scores as the reader bare gives them"
    with pytest.raises(OptionError, match="did you mean bare"):
        describe("bear")


def test_tables_are_copied_and_nothing_else(toy, tmp_path):
    (toy / "notes.pkl").write_bytes(b"x")
    (toy / ".git").mkdir()
    (toy / ".git" / "config.txt").write_text("x")
    inside = toy / "half"
    for _ in range(2):
        assert prepare("cameras", toy, inside, side=48).failed == ()
    copied = {path.relative_to(inside).as_posix() for path in inside.rglob("*") if path.suffix != ".png"}
    assert copied == {"tables", "tables/stars.txt", "shots", "prepared.jsonl"}


def test_a_table_of_a_plain_reader_may_be_named_itself(toy, tmp_path, monkeypatch):
    monkeypatch.setitem(READERS, "stars", lambda path: cameras(path.parents[1]))
    with pytest.raises(readers.DataError, match="not below"):  # its images lie beside the table's folder
        prepare("stars", toy / "tables" / "stars.txt", tmp_path / "half", side=48)


def test_the_reader_in_the_docs_works(rated, tmp_path, monkeypatch):
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    (code,) = (block for block in blocks if "def cameras" in block)
    monkeypatch.setitem(READERS, "cameras", None)
    exec(compile(code, "data.md", "exec"), {})
    shutil.copy(rated.parent / "0.png", tmp_path / "a.png")
    (tmp_path / "scores.csv").write_text("file,mos\na.png,4\n")
    assert check("cameras", tmp_path).problems == ["every score is 4"]
    assert READERS["cameras"](tmp_path)[0].quality == 0.75
    assert describe("cameras") == "mean opinion scores of our cameras, 1 to 5"
