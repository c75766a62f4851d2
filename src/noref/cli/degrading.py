"""`noref degrade`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from noref.cli.group import FAILED, PATH, cli
from noref.errors import OptionError


@cli.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=PATH)
@click.option("--distortion", "-d", metavar="NAME", help="One of the 24; a wrong name lists the nearest.")
@click.option("--level", "-l", metavar="1-5", help="Its strength, 1 is the faintest.")
@click.option("--sheet", metavar="FILE", type=PATH, help="Draw all 24 x 5 of one image there.")
@click.option("--out", "-o", metavar="FILE|DIR", type=PATH, help="Where the result goes.")
@click.option("--compositions", type=int, metavar="N", help="N random compositions an image instead of all 24 x 5.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the random numbers.")
@click.option("--overwrite", is_flag=True, help="Replace a PNG or TIFF that noref wrote.")
@click.option("--workers", type=int, metavar="N", help="Images at a time. Default: one for each core.")
def degrade(
    paths: tuple[Path, ...], distortion: str | None, level: str | None, sheet: Path | None, out: Path | None, **run: Any
) -> int:
    """Degrade pictures by 24 distortions at five levels each.

    \b
    noref degrade photo.jpg --distortion jpeg --level 3           writes photo_jpeg_3.png here
    noref degrade photo.jpg -d white_noise -l 5 --out noisy.png
    noref degrade photo.jpg --sheet sheet.png                     all 24 at all levels, to look at
    noref degrade photos/ --out set/                              a labelled set: 120 images a photo and set.csv
    noref degrade photos/ --out set/ --compositions 20            random compositions instead

    Call an interrupted set again and it continues. Its score column is measured (SSIM), not human. Unreadable
    photos are listed, and the exit status is 1.
    """
    one = distortion is not None or level is not None
    if (one and sheet is not None) or ((one or sheet is not None) and run["compositions"] is not None):
        raise OptionError("choose one: --distortion with --level, --sheet, or a set with --out DIR")
    if not one and sheet is None:
        if out is None:
            raise OptionError("give --distortion NAME --level 1-5, --sheet FILE, or --out DIR for a labelled set")
        run.pop("overwrite")  # a set goes on
        return _write_set(paths, out, **run)
    if len(paths) > 1 or paths[0].is_dir():
        raise OptionError("--distortion and --sheet take one image; a folder makes a set with --out DIR")
    from noref.degrade.files import degrade_file, draw_file

    if sheet is not None:
        if out is not None:
            raise OptionError("--sheet names its own file: leave out --out")
        click.echo(draw_file(paths[0], sheet, seed=run["seed"], overwrite=run["overwrite"]))
        return 0
    if distortion is None or level is None:
        raise OptionError(f"--{'distortion NAME' if distortion is None else 'level 1-5'} is missing")
    click.echo(degrade_file(paths[0], distortion, level, out, seed=run["seed"], overwrite=run["overwrite"]))
    return 0


def _write_set(paths: tuple[Path, ...], out: Path, compositions: int | None, seed: int, workers: int | None) -> int:
    from noref.degrade.files import find_photos
    from noref.degrade.labelled_set import write_set
    from noref.scoring.network import cores
    from noref.scoring.progress import progress

    photos = find_photos(paths)
    workers = cores() if workers is None else workers
    with progress(len(photos), sys.stderr) as advance:
        result = write_set(
            photos, out, compositions=compositions, seed=seed, workers=workers, progress=lambda done, total: advance()
        )
    for path, reason in result.skipped:
        click.echo(f"{path}: {reason}; skipped", err=True)
    click.echo(f"{result.table}: {result.written + result.kept} images, {result.written} new", err=True)
    click.echo(result.table)
    return FAILED if result.skipped else 0
