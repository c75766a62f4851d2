from __future__ import annotations

import csv
import io
import json

import pytest

from noref.scoring.row_writers import COLUMNS, Row, csv_writer, jsonl_writer

FACTS = {
    "model": "default",
    "model_sha256": "ab12",
    "size": 7,
    "time": "2026-01-01T00:00:00.000000000Z",
    "caution": None,
}
ROWS = [
    Row("a.jpg", score=61.23456789, **FACTS),
    Row('odd, "name"\nof a\r file.jpg', score=0.0, **FACTS),
    Row("b.jpg", error='damaged: "x", y', **FACTS),
]


def test_csv_reads_back(monkeypatch):
    stream = io.StringIO()
    write = csv_writer(stream)
    assert stream.getvalue() == "path,score,error,model,model_sha256,size,time,caution\n"
    for row in ROWS:
        write(row)
    assert "\r\n" not in stream.getvalue()
    header, *lines = csv.reader(io.StringIO(stream.getvalue(), newline=""))
    assert header[:3] == ["path", "score", "error"]
    assert [line[:3] for line in lines] == [
        ["a.jpg", "61.2346", ""],
        [ROWS[1].path, "0.0000", ""],
        ["b.jpg", "", 'damaged: "x", y'],
    ]
    assert [line[3:] for line in lines] == [["default", "ab12", "7", "2026-01-01T00:00:00.000000000Z", ""]] * 3
    assert header[3:] == ["model", "model_sha256", "size", "time", "caution"]


def test_json_lines_read_back():
    stream = io.StringIO()
    write = jsonl_writer(stream)
    for row in ROWS:
        write(row)
    lines = stream.getvalue().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"path": "a.jpg", "score": 61.2346, "error": None, **FACTS},
        {"path": ROWS[1].path, "score": 0.0, "error": None, **FACTS},
        {"path": "b.jpg", "score": None, "error": 'damaged: "x", y', **FACTS},
    ]
    assert tuple(json.loads(lines[0])) == COLUMNS
    assert COLUMNS[:3] == ("path", "score", "error")


@pytest.mark.parametrize("writer", [csv_writer, jsonl_writer])
def test_each_row_is_on_disk_before_the_next(writer, tmp_path):
    path = tmp_path / "rows"
    with path.open("w") as stream:
        write = writer(stream)
        for i in range(3):
            write(Row(f"{i}.jpg", score=1.0))
            assert path.read_text().rstrip("\n").splitlines()[-1].count(f"{i}.jpg") == 1
