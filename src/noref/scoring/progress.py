"""How far a long run is: a bar on a terminal, a line every half minute elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO, TypeVar

Item = TypeVar("Item", covariant=True)
EVERY = 30.0  # seconds between two lines
Advance = Callable[..., None]  # (count=1, title=None)
_running = threading.Lock()  # what begins inside of another one shows nothing


class Counted(Protocol[Item]):
    """Items whose number is known."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Item]: ...


@contextmanager
def progress(
    total: int, stream: TextIO, *, title: str = "", unit: str = "images", done: int = 0, rows_to_terminal: bool = False
) -> Iterator[Advance]:
    """Show what is done, the rate and the time left while the block runs; yield a function to call after each item.

    On a terminal it is a bar, elsewhere a line every 30 seconds, also while one item takes longer. Nothing is shown
    where `total` is 0, of a single item on a terminal, and inside of a block that shows its own.

    Args:
        total: how many items there are.
        stream: where to.
        title: what is done, in front; the function takes another one as `title`.
        unit: of the items, for the rate.
        done: items that an earlier run has done.
        rows_to_terminal: rows are written to the same terminal and stay above the bar.
    """
    terminal = stream.isatty()
    if total < 1 + terminal or not _running.acquire(blocking=False):
        yield lambda *_, **__: None
        return
    try:
        with (_bar if terminal else _lines)(total, stream, title, unit, done, rows_to_terminal) as advance:
            yield advance
    finally:
        _running.release()


def tracked(items: Counted[Item], title: str, *, unit: str = "images") -> Iterator[Item]:
    """The items, with `progress` on stderr while they are worked on."""
    with progress(len(items), sys.stderr, title=title, unit=unit) as advance:
        for item in items:
            yield item
            advance()


def duration(seconds: float) -> str:
    """A time in the unit that fits it.

    Example:
        >>> duration(0.31), duration(45), duration(150), duration(9000)
        ('0.3 s', '45 s', '2.5 min', '2.5 h')
    """
    if seconds < 59.5:
        return f"{seconds:.{0 if seconds >= 9.5 else 1}f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def _lines(total: int, stream: TextIO, title: str, unit: str, done: int, _rows: bool) -> Iterator[Advance]:
    begun, words, start, over = done, title, time.monotonic(), threading.Event()

    def advance(count: int = 1, title: str | None = None) -> None:
        nonlocal done, words
        done, words = done + count, words if title is None else title

    def tell() -> None:
        while not over.wait(EVERY):
            rate = (done - begun) / (time.monotonic() - start)
            left = f", {rate:.1f} {unit}/s, about {duration((total - done) / rate)} left" if rate else ""
            print(f"{f'{words}: ' if words else ''}{done} of {total}{left}", file=stream, flush=True)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield advance
    finally:
        over.set()
        thread.join()


@contextmanager
def _bar(total: int, stream: TextIO, title: str, unit: str, done: int, rows: bool) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    words = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    console = Console(file=stream)
    with Progress(*words, TimeRemainingColumn(), console=console, transient=True, redirect_stdout=rows) as shown:
        task = shown.add_task(title, total=total, completed=done, rate="")

        def advance(count: int = 1, title: str | None = None) -> None:
            speed = shown.tasks[0].speed
            rate = f"{speed:.1f} {unit}/s" if speed else ""
            shown.update(task, advance=count, description=title, rate=rate)

        yield advance
