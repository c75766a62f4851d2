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
    """Write report.html, report.md and report.json of SOURCE: a bench's folder, finished or not, or its table alone.

    \b
    noref report bench-deiqt-livec
    noref report predictions.csv --out pages      without bench.json: the same figures, fewer words
    noref report BENCH --compare baseline         every other variant against this one, on the same images

    The page holds everything inside itself: it can be sent, opened on a phone and printed. Exit status 1 when some
    cells have no figures, as with constant predictions; they are listed.
    """
    from noref.report.report import make_report

    made = make_report(source, compare=compare, pictures=pictures, draws=draws)
    click.echo(made.write(out or made.results.table.parent))
    for cell, reason in made.without_figures:
        click.echo(f"no figures: {cell}: {reason}", err=True)
    return FAILED if made.without_figures else 0
