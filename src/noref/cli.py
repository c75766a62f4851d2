"""The command line: each command parses, calls, prints and chooses the exit status; the work is done elsewhere."""

from __future__ import annotations

import os
import sys

import click

from noref.errors import NorefError, OptionError, unknown

FAILED, WRONG_CALL, BELOW_MINIMUM, INTERRUPTED, PIPE_CLOSED = 1, 2, 3, 130, 141


class Commands(click.Group):
    """A group that offers the nearest name for a command that does not exist."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command as click does."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise click.UsageError(str(unknown("command", args[0], self.commands)), ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> int:
        """Run the command; a reader that has gone, as `head` does, ends it quietly."""
        try:
            return super().invoke(ctx) or 0
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return PIPE_CLOSED


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="noref", prog_name="noref", message="%(prog)s %(version)s")
def cli() -> None:
    """Tell how good a picture looks, with nothing to compare it to.

    \b
    noref score photos/                 a table of scores, 0-100, higher is better
    noref score *.jpg --min 40          exit status 3 when an image is below 40
    noref score photos/ --format csv    for other programs
    noref demo                          see scores fall as a scene is degraded

    Exit status: 0 all done, 1 some inputs failed and are listed, 2 the call itself is wrong, 3 all were scored and
    some are below --min.
    """


@cli.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=str))
@click.option(
    "--model", default="default", show_default=True, metavar="NAME|FILE", help="A model's name or .onnx file."
)
@click.option("--recursive", "-r", is_flag=True, help="Look into folders below the folders too.")
@click.option(
    "--format", "-f", "form", type=click.Choice(["table", "csv", "jsonl"]), help="Default: table, or as FILE ends."
)
@click.option("--output", "-o", metavar="FILE", help="Write the rows there, each as soon as it is known.")
@click.option(
    "--min", "minimum", type=click.FloatRange(0, 100), metavar="S", help="Exit with 3 when a score is below S."
)
@click.option("--max-megapixels", type=float, default=200.0, show_default=True, help="Larger images are errors.")
@click.option("--threads", type=int, help="Default: one for each core.")
def score(
    paths: tuple[str, ...],
    model: str,
    recursive: bool,
    form: str | None,
    output: str | None,
    minimum: float | None,
    max_megapixels: float,
    threads: int | None,
) -> int:
    """Score images and folders: one row an image, in the order given.

    Scores are in [0, 100], higher is better. A file that cannot be scored is a row with the reason.
    """
    from noref.scoring.run import score_files

    tally = score_files(
        paths,
        model=model,
        recursive=recursive,
        form=form,
        output=output,
        minimum=minimum,
        max_megapixels=max_megapixels,
        threads=threads,
    )
    return FAILED if tally.failed else BELOW_MINIMUM if tally.below else 0


@cli.command()
@click.option("--out", metavar="FOLDER", help="Keep the pictures there.")
@click.option(
    "--model", default="default", show_default=True, metavar="NAME|FILE", help="A model's name or .onnx file."
)
def demo(out: str | None, model: str) -> int:
    """Draw a scene, degrade it step by step, and watch the scores fall.

    Exit status 1 when a score does not fall.
    """
    from noref.demo import run as show

    return 0 if show(model=model, out=out, write=click.echo) else FAILED


def main() -> None:
    """Run the command line and leave with its exit status."""
    sys.exit(run())


def run(args: list[str] | None = None) -> int:
    """Run a command line, report on stderr what goes wrong, and return the exit status.

    Args:
        args: without the program's name; None: the process's own.
    """
    try:
        return cli.main(args, prog_name="noref", standalone_mode=False) or 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:  # Ctrl-C
        return INTERRUPTED
    except NorefError as error:
        click.echo(f"Error: {error}", err=True)
        return WRONG_CALL if isinstance(error, OptionError) else FAILED
