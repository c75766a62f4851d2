from __future__ import annotations

import csv
import io
import json

import pytest

from noref.scoring.row_writers import Row, csv_writer, jsonl_writer

ROWS = [
    Row("a.jpg", score=61.23456789),
    Row('odd, "name"\nof a file.jpg', score=0.0),
    Row("b.jpg", error='damaged: "x", y'),
]


def test_csv_reads_back(monkeypatch):
    stream = io.StringIO()
    write = csv_writer(stream)
    assert stream.getvalue() == "path,score,error\n"
    for row in ROWS:
        write(row)
    header, *lines = csv.reader(io.StringIO(stream.getvalue()))
    assert header[:3] == ["path", "score", "error"]
    assert lines == [["a.jpg", "61.2346", ""], [ROWS[1].path, "0.0000", ""], ["b.jpg", "", 'damaged: "x", y']]


def test_json_lines_read_back():
    stream = io.StringIO()
    write = jsonl_writer(stream)
    for row in ROWS:
        write(row)
    lines = stream.getvalue().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"path": "a.jpg", "score": 61.2346, "error": None},
        {"path": ROWS[1].path, "score": 0.0, "error": None},
        {"path": "b.jpg", "score": None, "error": 'damaged: "x", y'},
    ]
    assert list(json.loads(lines[0])) == ["path", "score", "error"]


@pytest.mark.parametrize("writer", [csv_writer, jsonl_writer])
def test_each_row_is_on_disk_before_the_next(writer, tmp_path):
    path = tmp_path / "rows"
    with path.open("w") as stream:
        write = writer(stream)
        for i in range(3):
            write(Row(f"{i}.jpg", score=1.0))
            assert path.read_text().rstrip("\n").splitlines()[-1].count(f"{i}.jpg") == 1
