"""`noref data`: check a data set, resize its images once."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import click

from noref.cli.group import FAILED, PATH, Commands, cli, table_options


@cli.group(cls=Commands)
def data() -> None:
    """Check a data set, resize its images once."""


@data.command()
@click.argument("name")
@click.argument("path", type=PATH)
@click.option("--all", "whole", is_flag=True, help="Write long lists to their end.")
@click.option("--good", type=PATH, metavar="FILE", help="Write the images that can be trained on there, as a csv.")
@table_options
def check(name: str, path: Path, whole: bool, good: Path | None, table: dict[str, Any]) -> int:
    """Compare the data set NAME at PATH with what was published.

    Counts, missing, broken and equal files, direction of the scores.

    \b
    noref data check tid2013 TID2013
    noref data check csv scores.csv --all
    noref data check csv mos.csv --columns image=file,score=mos --range 1,5
    noref data check koniq10k FOLDER --good good.csv     what is there and can be read
    noref data check live-original LIVE     with the scores before their realignment

    Exit status 1 when something is wrong.
    """
    from noref.data.check import check as examine

    with _bar() as progress:
        report = examine(name, path, good=good, progress=progress, **table)
    click.echo(report.render(limit=None if whole else 20))
    return report.exit_status


@data.command()
@click.argument("name")
@click.argument("path", type=PATH)
@click.option("--out", required=True, metavar="FOLDER", type=PATH, help="A new folder.")
@click.option("--side", type=int, metavar="PIXELS", help="Shorter side. Default: as in CSIQA's Table 6.")
@click.option("--jpeg", type=int, metavar="QUALITY", help="Write JPEG, 95 to 100. Default: PNG, which loses nothing.")
@click.option("--threads", type=int, help="Default: one for each core.")
@table_options
def prepare(name: str, path: Path, out: Path, table: dict[str, Any], **call: Any) -> int:
    """Resize the images of the data set NAME at PATH into FOLDER.

    The aspect is kept; FOLDER is a data set of the same NAME.

    \b
    noref data prepare spaq SPAQ --out SPAQ-384
    noref data prepare csv scores.csv --out small --side 384 --jpeg 97

    After an interruption, repeat the same call: finished images stay. Exit status 1 when an image cannot be read.
    """
    from noref.data.own_csv import flags
    from noref.data.prepare import prepare as resize
    from noref.errors import printable

    with _bar() as progress:
        done = resize(name, path, out, table=table, progress=progress, **call)
    for _, reason in done.failed:
        click.echo(reason, err=True)
    lacking = f", {done.missing} missing from the data set" if done.missing else ""
    counts = f"{done.written} images written, {done.kept} kept, {len(done.failed)} failed{lacking}"
    click.echo(f"shorter side {done.side}: {counts}")
    words = shlex.join(["noref", "data", "check", name, printable(str(done.path)), *flags(done.table)])
    click.echo(f"Next: {words}")
    return FAILED if done.failed else 0


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal's stderr, shown from the first finished image on."""
    from noref.scoring.progress import progress

    with ExitStack() as stack:
        start = cache(lambda count: stack.enter_context(progress(count, sys.stderr)))  # once, for there is one count
        yield lambda done, count: start(count)()
