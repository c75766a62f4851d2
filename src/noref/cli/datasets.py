"""What one does with data sets: look at them."""

from __future__ import annotations

from pathlib import Path

import click

from noref.cli.group import Commands, cli


@cli.group(cls=Commands)
def data() -> None:
    """Look at data sets."""


@data.command()
@click.argument("name")
@click.argument("path", type=click.Path(path_type=Path))
def check(name: str, path: Path) -> int:
    """Compare the data set NAME at PATH with what was published: counts, missing and broken files, twins, direction.

    Exit status 1 when something is wrong.
    """
    from noref.data.check import check as examine

    report = examine(name, path)
    click.echo(report.render())
    return report.exit_status
