"""All of `noref score`: find the images, score them, write a row for each, count."""

from __future__ import annotations

import io
import os
import sys
import time
import warnings
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from typing import TextIO

from noref.errors import ImageError, OptionError
from noref.images import MAX_MEGAPIXELS, pillow_allows, printable
from noref.scoring.find_images import Found, find_images
from noref.scoring.network import Network
from noref.scoring.row_writers import Row, Writer, csv_writer, is_table, jsonl_writer
from noref.scoring.scorer import Scorer
from noref.scoring.terminal import progress, table_writer
from noref.writing import check_output

FORMATS = {".csv": "csv", ".jsonl": "jsonl"}


@dataclass
class Summary:
    """Counts of a run of `score_files`: rows in all, with a score, with an error, and with a score below `minimum`."""

    total: int
    minimum: float | None = None
    scored: int = 0
    failed: int = 0
    below: int = 0
    seconds: float = 0.0  # from the start to the last row

    def count(self, row: Row, seconds: float) -> None:
        """Add a row that was known `seconds` after the start."""
        self.seconds = seconds
        self.scored += row.score is not None
        self.failed += row.score is None
        self.below += row.score is not None and self.minimum is not None and row.score < self.minimum

    def __str__(self) -> str:
        below = "" if self.minimum is None else f", {self.below} below {self.minimum:g}"
        rate = self.scored / max(self.seconds, 1e-9)
        return f"{self.scored} of {self.total} scored, {self.failed} failed{below}, {rate:.1f} images/s"


def score_files(
    paths: Sequence[str],
    *,
    model: str | Network = "default",
    recursive: bool = False,
    row_format: str | None = None,
    output: str | None = None,
    overwrite: bool = False,
    minimum: float | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Summary:
    """Score images and write each row as soon as it is known.

    Rows go to stdout or to `output`; the summary to stderr where there is a terminal or the format is `table`.

    Args:
        paths: files and folders, in the order of the rows.
        model: as in `Scorer`, and so `max_megapixels`.
        recursive: also the folders below the folders.
        row_format: `table`, `csv` or `jsonl`; None: as the output's name ends, else `table`.
        output: a file; None: stdout.
        overwrite: a table of noref at `output` is replaced.
        minimum: scores below it are counted.

    Raises:
        OptionError: an option outside its range, or an output file that is an input, was not written by noref, is there
            without `overwrite`, or cannot be written.
        ModelError: the model's file or card is broken.
    """
    if minimum is not None and not 0 <= minimum <= 100:
        raise OptionError(f"min must be 0-100 like the scores, got {minimum}")
    found = find_images(paths, recursive=recursive)
    scorer = Scorer(model, max_megapixels=max_megapixels)
    row_format = row_format or FORMATS.get(os.path.splitext(output or "")[1].lower(), "table")
    summary = Summary(len(found), minimum)
    start = time.monotonic()
    with (
        pillow_allows(max_megapixels),
        warnings.catch_warnings(),
        _opened(output, found, overwrite) as file,
        progress(len(found), sys.stderr, rows_to_terminal=file is None and sys.stdout.isatty()) as advance,
    ):
        warnings.filterwarnings("ignore", module="PIL")  # its errors are in the rows
        write = _writer(row_format, file or sys.stdout, found, minimum)
        try:
            with closing(score_rows(scorer, found)) as rows:
                for row in rows:
                    write(row)
                    summary.count(row, time.monotonic() - start)
                    advance()
        except KeyboardInterrupt:
            print(f"interrupted: {summary}", file=sys.stderr)
            raise
    if row_format == "table" or sys.stderr.isatty():
        print(summary, file=sys.stderr)
    return summary


def score_rows(scorer: Scorer, found: Sequence[Found]) -> Generator[Row]:
    """Score images in order, a row for each; an image that fails is a row with the error."""
    with closing(scorer.stream(item.path for item in found if item.error is None)) as outcomes:
        for item in found:
            path = printable(item.path)
            outcome = item.error or next(outcomes)
            if isinstance(outcome, ImageError):
                yield Row(path, error=str(outcome).removeprefix(f"{path}: "))
            else:
                yield Row(path, score=outcome.value)


def _opened(output: str | None, found: Sequence[Found], overwrite: bool) -> AbstractContextManager[TextIO | None]:
    if output is None:
        return nullcontext()
    inputs = (item.path for item in found)
    check_output(output, inputs=inputs, kind="images to score", ours=is_table, overwrite=overwrite)
    try:
        return open(output, "w", encoding="utf-8", errors="backslashreplace", newline="")
    except OSError as error:
        raise OptionError(f"{printable(output)}: cannot be written: {error.strerror}") from error


def _writer(row_format: str, stream: TextIO, found: Sequence[Found], minimum: float | None) -> Writer:
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding=None if row_format == "table" else "utf-8", errors="backslashreplace")
    if row_format == "csv":
        return csv_writer(stream)
    if row_format == "jsonl":
        return jsonl_writer(stream)
    columns = (os.get_terminal_size(stream.fileno()).columns or 80) if stream.isatty() else None
    return table_writer(stream, [printable(item.path) for item in found], columns=columns, minimum=minimum)
