from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noref.scoring.row_writers import Row
from noref.scoring.terminal import bar, cell_width, escape, fit, has_blocks, table_writer


def table(rows, **options):
    stream = io.StringIO()
    write = table_writer(stream, [row.path for row in rows], **({"columns": None} | options))
    for row in rows:
        write(row)
    return stream.getvalue().splitlines()


ROWS = [Row("photos/a.jpg", score=75.0), Row("b.jpg", score=2.44), Row("c.jpg", error="empty file")]


def test_a_table_in_a_pipe_is_whole_and_plain():
    assert table([*ROWS, Row("x" * 300, score=100.0)], minimum=50)[1:] == [
        f"{'photos/a.jpg':300}   75.0  ███████████████",
        f"{'b.jpg':300}    2.4  ▌                    below",
        f"{'c.jpg':300}      -  empty file",
        f"{'x' * 300}  100.0  {'█' * 20}",
    ]


def test_the_header_names_the_columns():
    header, first, *_ = table(ROWS)
    assert header.split() == ["path", "score"]
    assert header.rindex("e") == first.index("75.0") + 3


@pytest.mark.parametrize("minimum", [None, 51.5])
@pytest.mark.parametrize("columns", [20, 30, 40, 59, 60, 80, 200])
def test_a_terminal_row_fits_and_keeps_score_and_name(columns, minimum, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    rows = [Row(f"/home/me/{'deep/' * 20}photo_{i}.jpg", score=50.0 + i) for i in range(3)]
    lines = table(rows, columns=columns, minimum=minimum)
    for i, line in enumerate(lines[1:]):
        assert cell_width(line) <= max(columns, 37)
        assert f"{50 + i}.0" in line
        assert f"_{i}.jpg" in line


def test_colour_only_on_a_terminal(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert any("\x1b[" in line for line in table(ROWS, columns=80))
    assert not any("\x1b[" in line for line in table(ROWS))
    plainly = [re.sub(r"\x1b\[\d+m", "", line).rstrip() for line in table(ROWS, columns=80)]
    monkeypatch.setenv("NO_COLOR", "")
    assert table(ROWS, columns=80) == plainly


@given(st.floats(0, 100), st.integers(1, 60))
def test_a_bar_is_as_long_as_the_score(score, width):
    drawn = bar(score, width)
    assert len(drawn) == width
    eighths = 8 * drawn.count("█") + sum({c: i for i, c in enumerate(" ▏▎▍▌▋▊▉")}.get(c, 0) for c in drawn)
    assert abs(eighths / 8 - score / 100 * width) <= 1 / 16 + 1e-9
    assert abs(bar(score, width, blocks=False).count("#") - score / 100 * width) <= 0.5


def test_bars_where_blocks_cannot_be_written():
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    assert not has_blocks(ascii_only)
    assert has_blocks(io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    assert has_blocks(io.StringIO())
    table_writer(ascii_only, ["a.jpg"], columns=None)(Row("a.jpg", score=50.0))
    ascii_only.seek(0)
    assert ascii_only.read().splitlines()[1] == "a.jpg   50.0  ##########"


VISIBLE = st.characters(exclude_categories=["Cs", "Cc", "Cf", "M"], exclude_characters="…")


@given(st.text(VISIBLE, max_size=40), st.integers(4, 30))
def test_fitted_text_has_the_width_and_ends_like_the_text(text, width):
    found = fit(text, width)
    assert cell_width(found) == width
    if cell_width(text) <= width:
        assert found.rstrip(" ") == text.rstrip(" ")
    else:
        head, _, tail = found.partition("…")
        assert text.startswith(head)
        assert text.rstrip(" ").endswith(tail.rstrip(" "))


def test_wide_characters_take_two_cells():
    assert cell_width("写真.jpg") == 8
    lines = table([Row("写真.jpg", score=1.0), Row("abcdefgh", score=1.0)])
    assert cell_width(lines[1].partition("1.0")[0]) == cell_width(lines[2].partition("1.0")[0])


@pytest.mark.parametrize(("text", "safe"), [("a\x1b[2Jb", r"a\x1b[2Jb"), ("a\r\nb", r"a\r\nb"), ("é 写", "é 写")])
def test_names_cannot_move_the_cursor(text, safe):
    assert escape(text) == safe
