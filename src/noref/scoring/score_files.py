"""All of `noref score`: find the images, score them, write a row for each, count."""

from __future__ import annotations

import io
import os
import sys
import time
import warnings
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from noref.errors import ImageError, OptionError
from noref.images import MAX_MEGAPIXELS, pillow_allows, printable
from noref.scoring.find_images import Found, file_stamp, find_images
from noref.scoring.network import Network
from noref.scoring.row_writers import WRITERS, Row, Writer, is_table
from noref.scoring.scorer import Scorer
from noref.scoring.terminal import progress, table_writer
from noref.writing import check_output

if TYPE_CHECKING:
    from noref.scoring.resume import Table

FORMATS = {".csv": "csv", ".jsonl": "jsonl"}


@dataclass
class Summary:
    """Counts of a run of `score_files`: rows in all, with a score, with an error, and with a score below `minimum`."""

    total: int
    minimum: float | None = None
    scored: int = 0
    kept: int = 0  # of the scored, from an earlier run
    failed: int = 0
    below: int = 0
    seconds: float = 0.0  # from the start to the last row

    def count(self, row: Row, seconds: float, *, kept: bool = False) -> None:
        """Add a row that was known `seconds` after the start."""
        self.kept += kept
        self.seconds = seconds
        self.scored += row.score is not None
        self.failed += row.score is None
        self.below += row.score is not None and self.minimum is not None and row.score < self.minimum

    def __str__(self) -> str:
        below = "" if self.minimum is None else f", {self.below} below {self.minimum:g}"
        rate = (self.scored - self.kept) / max(self.seconds, 1e-9)
        kept = f" ({self.kept} by an earlier run)" if self.kept else ""
        return f"{self.scored} of {self.total} scored{kept}, {self.failed} failed{below}, {rate:.1f} images/s"


def score_files(
    paths: Sequence[str],
    *,
    model: str | Network = "default",
    recursive: bool = False,
    row_format: str | None = None,
    output: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
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
        resume: score only what the table at `output` lacks: files without a score, and files of another size or time.
        minimum: scores below it are counted.

    Raises:
        OptionError: an option outside its range, or an output file that is an input, was not written by noref, is there
            without `overwrite` or `resume`, is no table that `resume` can go on with, or cannot be written.
        ModelError: the model's file or card is broken.
    """
    if overwrite and resume:
        raise OptionError("--resume goes on with a table and --overwrite replaces it: choose one")
    if minimum is not None and not 0 <= minimum <= 100:
        raise OptionError(f"min must be 0-100 like the scores, got {minimum}")
    found = find_images(paths, recursive=recursive)
    scorer = Scorer(model, max_megapixels=max_megapixels)
    row_format = row_format or FORMATS.get(os.path.splitext(output or "")[1].lower(), "table")
    if output is not None:
        _check_table(output, found, replace=overwrite or resume)
    table = _earlier(output, row_format, found, paths, scorer) if resume else None
    kept = table.kept if table else {}
    summary = Summary(len(found), minimum)
    start = time.monotonic()
    with (
        pillow_allows(max_megapixels),
        warnings.catch_warnings(),
        _opened(output, append=resume) as file,
        progress(len(found), sys.stderr, rows_to_terminal=file is None and sys.stdout.isatty()) as advance,
    ):
        warnings.filterwarnings("ignore", module="PIL")  # its errors are in the rows
        write = _writer(row_format, file or sys.stdout, found, minimum, header=not resume)
        try:
            with closing(score_rows(scorer, found, kept)) as rows:
                for row in rows:
                    is_kept = row is kept.get(row.path)
                    if not is_kept:
                        write(row)
                    summary.count(row, time.monotonic() - start, kept=is_kept)
                    advance()
        except KeyboardInterrupt:
            print(f"interrupted: {summary}", file=sys.stderr)
            raise
    if table:
        table.finish()
    if row_format == "table" or sys.stderr.isatty():
        print(summary, file=sys.stderr)
    return summary


def score_rows(scorer: Scorer, found: Sequence[Found], kept: Mapping[str, Row] | None = None) -> Generator[Row]:
    """Score images in order, a row for each; an image that fails is a row with the error.

    `kept` are rows by their path, which are given as they are.
    """
    kept = kept or {}
    todo = [item for item in found if printable(item.path) not in kept] if kept else found
    stamps = deque[tuple[int | None, str | None]]()  # taken before the file is read: a later change is seen

    def sources() -> Iterator[str]:
        for item in todo:
            if item.error is None:
                stamps.append(file_stamp(item.path))
                yield item.path

    model = scorer.card.name, scorer.card.sha256
    with closing(scorer.stream(sources())) as outcomes:
        for item in found:
            path = printable(item.path)
            if path in kept:
                yield kept[path]
                continue
            outcome = item.error or next(outcomes)
            size, time = stamps.popleft() if item.error is None else (None, None)
            score, error = None, None
            if isinstance(outcome, ImageError):
                error = str(outcome).removeprefix(f"{path}: ")
            else:
                score = outcome.value
            yield Row(path, score, error, *model, size, time)


def _check_table(output: str, found: Sequence[Found], *, replace: bool) -> None:
    way, inputs = "--resume goes on with it, --overwrite replaces it", (item.path for item in found)
    check_output(output, inputs=inputs, kind="images to score", ours=is_table, overwrite=replace, way=way)


def _opened(output: str | None, *, append: bool = False) -> AbstractContextManager[TextIO | None]:
    if output is None:
        return nullcontext()
    try:
        return open(output, "a" if append else "w", encoding="utf-8", errors="backslashreplace", newline="")
    except OSError as error:
        raise OptionError(f"{printable(output)}: cannot be written: {error.strerror}") from error


def _earlier(
    output: str | None, row_format: str, found: Sequence[Found], paths: Sequence[str], scorer: Scorer
) -> Table:
    """The table to go on with."""
    from noref.scoring.resume import Table

    if output is None:
        raise OptionError("--resume needs the table to go on with: --output FILE")
    try:
        return Table(output, row_format, found, paths, scorer.card)
    except OSError as error:
        raise OptionError(f"{printable(output)}: cannot be written: {error.strerror}") from error


def _writer(row_format: str, stream: TextIO, found: Sequence[Found], minimum: float | None, header: bool) -> Writer:
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding=None if row_format == "table" else "utf-8", errors="backslashreplace")
    if row_format in WRITERS:
        return WRITERS[row_format](stream, header=header)
    columns = (os.get_terminal_size(stream.fileno()).columns or 80) if stream.isatty() else None
    return table_writer(stream, [printable(item.path) for item in found], columns=columns, minimum=minimum)
