"""All of `noref score`: find the images, score them, write a row for each, count."""

from __future__ import annotations

import io
import os
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TextIO

from noref.decoding.cautions import is_damage
from noref.errors import ImageError, OptionError, printable
from noref.images import MAX_MEGAPIXELS, SCORED_SIDE, Source, name, pillow_allows
from noref.scoring.find_images import Found, file_stamp
from noref.scoring.intervals import COVERAGE
from noref.scoring.network import Network
from noref.scoring.progress import progress
from noref.scoring.row_writers import COLUMNS, INTERVAL, WHY, WRITERS, Row, Writer, is_below, is_table, paths_writer
from noref.scoring.scorer import Score, Scorer
from noref.scoring.selection import Selection
from noref.scoring.sources import gather
from noref.scoring.terminal import escape, table_writer
from noref.writing import check_output

if TYPE_CHECKING:
    from noref.scoring.resume import Table

FORMATS = {".csv": "csv", ".jsonl": "jsonl"}
UNSUPPORTED = {".json", ".parquet", ".xls", ".xlsx"}
PERCENTILES = (5, 25, 50, 75, 95)


@dataclass
class Summary:
    """Counts of a run of `score_files`: rows in all, with a score, with an error, and with a score below `minimum`."""

    total: int
    minimum: float | None = None
    sure: bool = False  # the lower end of the interval is compared with `minimum`, not the score
    scored: int = 0
    kept: int = 0  # of the scored, from an earlier run
    failed: int = 0
    below: int = 0
    cautious: int = 0  # of the scored, with a caution
    damaged: int = 0  # of these, with one that says that a part of the picture is missing or damaged
    seconds: float = 0.0  # from the start to the last row
    scores: list[float] = field(default_factory=list)

    def count(self, row: Row, seconds: float, *, kept: bool = False) -> None:
        """Add a row that was known `seconds` after the start."""
        self.kept += kept
        if row.score is not None:
            self.scores.append(row.score)
        self.seconds = seconds
        self.scored += row.score is not None
        self.failed += row.score is None
        self.cautious += row.score is not None and bool(row.caution)
        self.damaged += row.score is not None and is_damage(row.caution)
        self.below += is_below(row, self.minimum, sure=self.sure)

    def __str__(self) -> str:
        below = (
            "" if self.minimum is None else f", {self.below} {'perhaps ' if self.sure else ''}below {self.minimum:g}"
        )
        rate = (self.scored - self.kept) / max(self.seconds, 1e-9)
        kept = f" ({self.kept} by an earlier run)" if self.kept else ""
        damaged = f" ({self.damaged} damaged)" if self.damaged else ""
        caution = f", {self.cautious} with a caution{damaged}" if self.cautious else ""
        return f"{self.scored} of {self.total} scored{kept}, {self.failed} failed{caution}{below}, {rate:.1f} images/s"

    @property
    def spread(self) -> str:
        """Mean and percentiles of the scores, in words; empty without scores."""
        if not self.scores:
            return ""
        ordered, shares = sorted(self.scores), []
        for share in PERCENTILES:  # linear between two scores; numpy's function costs a cold start 20 ms
            low, rest = divmod(share / 100 * (len(ordered) - 1), 1)
            high = min(int(low) + 1, len(ordered) - 1)
            shares.append(f"{share} % {ordered[int(low)] * (1 - rest) + ordered[high] * rest:.1f}")
        return f"mean {sum(ordered) / len(ordered):.1f}; percentiles {', '.join(shares)}"


