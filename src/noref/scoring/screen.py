"""Rows for people: a table that streams, with a bar one can see at a glance, and the progress of a long run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from noref.scoring.rows import Row, Writer

BAR = 20  # cells: five points each
EIGHTHS = " ▏▎▍▌▋▊▉█"
GRADES = ((60.0, "green"), (30.0, "yellow"), (0.0, "red"))  # score at least, colour of the bar


def table_writer(stream: TextIO, paths: Sequence[str], *, columns: int | None, minimum: float | None = None) -> Writer:
    """Write the header now and each row when it comes.

    Args:
        stream: where to.
        paths: all that will come, so that the first row already knows how wide the path column is.
        columns: width of the terminal; there a long path gives way in its middle. None: no terminal, nothing is cut.
        minimum: scores below it are marked.
    """
    bar = BAR if columns is None or columns >= 60 else BAR // 2
    width = max([cells(plain(path)) for path in paths] + [len("path")])
    if columns is not None:
        width = max(12, min(width, columns - bar - (9 if minimum is None else 15)))
    color = columns is not None and "NO_COLOR" not in os.environ
    draw = bar_for(stream)

    def write(row: Row) -> None:
        if row.score is None:
            right = f"    -  {_painted(plain(row.error or ''), 'red', color)}"
        else:
            below = minimum is not None and row.score < minimum
            shade = next(shade for least, shade in GRADES if row.score >= least)
            right = f"{row.score:5.1f}  {_painted(draw(row.score, bar), shade, color)}{' below' if below else ''}"
        stream.write(f"{fitted(plain(row.path), width)}  {right}".rstrip() + "\n")
        stream.flush()

    stream.write(f"{fitted('path', width)}  score\n")
    return write


def bar_for(stream: TextIO) -> Callable[[float, int], str]:
    """`bar_of`, or `ascii_bar_of` where the stream's encoding has no blocks."""
    try:
        EIGHTHS.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        return ascii_bar_of
    return bar_of


def bar_of(score: float, width: int) -> str:
    """A score in [0, 100] as a bar of `width` cells, filled to an eighth of a cell.

    Example:
        >>> bar_of(50.0, 5)
        '██▌  '
    """
    eighths = round(score / 100 * width * 8)
    return ("█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()).ljust(width)


def ascii_bar_of(score: float, width: int) -> str:
    """The same where the terminal has no blocks.

    Example:
        >>> ascii_bar_of(50.0, 4)
        '##  '
    """
    return ("#" * round(score / 100 * width)).ljust(width)


def fitted(text: str, width: int) -> str:
    """Text padded to `width` cells, or shortened in its middle: the end of a path tells the most.

    Example:
        >>> fitted("abc", 5), fitted("photos/2024/a.jpg", 11)
        ('abc  ', 'ph…24/a.jpg')
    """
    if cells(text) <= width:
        return text + " " * (width - cells(text))
    head = _first(text, width // 4)
    tail = _first(text[::-1], width - 1 - cells(head))[::-1]
    return head + "…" + tail + " " * (width - 1 - cells(head) - cells(tail))


def cells(text: str) -> int:
    """Width of a text on a terminal: Chinese and Japanese take two cells a character."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def plain(text: str) -> str:
    r"""Text that cannot move the cursor: control characters are written as Python writes them.

    Example:
        >>> print(plain("a\nb"))
        a\nb
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@contextmanager
def progress(total: int, stream: TextIO, rows_to_terminal: bool) -> Iterator[Callable[[], None]]:
    """Show how many of `total` are done, the rate and the time left, while the block runs.

    Args:
        total: images in all.
        stream: a terminal.
        rows_to_terminal: rows are written to the same terminal, so they must go above the bar.

    Yields:
        A function to call after each image.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=stream), transient=True, redirect_stdout=rows_to_terminal) as shown:
        task = shown.add_task("", total=total, rate="")

        def advance() -> None:
            speed = shown.tasks[0].speed
            shown.update(task, advance=1, rate=f"{speed:.1f} images/s" if speed else "")

        yield advance


def _first(text: str, room: int) -> str:
    """As much of the beginning of a text as fits into `room` cells."""
    while cells(text) > room:
        text = text[: min(len(text) - 1, room)]
    return text


def _painted(text: str, shade: str, color: bool) -> str:
    if not color:
        return text
    import click

    return click.style(text, fg=shade)
