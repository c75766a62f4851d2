"""The root of the command line, its exit statuses, and what several commands take and print."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

import click

from noref.errors import unknown

PATH = click.Path(path_type=Path, readable=False)  # a file that cannot be read is an error of that file alone
recursive_option = click.option("--recursive", "-r", is_flag=True, help="Look into folders below the folders too.")
FAILED, WRONG_CALL, BELOW_MINIMUM, INTERRUPTED, PIPE_CLOSED = 1, 2, 3, 130, 141


HOMES = {  # command -> the module in this folder that adds it to the root; `noref score` imports no other one
    "batch": "batching",
    "bench": "benching",
    "calibrate": "calibrating",
    "convert": "training",
    "data": "datasets",
    "degrade": "degrading",
    "demo": "pictures",
    "embed": "embedding",
    "evaluate": "training",
    "explain": "explaining",
    "export": "training",
    "gmad": "gmad",
    "report": "reporting",
    "score": "pictures",
    "push": "sharing",
    "serve": "serving",
    "train": "training",
}


class Commands(click.Group):
    """A group that offers the nearest name for a command that does not exist."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command as click does."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise click.UsageError(str(unknown("command", args[0], self.list_commands(ctx))), ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> int:
        """Run the command; where the reader of a pipe has gone, as `head` does, end without a message."""
        try:
            return super().invoke(ctx) or 0
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return PIPE_CLOSED


class Root(Commands):
    """The root, whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, sorted."""
        return sorted({*self.commands, *HOMES})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name."""
        if cmd_name not in self.commands and cmd_name in HOMES:
            importlib.import_module(f"noref.cli.{HOMES[cmd_name]}")
        return super().get_command(ctx, cmd_name)


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(None, "-V", "--version", package_name="noref", message="%(prog)s %(version)s")
def cli() -> None:
    """Tell how good a picture looks, without a reference picture to compare it to.

    \b
    noref score photos/                 a table of scores, 0-100, higher is better
    noref score *.jpg --min 40          exit status 3 when an image is below 40
    noref score photos/ --format csv    for other programs
    noref demo                          see scores fall as a scene is degraded
    noref help COMMAND                  what COMMAND does, and all its options

    Exit status: 0 all done, 1 some inputs failed and are listed, 2 the call itself is wrong, 3 all were scored and
    some are below --min.
    """


@cli.command("help")
@click.argument("command", nargs=-1)
def show_help(command: tuple[str, ...]) -> int:
    """Show what COMMAND does, as `noref COMMAND --help`."""
    return cli.main([*command, "--help"], prog_name="noref", standalone_mode=False) or 0


def table_options(command: Callable[..., int]) -> Callable[..., int]:
    """What is said of a table of one's own, `csv=FILE`; the command gets it as `table`, options of the reader."""

    @click.option("--columns", metavar="image=NAME,...", help="What a csv calls its columns image, score...")
    @click.option("--images", metavar="FOLDER", help="Where the images of a csv lie. Default: beside it.")
    @click.option("--range", "range_text", metavar="LOW,HIGH", help="Range of the scores of a csv, such as 1,5.")
    @click.option("--lower-is-better", is_flag=True, help="The scores of a csv fall with quality, as DMOS.")
    @wraps(command)
    def with_table(
        *args: Any, columns: str | None, images: str | None, range_text: str | None, lower_is_better: bool, **call: Any
    ) -> int:
        from noref.data.own_csv import options

        said = options(columns=columns, images=images, range_text=range_text, lower_is_better=lower_is_better)
        return command(*args, table=said, **call)

    return with_table


def list_failed(failed: Mapping[str, str]) -> None:
    """Each input that is left out and the reason, on stderr."""
    from noref.scoring.terminal import escape

    for path, reason in failed.items():
        click.echo(f"left out: {escape(path)}: {reason}", err=True)


def print_metrics(metrics: Mapping[str, float]) -> None:
    """One metric a line, name and value with a tab between them."""
    for name, value in metrics.items():
        click.echo(f"{name}\t{value:.4f}" if isinstance(value, float) else f"{name}\t{value}")