def score_files(
    paths: Sequence[str],
    *,
    list_file: str | None = None,
    model: str | Network = "default",
    recursive: bool = False,
    row_format: str | None = None,
    output: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    selection: Selection | None = None,
    minimum: float | None = None,
    sure: bool = False,
    why: bool = False,
    coverage: float | None = None,
    nul: bool = False,
    quiet: bool = False,
    max_megapixels: float = MAX_MEGAPIXELS,
    least_side: int = SCORED_SIDE,
    trim: bool = False,
    strict: bool = False,
) -> Summary:
    """Score images and write each row as soon as it is known.

    Rows go to stdout or to `output`, the summary to stderr; without a `selection` that sorts, each row at once.

    Args:
        paths: files and folders, in the order of the rows; `-` is standard input, see `noref.scoring.sources`.
        list_file: a file that lists more of them.
        model: as in `Scorer`, and so `max_megapixels`, `least_side`, `trim` and `strict`.
        recursive: also the folders below the folders.
        row_format: `table`, `csv`, `jsonl` or `paths` (of images with a score; the errors go to stderr); None: as the
            output's name ends, else `table`.
        output: a file; None: stdout.
        overwrite: a table of noref at `output` is replaced.
        resume: score only what the table at `output` lacks: files without a score, and files of another size or time.
        selection: which rows are written, in which order; all are counted.
        minimum: scores below it are counted.
        sure: those whose interval begins below it are counted.
        why: rows have the reasons.
        coverage: rows have the interval that holds this share of pictures' scores; None: 0.9 with `sure`, else none.
        nul: paths end with NUL instead of a line end.
        quiet: no summary and no progress.

    Raises:
        OptionError: an option outside its range, or an output file that is an input, was not written by noref, is there
            without `overwrite` or `resume`, is no table that `resume` can go on with, or cannot be written.
        ModelError: the model's file or card is broken.
    """
    selection = selection or Selection()
    _check_minimum(minimum, sure=sure)
    if resume:
        _check_resume(selection, overwrite=overwrite)
    row_format = _format(row_format, output)
    if nul and row_format != "paths":
        raise OptionError("-0 goes with --format paths")
    found = gather(paths, list_file, recursive=recursive, say=_silent if quiet else _to_stderr)
    coverage = COVERAGE if sure and coverage is None else coverage
    more: dict[str, Any] = {"strict": strict, "trim": trim, "coverage": COVERAGE if coverage is None else coverage}
    scorer = Scorer(model, max_megapixels=max_megapixels, least_side=least_side, **more)
    columns = _columns(scorer, why=why, interval=coverage is not None)
    if output is not None:
        _check_table(output, found, list_file, replace=overwrite or resume)
    more |= {"columns": columns, "coverage": coverage}
    table = _earlier(output, row_format, found, paths, scorer, more) if resume else None
    kept = table.kept if table else {}
    summary = Summary(len(found), minimum, sure)
    with (
        pillow_allows(max_megapixels),
        warnings.catch_warnings(),
        _opened(output, append=resume, exact=row_format == "paths") as file,
        progress(
            0 if quiet else len(found), sys.stderr, rows_to_terminal=file is None and sys.stdout.isatty()
        ) as advance,
    ):
        warnings.filterwarnings("ignore", module="PIL")  # its errors are in the rows
        layout = Layout(columns, header=not resume, end="\0" if nul else "\n", minimum=minimum, sure=sure)
        write = _writer(row_format, file or sys.stdout, found, layout)
        with closing(score_rows(scorer, found, kept)) as rows:
            _write_rows(rows, write, selection, kept, summary, advance)
    if table:
        table.finish()
    if not quiet:
        print(summary, summary.spread, sep="\n" if summary.spread else "", file=sys.stderr)
    return summary


def _silent(text: str) -> None:
    pass


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr)


def _check_minimum(minimum: float | None, *, sure: bool) -> None:
    if minimum is not None and not 0 <= minimum <= 100:
        raise OptionError(f"min must be 0-100 like the scores, got {minimum}")
    if sure and minimum is None:
        raise OptionError("--sure goes with --min")


def _check_resume(selection: Selection, *, overwrite: bool) -> None:
    if overwrite:
        raise OptionError("--resume goes on with a table and --overwrite replaces it: choose one")
    if selection != Selection():
        raise OptionError("--resume goes on with a table and needs all its rows: sort and select when it is done")


def _write_rows(
    rows: Iterable[Row],
    write: Writer,
    selection: Selection,
    kept: Mapping[str, Row],
    summary: Summary,
    advance: Callable[[], None],
) -> None:
    start, held = time.monotonic(), list[Row]()
    try:
        for row in rows:
            is_kept = row is kept.get(row.path)
            if selection.waits:
                held.append(row)
            elif not is_kept and selection.keeps(row):
                write(row)
            summary.count(row, time.monotonic() - start, kept=is_kept)
            advance()
    except KeyboardInterrupt:
        print(f"interrupted: {summary}", file=sys.stderr)
        raise
    for row in selection.ordered(held):
        write(row)


