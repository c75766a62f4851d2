"""All of `noref batch`: find the pictures, score them on Ray, write a row for each, count."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from noref.card import Card
from noref.errors import NorefError, OptionError
from noref.images import MAX_MEGAPIXELS, SCORED_SIDE
from noref.scoring.progress import progress
from noref.scoring.row_writers import Row
from noref.scoring.score_files import Summary
from noref.scoring.scorer import Scorer
from noref.serve.batch import ModelFiles, ScoreBatch, arrow, row_table
from noref.serve.batch_cluster import cause, cluster, errors_of_tasks, load_ray
from noref.serve.batch_inputs import Batch, find_batch
from noref.serve.batch_output import Output, inputs_of
from noref.serve.batch_tables import ReadRows, unit_table

if TYPE_CHECKING:
    import pyarrow as pa

MOST, FEWEST = 256, 8  # pictures of one task
TASKS = 32  # at least, for each actor, so that all end at about the same time
RETRIES = 1  # of a task whose process died, and of those that waited for this process
SAY = 30.0  # seconds between two lines where there is no terminal


def score_batches(
    inputs: Sequence[str],
    out: str,
    *,
    model: str | Path = "default",
    address: str | None = None,
    concurrency: int | None = None,
    recursive: bool = False,
    column: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    minimum: float | None = None,
    quiet: bool = False,
    max_megapixels: float = MAX_MEGAPIXELS,
    least_side: int = SCORED_SIDE,
    strict: bool = False,
    trim: bool = False,
    actor: type = ScoreBatch,
) -> Summary:
    """Score pictures with Ray Data and write a Parquet table with the columns of `noref score`.

    A picture that fails, or whose process died again and again, is a row with the error.

    Args:
        inputs: as for `find_batch`, and so `recursive` and `column`.
        out: `FILE.parquet` or a folder for parts, see `Output`.
        model: as in `Scorer`, and so the last options. Its files are sent to the actors.
        address: of a Ray cluster, `auto` for the one on this machine; None: one of our own, for as long as the run.
        concurrency: actors, of one thread each; None: as many as the cluster has cores.
        resume: score only what the table at `out` lacks: pictures without a score, and files of another size or time.
        overwrite: the table at `out` is replaced.
        minimum: scores below it are counted.
        quiet: no summary and no progress.
        actor: the class whose objects score; takes the arguments of `ScoreBatch`.

    Raises:
        OptionError: an option outside its range, an output as in `Output`, no cluster at the address.
        ModelError: the model's file or card is broken.
        MissingExtraError: Ray or pyarrow is not installed.
        NorefError: Ray scores nothing at all.
    """
    if resume and overwrite:
        raise OptionError("--resume goes on with a table and --overwrite replaces it: choose one")
    if concurrency is not None and concurrency < 1:
        raise OptionError(f"concurrency must be 1 or more, got {concurrency}")
    if minimum is not None and not 0 <= minimum <= 100:
        raise OptionError(f"min must be 0-100 like the scores, got {minimum}")
    load_ray()
    limits: dict[str, Any] = {
        "max_megapixels": max_megapixels,
        "least_side": least_side,
        "strict": strict,
        "trim": trim,
    }
    card = Scorer(model, threads=1, **limits).card  # an error of the model or of an option is known before Ray starts
    batch = find_batch(inputs, recursive=recursive, column=column)
    output = Output(out, overwrite=overwrite, resume=resume, inputs=inputs_of(batch))
    run = _Run(batch, output, card, Summary(batch.pictures.num_rows, minimum))
    kept = output.keep(batch, card, strict=strict, trim=trim) if resume else None
    arguments = {"model": ModelFiles.of(model), "file_systems": batch.file_systems, **limits}
    try:
        with _shown(run, quiet) as advance:
            run.advance = advance
            if kept:
                run.keep(*kept)
            run.refuse()
            if len(run.left()):
                with cluster(address, concurrency) as actors:
                    run.score(lambda items, size: _scored(batch, items, size, actor, arguments, actors))
    except BaseException:
        if output.leave():
            print(f"stopped: {run.summary}; the same command with --resume goes on", file=sys.stderr)
        raise
    output.finish(batch)
    if not quiet:
        print(run.summary, run.summary.spread, sep="\n" if run.summary.spread else "", file=sys.stderr)
    return run.summary


class _Run:
    """Which pictures have a row, and the counts."""

    def __init__(self, batch: Batch, output: Output, card: Card, summary: Summary) -> None:
        self.summary = summary
        self.advance: Callable[[], object] = int  # after each row
        self._batch, self._output, self._card = batch, output, card
        self._done = np.zeros(batch.pictures.num_rows, bool)
        self._start = time.monotonic()

    def left(self) -> Any:
        """The numbers of the pictures without a row."""
        return np.flatnonzero(~self._done)

    def keep(self, items: Any, rows: pa.Table) -> None:
        """Rows of an earlier run."""
        self._count(items, rows, kept=True)

    def refuse(self) -> None:
        """Rows of the inputs that give nothing to score."""
        errors = self._batch.pictures["error"]
        items = self.left()
        items = items[np.asarray(errors.is_valid().to_numpy(), bool)[items]]
        self._fail(items, [errors[int(item)].as_py() for item in items])

    def score(self, scored: Callable[[Any, int], Iterator[pa.Table]]) -> None:
        """Score what is left; where a process died, each picture comes again, alone, and then is an error."""
        most = int(np.clip(len(self.left()) // TASKS, FEWEST, MOST))
        with errors_of_tasks() as errors:
            for size in (most, 1):
                before = len(self.left())
                try:
                    for rows in scored(self.left(), size):
                        self._take(rows)
                except load_ray().exceptions.RayError as error:
                    errors.append(error)
                if not len(self.left()):
                    return
                if size > 1 and len(self.left()) == before:
                    raise NorefError(f"Ray scores nothing: {cause(errors)}")
            items = self.left()
            self._fail(items, [f"no process could score it: {cause(errors)}"] * len(items))

    def _take(self, rows: pa.Table) -> None:
        items = rows["item"].to_numpy()
        fresh = ~self._done[items]  # a task that was repeated may give a row again
        items, rows = items[fresh], rows.filter(arrow().array(fresh)).drop_columns(["item"])
        known = self._batch.pictures.take(arrow().array(items))
        for name in ("path", "time"):
            rows = rows.set_column(rows.column_names.index(name), name, known[name])
        self._output.add(rows)
        self._count(items, rows)

    def _fail(self, items: Any, errors: Iterable[str]) -> None:
        model = self._card.name, self._card.sha256
        known = self._batch.pictures.take(arrow().array(items)).to_pylist()
        rows = [
            Row(each["path"], None, error, *model, each["size"], each["time"])
            for each, error in zip(known, errors, strict=True)
        ]
        if rows:
            self._output.add(row_table(rows))
            self._count(items, row_table(rows))

    def _count(self, items: Any, rows: pa.Table, *, kept: bool = False) -> None:
        self._done[items] = True
        seconds = time.monotonic() - self._start
        for row in rows.to_pylist():
            self.summary.count(Row(**row), seconds, kept=kept)
        for _ in items:
            self.advance()


def _scored(
    batch: Batch, items: Any, size: int, actor: type, arguments: dict[str, Any], actors: int
) -> Iterator[pa.Table]:
    """Rows with the column `item`, as they come."""
    pa, data = arrow(), load_ray().data
    read = np.asarray(batch.pictures["file"].is_valid().to_numpy(), bool)
    files, blocks = items[read[items]], list[Any]()
    for part in np.split(files, range(size, len(files), size)) if len(files) else []:
        chosen = batch.pictures.select(["path", "file"]).take(pa.array(part))
        blocks.append(chosen.append_column("item", pa.array(part, pa.int64())))
    inside = items[~read[items]]
    units = [unit_table(g, part) for g in batch.groups for part in _parts(inside, g.first, g.rows, size)]
    options: dict[str, Any] = {"batch_format": "pyarrow", "batch_size": None}
    sets = [(data.from_arrow(blocks), len(blocks))] if blocks else []
    if units:
        reader = {"fn_constructor_args": (batch.file_systems,), "concurrency": 1, "num_cpus": 0}
        sets.append((data.from_arrow(units).map_batches(ReadRows, **reader, **options), len(inside)))
    for pictures, count in sets:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")  # `max_...` have no other way in 2.60
            rows = pictures.map_batches(
                actor,
                fn_constructor_kwargs=arguments,
                compute=data.ActorPoolStrategy(
                    size=min(actors, count), max_tasks_in_flight_per_actor=2 if size > 1 else 1
                ),
                num_cpus=1,
                max_restarts=-1,
                max_task_retries=RETRIES,
                **options,
            )
        yield from rows.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)


def _parts(items: Any, first: int, rows: int, size: int) -> list[Any]:
    """Those of the pictures that are in a row group: together, or one by one where `size` is 1."""
    inside = items[np.searchsorted(items, first) : np.searchsorted(items, first + rows)]
    if not len(inside):
        return []
    return [inside] if size > 1 else np.split(inside, len(inside))


@contextmanager
def _shown(run: _Run, quiet: bool) -> Iterator[Callable[[], None]]:
    """Progress on a terminal; a line now and then where there is none."""
    if quiet or sys.stderr.isatty():
        with progress(0 if quiet else run.summary.total, sys.stderr) as advance:
            yield advance
        return
    last = time.monotonic()

    def say() -> None:
        nonlocal last
        done = run.summary.scored + run.summary.failed == run.summary.total
        if time.monotonic() - last > SAY and not done:
            last = time.monotonic()
            print(run.summary, file=sys.stderr)

    yield say
