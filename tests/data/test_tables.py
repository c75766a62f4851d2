from __future__ import annotations

import numpy as np
import pytest
from scipy.io import savemat

from noref.data.tables import Files, number, read_csv, read_matlab, whole_number
from noref.errors import DataError


def rows(tmp_path, content, columns=("path", "score")):
    file = tmp_path / "t.csv"
    file.write_bytes(content)
    return list(read_csv(file, columns))


def test_rows_come_with_their_line_and_without_blanks(tmp_path):
    text = b'\xef\xbb\xbfpath, score\r\na.png, 1\r\n\r\n"b, ""x"".png",2\r\n"two\nlines",3'
    assert rows(tmp_path, text) == [
        (2, {"path": "a.png", "score": "1"}),
        (4, {"path": 'b, "x".png', "score": "2"}),
        (6, {"path": "two\nlines", "score": "3"}),
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"line 1: column path and score missing; the file has nothing"),
        (b"path;score\na;1\n", r"line 1: column path and score missing; the file has path;score"),
        (b"path,mos\na,1\n", r"line 1: column score missing; the file has path, mos"),
        (b"path,score,score\n", r"line 1: column score is there twice"),
        (b"path,score\na,1\nb,2,3\n", r"line 3: 3 cells, the header names 2"),
        (b"path,score\na\n", r"line 2: 1 cells"),
        (b"path,score\na,1\n\xff,2\n", r"line 3: not UTF-8"),
        (b'path,score\n"a,1\n', r"line 2: unexpected end"),
    ],
)
def test_a_broken_csv_names_file_and_line(tmp_path, content, reason):
    with pytest.raises(DataError, match=r"t\.csv, " + reason):
        rows(tmp_path, content)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"no\.csv: No such file"):
        list(read_csv(tmp_path / "no.csv", []))


@pytest.mark.parametrize("text", ["", "n/a", "nan", "inf", "-inf", "1,5", "0x10", "1e999"])
def test_what_is_no_number(tmp_path, text):
    with pytest.raises(DataError, match=r"f\.csv, line 7: score .* is no number"):
        number(text, tmp_path / "f.csv", 7)


def test_numbers(tmp_path):
    assert number(" -1.5e1 ", tmp_path, 1) == -15
    assert whole_number("3", tmp_path, 1, "level") == 3
    with pytest.raises(DataError, match=r"line 2: level '3\.5' is no whole number"):
        whole_number("3.5", tmp_path, 2, "level")


def test_matlab_numbers_and_cells(tmp_path):
    cells = np.empty((2, 1), dtype=object)
    cells[:, 0] = [np.array(["a.bmp"]), np.array(["b c.bmp"])]
    savemat(tmp_path / "m.mat", {"cells": cells, "numbers": np.array([[1.5, 2.5]]), "flags": np.array([[1, 0]], "u1")})
    assert read_matlab(tmp_path / "m.mat", "cells") == ["a.bmp", "b c.bmp"]
    assert read_matlab(tmp_path / "m.mat", "numbers") == [1.5, 2.5]
    assert read_matlab(tmp_path / "m.mat", "flags") == [1, 0]
    with pytest.raises(DataError, match=r"m\.mat: no variable other"):
        read_matlab(tmp_path / "m.mat", "other")


@pytest.mark.parametrize(
    "content", [b"", b"text", b"MATLAB 5.0 MAT-file" + b"\0" * 500, b"\x89HDF\r\n\x1a\n" + b"\0" * 99]
)
def test_a_file_that_is_no_matlab_file(tmp_path, content):
    (tmp_path / "m.mat").write_bytes(content)
    with pytest.raises(DataError, match=r"m\.mat: "):
        read_matlab(tmp_path / "m.mat", "x")


def test_files_are_found_in_another_letter_case_where_only_one_fits(tmp_path):
    for name in ("I01.BMP", "sub/a.png", "twice.png", "TWICE.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    files = Files(tmp_path)
    assert files.path("i01.bmp") == tmp_path / "I01.BMP"
    assert files.path("I01.BMP") == tmp_path / "I01.BMP"
    assert files.path("sub/A.PNG") == tmp_path / "sub" / "a.png"
    assert files.path("TWICE.png") == tmp_path / "TWICE.png"
    assert files.path("Twice.png") == tmp_path / "Twice.png"
    assert files.path("sub/none.png") == tmp_path / "sub" / "none.png"
    assert files.path("no/folder/x.png") == tmp_path / "no" / "folder" / "x.png"