def score_rows(scorer: Scorer, found: Sequence[Found], kept: Mapping[str, Row] | None = None) -> Generator[Row]:
    """Score images in order, a row for each; an image that fails is a row with the error.

    `kept` are rows by their path, which are given as they are.
    """
    kept = kept or {}
    todo = [item for item in found if printable(item.path) not in kept] if kept else found
    stamps = deque[tuple[int | None, str | None]]()  # taken before the file is read: a later change is seen

    def sources() -> Iterator[Source]:
        for item in todo:
            if item.content is not None:
                stamps.append((len(item.content) if isinstance(item.content, bytes) else None, None))
                yield item.content
            elif item.error is None:
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
            row = Row(path, None, None, *model, size, time, file=item.path)
            if isinstance(outcome, ImageError):
                error = str(outcome).removeprefix(f"{name(item.path if item.content is None else item.content)}: ")
                yield replace(row, error=error)
            else:
                yield _scored(row, outcome, scorer)


def _scored(row: Row, score: Score, scorer: Scorer) -> Row:
    low, high = score.interval or (None, None)
    return replace(
        row,
        score=score.value,
        caution="; ".join(score.cautions) or None,
        low=low,
        high=high,
        coverage=None if low is None else scorer.coverage,
        reasons=tuple(score.reasons) if scorer.has_reasons else None,
    )


def _columns(scorer: Scorer, *, why: bool, interval: bool) -> tuple[str, ...]:
    for wanted, there, what in ((why, scorer.has_reasons, "why: reasons"), (interval, scorer.has_interval, "interval")):
        if wanted and not there:
            raise OptionError(f"{what} cannot be given: the model {scorer.card.name} was exported without")
    return (*COLUMNS, *(WHY if why else ()), *(INTERVAL if interval else ()))


def _format(row_format: str | None, output: str | None) -> str:
    suffix = os.path.splitext(output or "")[1].lower()
    if row_format is None and suffix in UNSUPPORTED:
        raise OptionError(f"{printable(output or '')}: {suffix} is not written; .csv and .jsonl are")
    return row_format or FORMATS.get(suffix, "table")


def _check_table(output: str, found: Sequence[Found], list_file: str | None, *, replace: bool) -> None:
    way, inputs = (
        "--resume goes on with it, --overwrite replaces it",
        [item.path for item in found if item.content is None],
    )
    inputs += [list_file] if list_file else []
    check_output(output, inputs=inputs, kind="images to score", ours=is_table, overwrite=replace, way=way)


def _opened(output: str | None, *, append: bool = False, exact: bool = False) -> AbstractContextManager[TextIO | None]:
    if output is None:
        return nullcontext()
    try:
        errors = "surrogateescape" if exact else "backslashreplace"
        return open(output, "a" if append else "w", encoding="utf-8", errors=errors, newline="")
    except OSError as error:
        raise OptionError(f"{printable(output)}: cannot be written: {error.strerror}") from error


def _earlier(
    output: str | None,
    row_format: str,
    found: Sequence[Found],
    paths: Sequence[str],
    scorer: Scorer,
    more: Mapping[str, Any],
) -> Table:
    """The table to go on with."""
    from noref.scoring.resume import Table

    if output is None:
        raise OptionError("--resume needs the table to go on with: --output FILE")
    try:
        return Table(output, row_format, found, paths, scorer.card, **more)
    except OSError as error:
        raise OptionError(f"{printable(output)}: cannot be written: {error.strerror}") from error


@dataclass(frozen=True)
class Layout:
    """How rows are written: their columns, whether a header comes first, the end of a path, and what is marked."""

    columns: tuple[str, ...]
    header: bool
    end: str
    minimum: float | None
    sure: bool


def _writer(row_format: str, stream: TextIO, found: Sequence[Found], layout: Layout) -> Writer:
    if isinstance(stream, io.TextIOWrapper):
        errors = "surrogateescape" if row_format == "paths" else "backslashreplace"
        stream.reconfigure(encoding=None if row_format == "table" else "utf-8", errors=errors)
    if row_format in WRITERS:
        return WRITERS[row_format](stream, header=layout.header, columns=layout.columns)
    if row_format == "paths":
        write_path = paths_writer(stream, end=layout.end)

        def write(row: Row) -> None:
            if row.error is not None:
                print(f"{escape(row.path)}: {row.error}", file=sys.stderr)
            write_path(row)

        return write
    width = (os.get_terminal_size(stream.fileno()).columns or 80) if stream.isatty() else None
    paths = [printable(item.path) for item in found]
    return table_writer(
        stream, paths, columns=width, minimum=layout.minimum, sure=layout.sure, more=layout.columns[len(COLUMNS) :]
    )
