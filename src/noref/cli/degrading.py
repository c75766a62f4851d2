"""What one does to pictures: make them worse in a known way."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from noref.cli.group import FAILED, cli
from noref.errors import OptionError

if TYPE_CHECKING:
    from noref.degrade.labelled_set import SetResult


@cli.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path))
@click.option("--distortion", "-d", metavar="NAME", help="One of the 24; a wrong name lists the nearest.")
@click.option("--level", "-l", metavar="1-5", help="Its strength, 1 is the faintest.")
@click.option("--sheet", metavar="FILE", type=click.Path(path_type=Path), help="Draw all 24 x 5 of one image there.")
@click.option("--out", "-o", metavar="FILE|DIR", type=click.Path(path_type=Path), help="Where the result goes.")
@click.option("--compositions", type=int, metavar="N", help="N random compositions an image instead of all 24 x 5.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all chance.")
@click.option("--workers", type=int, metavar="N", help="Photos at a time. Default: one for each core.")
def degrade(
    paths: tuple[Path, ...],
    distortion: str | None,
    level: str | None,
    sheet: Path | None,
    out: Path | None,
    compositions: int | None,
    seed: int,
    workers: int | None,
) -> int:
    """Make pictures worse in a known way: 24 distortions, five levels each, or random compositions of them.

    \b
    noref degrade photo.jpg --distortion jpeg --level 3           writes photo_jpeg_3.png here
    noref degrade photo.jpg -d white_noise -l 5 --out noisy.png
    noref degrade photo.jpg --sheet sheet.png                     all 24 at all levels, to look at
    noref degrade photos/ --out set/                              a labelled set: 120 images a photo and set.csv
    noref degrade photos/ --out set/ --compositions 20            random compositions instead

    A set that was interrupted goes on where it stopped. Its score column is measured (SSIM), not human. Exit status
    1 when a photo cannot be read; such photos are listed.
    """
    one = distortion is not None or level is not None
    if (one and sheet is not None) or ((one or sheet is not None) and compositions is not None):
        raise OptionError("choose one: --distortion with --level, --sheet, or a set with --out DIR")
    if one or sheet is not None:
        if len(paths) > 1 or paths[0].is_dir():
            raise OptionError("--distortion and --sheet take one image; a folder makes a set with --out DIR")
        if sheet is not None:
            return _draw(paths[0], sheet, out, seed)
        return _one(paths[0], distortion, level, out, seed)
    if out is None:
        raise OptionError("give --distortion NAME --level 1-5, --sheet FILE, or --out DIR for a labelled set")
    return _set(paths, out, compositions, seed, workers)


def _one(photo: Path, distortion: str | None, level: str | None, out: Path | None, seed: int) -> int:
    from noref.degrade.files import degrade_file

    if distortion is None or level is None:
        raise OptionError(f"--{'distortion NAME' if distortion is None else 'level 1-5'} is missing")
    click.echo(f"{degrade_file(photo, distortion, level, out, seed=seed)}")
    return 0


def _draw(photo: Path, sheet: Path, out: Path | None, seed: int) -> int:
    from noref.degrade.files import draw_file

    if out is not None:
        raise OptionError("--sheet names its own file: leave out --out")
    click.echo(f"{draw_file(photo, sheet, seed=seed)}")
    return 0


def _set(paths: tuple[Path, ...], out: Path, compositions: int | None, seed: int, workers: int | None) -> int:
    from noref.degrade.files import find_photos
    from noref.degrade.labelled_set import write_set

    photos = find_photos(paths)
    count = _cores() if workers is None else workers
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("degrading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("", total=len(photos))
        result = write_set(
            photos,
            out,
            compositions=compositions,
            seed=seed,
            workers=count,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    return _report(result)


def _report(result: SetResult) -> int:
    for path, why in result.skipped:
        click.echo(f"{path}: {why}; skipped", err=True)
    click.echo(f"{result.table}: {result.written + result.kept} images, {result.written} new", err=True)
    click.echo(f"{result.table}")
    return FAILED if result.skipped else 0


def _cores() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
