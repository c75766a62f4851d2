"""`noref report`: from predictions to pages."""

from __future__ import annotations

from pathlib import Path

import click

from noref.cli.group import FAILED, cli


@cli.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Where to. Default: beside the table.")
@click.option("--compare", metavar="VARIANT", help="What others are compared with. Default: the first variant.")
@click.option("--pictures/--no-pictures", default=True, help="Thumbnails of the best and worst predicted images.")
@click.option("--draws", type=int, default=1000, show_default=True, help="Of the bootstrap behind each interval.")
def report(source: Path, out: Path | None, compare: str | None, pictures: bool, draws: int) -> int:
    """Write a report of SOURCE as HTML, Markdown and JSON.

    SOURCE is a bench's folder, finished or not, or a training run's.

    \b
    noref report bench-deiqt-livec
    noref report RUN                              the test part of one training run
    noref report predictions.csv --out pages      a table alone: the same numbers, less about how they came to be
    noref report BENCH --compare baseline         every other variant against this one, on the same images

    The page holds everything inside itself: it can be sent, opened on a phone and printed. Exit status 1 when some
    cells have no metrics, as with constant predictions; they are listed.
    """
    from noref.report.build import build_report, check_folder

    check_folder(out or (source if source.is_dir() else source.parent))
    made = build_report(source, compare=compare, thumbnails=pictures, draws=draws)
    click.echo(made.write(out or made.results.table.parent))
    for cell, reason in made.undefined:
        click.echo(f"no metrics: {cell}: {reason}", err=True)
    return FAILED if made.undefined else 0
