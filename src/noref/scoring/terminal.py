"""Output for a terminal: a table of scores with a bar for each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TextIO

from noref.scoring.reasons import in_words
from noref.scoring.row_writers import Row, Writer, is_below

BAR_WIDTH = 20  # cells, five points each
EIGHTHS = " ▏▎▍▌▋▊▉█"
COLOURS = ((60.0, "green"), (30.0, "yellow"), (0.0, "red"))  # lowest score, colour of the bar


def table_writer(
    stream: TextIO,
    paths: Sequence[str],
    *,
    columns: int | None,
    minimum: float | None = None,
    sure: bool = False,
    more: Sequence[str] = (),
) -> Writer:
    """Write the header now and each row when it comes; mark scores below `minimum`.

    Args:
        stream: where to.
        paths: of all rows that will come; the longest sets the width of the path column.
        columns: of the terminal; longer paths are shortened. None: no terminal, nothing is shortened or coloured.
        minimum: in [0, 100].
        sure: mark rows whose interval begins below it.
        more: further columns of `noref.scoring.row_writers`: `low` for the interval, `reasons`.
    """
    bar_width = BAR_WIDTH if columns is None or columns >= 60 else BAR_WIDTH // 2
    width = max(cell_width(escape(path)) for path in ["path", *paths])
    if columns is not None:
        taken = bar_width + (9 if minimum is None else 15) + (9 if "low" in more else 0)
        width = max(12, min(width, columns - taken))
    coloured = columns is not None and "NO_COLOR" not in os.environ
    blocks = has_blocks(stream)

    def write(row: Row) -> None:
        if row.score is None:
            right = f"    -  {_colour(escape(row.error or ''), 'red', coloured)}"
        else:
            colour = next(colour for lowest, colour in COLOURS if row.score >= lowest)
            below = " below" if is_below(row, minimum, sure=sure) else ""
            ends = f"  {row.low:3.0f}-{row.high:<3.0f}" if "low" in more else ""
            right = (
                f"{row.score:5.1f}{ends}  {_colour(bar(row.score, bar_width, blocks=blocks), colour, coloured)}{below}"
            )
            right += f"  {in_words(row.reasons)}" if "reasons" in more and row.reasons else ""
            right += f"  {_colour(escape(row.caution), 'yellow', coloured)}" if row.caution else ""
        stream.write(f"{fit(escape(row.path), width)}  {right}".rstrip() + "\n")
        stream.flush()

    stream.write(f"{fit('path', width)}  score{'  interval' if 'low' in more else ''}\n")
    return write


def bar(score: float, width: int, *, blocks: bool = True) -> str:
    """A score in [0, 100] as a bar of `width` cells: of blocks, exact to an eighth of a cell, or of # in ASCII.

    Example:
        >>> bar(50.0, 5), bar(50.0, 4, blocks=False)
        ('██▌  ', '##  ')
    """
    if not blocks:
        return ("#" * round(score / 100 * width)).ljust(width)
    eighths = round(score / 100 * width * 8)
    return ("█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()).ljust(width)


def has_blocks(stream: TextIO) -> bool:
    """Whether the stream's encoding has the characters of `bar`."""
    try:
        EIGHTHS.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def fit(text: str, width: int) -> str:
    """Text padded to `width` cells, or shortened in its middle: the end of a path tells the most.

    Example:
        >>> fit("abc", 5), fit("photos/2024/a.jpg", 11)
        ('abc  ', 'ph…24/a.jpg')
    """
    if cell_width(text) > width:
        head = _beginning(text, width // 4)
        text = f"{head}…{_beginning(text[::-1], width - 1 - cell_width(head))[::-1]}"
    return text + " " * (width - cell_width(text))


def cell_width(text: str) -> int:
    """Width of a text on a terminal in cells: a Chinese or Japanese character takes two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def escape(text: str) -> str:
    """Text with control characters escaped, so that it cannot move the cursor."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _beginning(text: str, width: int) -> str:
    """As much of the beginning of a text as fits into `width` cells."""
    while cell_width(text) > width:
        text = text[: min(len(text) - 1, width)]
    return text


def _colour(text: str, colour: str, coloured: bool) -> str:
    if not coloured:
        return text
    import click

    return click.style(text, fg=colour)
