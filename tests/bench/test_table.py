"""The means that a bench prints: for people on terminals of different widths, and for other programs."""

from __future__ import annotations

import itertools

import pytest

from noref.bench.table import HEAD, for_terminal, tab_separated

NUMBERS = ("10", "0.8264", "0.8301", "0.1016", "0.9129", "0.9130", "0.0165", "0.9469")
ROWS = [
    (variant, learnt, tested, *NUMBERS)
    for variant, learnt, tested in itertools.product(
        ("baseline", "no clipping, narrow panel", "+ random crop"), ("koniq10k 50 %", "livec"), ("koniq10k", "livec")
    )
]


@pytest.mark.parametrize("width", [60, 80, 110, 200])
def test_no_word_and_no_number_is_broken(width):
    text = for_terminal(ROWS, width)
    lines = text.splitlines()
    assert max(map(len, lines[:-1])) <= width
    words = set(text.split())
    assert {"koniq10k", "livec", "baseline", "clipping,", "narrow", "random", "0.8264", "0.9129"} <= words
    known = {word for row in (HEAD, *ROWS) for cell in row for word in cell.split()}
    last = {word for word in lines[-1].split() if "a wider terminal" in lines[-1]}
    assert {word for word in words if set(word) != {"─"}} <= known | last


def test_a_wide_terminal_shows_every_column_on_one_line_a_row():
    lines = for_terminal(ROWS, 200).splitlines()
    assert len(lines) == 2 + len(ROWS)
    assert lines[0].split() == " ".join(HEAD).split()
    for line, row in zip(lines[2:], ROWS, strict=True):
        assert line.split() == " ".join(row).split()


def test_what_a_narrow_terminal_leaves_out_is_said():
    text = for_terminal(ROWS, 80)
    assert "0.1016" in text
    assert "0.8301" not in text
    assert text.splitlines()[-1] == "a wider terminal also shows: median, PLCC logistic mean"


def test_text_that_is_the_same_in_all_rows_stands_once_where_room_is_short():
    rows = [("-", "livec", "livec", *NUMBERS)]
    assert for_terminal(rows, 78).splitlines()[-1] == "all rows: trained on livec, tested on livec"
    assert "-" not in for_terminal(rows, 200).splitlines()[-1].split()[1:]


@pytest.mark.parametrize("width", [40, 200])
def test_a_bench_in_which_nothing_is_done_has_a_head(width):
    assert "runs" in for_terminal([], width)


def test_names_in_brackets_are_names():
    assert "[bold]" in for_terminal([("[bold]", "a", "b", *NUMBERS)], 120)


def test_other_programs_get_tabs():
    lines = tab_separated(ROWS).splitlines()
    assert [line.split("\t") for line in lines] == [list(HEAD), *map(list, ROWS)]
