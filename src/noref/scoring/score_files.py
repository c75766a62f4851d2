"""A whole run of `noref score`: find, score, write each row, count."""

from __future__ import annotations

import io
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TextIO

from noref.errors import OptionError
from noref.images import MAX_MEGAPIXELS, pillow_allows, printable
from noref.scoring.files import Found, find
from noref.scoring.network import Network
from noref.scoring.rows import Row, Writer, csv_writer, jsonl_writer, rows
from noref.scoring.scorer import Scorer


@dataclass
class Tally:
    """What a run came to.

    Attributes:
        total: rows there should be.
        scored: images with a score.
        failed: images with an error.
        below: images with a score below `minimum`.
        minimum: what was asked for; None: nothing.
        seconds: from the start to the last row.
    """

    total: int
    scored: int = 0
    failed: int = 0
    below: int = 0
    minimum: float | None = None
    seconds: float = 0.0

    def count(self, row: Row, seconds: float) -> None:
        """Add one row that was known `seconds` after the start."""
        self.seconds = seconds
        self.scored += row.score is not None
        self.failed += row.score is None
        self.below += row.score is not None and self.minimum is not None and row.score < self.minimum

    def __str__(self) -> str:
        parts = [f"{self.scored} of {self.total} scored", f"{self.failed} failed"]
        if self.minimum is not None:
            parts.append(f"{self.below} below {self.minimum:g}")
        return ", ".join(parts) + f", {self.scored / max(self.seconds, 1e-9):.1f} images/s"


def score_files(
    paths: Sequence[str],
    *,
    model: str | Network = "default",
    recursive: bool = False,
    form: str | None = None,
    output: str | None = None,
    minimum: float | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
    threads: int | None = None,
) -> Tally:
    """Score files and folders and write a row each to `output` or stdout; progress and a summary go to stderr.

    Args:
        paths: files and folders, in the order of the rows.
        model: as in `Scorer`.
        recursive: folders below the folders too.
        form: `table`, `csv` or `jsonl`; None: as the output's name ends, else a table.
        output: a file, written over; None: stdout.
        minimum: scores below it are counted.
        max_megapixels: as in `Scorer`.
        threads: as in `Scorer`; a `Network` has its own.

    Raises:
        OptionError: an option that cannot work, such as an output that cannot be written.
        ModelError: the model cannot be trusted.
    """
    if minimum is not None and not 0 <= minimum <= 100:
        raise OptionError(f"min must be 0-100 like the scores, got {minimum}")
    found = find(paths, recursive=recursive)
    scorer = Scorer(model, threads=threads, max_megapixels=max_megapixels)
    form = form or _form_of(output)
    tally = Tally(len(found), minimum=minimum)
    start = time.monotonic()
    with _quiet_pillow(max_megapixels), _opened(output, found) as file, _progress(len(found), file) as advance:
        write = _writer(form, file or sys.stdout, found, minimum)
        try:
            with closing(rows(scorer, found)) as scored:
                for row in scored:
                    write(row)
                    tally.count(row, time.monotonic() - start)
                    advance()
        except KeyboardInterrupt:
            print(f"interrupted: {tally}", file=sys.stderr)
            raise
    if form == "table" or sys.stderr.isatty():
        print(tally, file=sys.stderr)
    return tally


def _form_of(output: str | None) -> str:
    suffix = os.path.splitext(output or "")[1].lower().removeprefix(".")
    return suffix if suffix in ("csv", "jsonl") else "table"


@contextmanager
def _quiet_pillow(max_megapixels: float) -> Iterator[None]:
    with pillow_allows(max_megapixels), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # what matters of them is in the rows
        yield


def _opened(output: str | None, found: Sequence[Found]) -> AbstractContextManager[TextIO | None]:
    if output is None:
        return nullcontext()
    if os.path.exists(output) and any(
        os.path.exists(item.path) and os.path.samefile(output, item.path) for item in found
    ):
        raise OptionError(f"{printable(output)}: is one of the images to score, not written over")
    try:
        return open(output, "w", encoding="utf-8", errors="backslashreplace", newline="")
    except OSError as error:
        raise OptionError(f"{printable(output)}: cannot be written: {error.strerror}") from error


def _progress(total: int, file: TextIO | None) -> AbstractContextManager[Callable[[], None]]:
    if total < 2 or not sys.stderr.isatty():
        return nullcontext(lambda: None)
    from noref.scoring.screen import progress

    return progress(total, sys.stderr, rows_to_terminal=file is None and sys.stdout.isatty())


def _writer(form: str, stream: TextIO, found: Sequence[Found], minimum: float | None) -> Writer:
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding=None if form == "table" else "utf-8", errors="backslashreplace")
    if form == "csv":
        return csv_writer(stream)
    if form == "jsonl":
        return jsonl_writer(stream)
    from noref.scoring.screen import table_writer

    columns = (os.get_terminal_size(stream.fileno()).columns or 80) if stream.isatty() else None
    return table_writer(stream, [printable(item.path) for item in found], columns=columns, minimum=minimum)
