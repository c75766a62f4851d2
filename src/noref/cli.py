"""The command line: each command parses, calls, prints and chooses the exit status; the work is done elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

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
@click.option("--min", "minimum", type=float, metavar="S", help="Exit with 3 when a score is below S.")
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
    from noref.scoring.network import Network

    network = Network(model, threads=threads)  # loads in a thread while the rest is imported
    from noref.scoring.run import score_files

    tally = score_files(
        paths,
        model=network,
        recursive=recursive,
        form=form,
        output=output,
        minimum=minimum,
        max_megapixels=max_megapixels,
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

    return 0 if show(model=model, out=out) else FAILED


@cli.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("recipe", required=False)
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[--KEY VALUE]...")
@click.option("--data", metavar="NAME=PATH", help="The data set's name and where it lies, such as livec=FOLDER.")
@click.option("--out", metavar="DIR", help="The run's folder: log, checkpoints, model, predictions.")
@click.option("--config", metavar="FILE", help="A YAML file of the recipe's options; --KEY VALUE wins over it.")
@click.option("--resume", is_flag=True, help="Go on with the run in DIR, from the end of its last epoch.")
@click.option("--help", "-h", "helped", is_flag=True, help="Show this; after a recipe's name also its options.")
@click.pass_context
def train(
    ctx: click.Context,
    recipe: str | None,
    options: tuple[str, ...],
    data: str | None,
    out: str | None,
    config: str | None,
    resume: bool,
    helped: bool,
) -> int:
    """Train a recipe on rated images.

    \b
    noref train deiqt --data livec=FOLDER --out RUN
    noref train deiqt --data csv=scores.csv --out RUN --backbone resnet50 --epochs 5
    noref train deiqt --out RUN --resume
    noref train deiqt --help             every option of the recipe
    """
    if helped and recipe is None:
        click.echo(ctx.get_help())
        return 0
    if recipe is None or (out is None and not helped):
        raise click.UsageError(f"Missing {'argument RECIPE' if recipe is None else 'option --out'}.", ctx)
    from noref.recipes import launch
    from noref.recipes.options import given_pairs

    if helped:
        rows = [(f"{option.flag} {option.kind}", option.words) for option in launch.recipe_options(recipe)]
        formatter = ctx.make_formatter()
        with formatter.section(f"Options of {recipe}"):
            formatter.write_dl(rows)
        click.echo(f"{ctx.get_help()}\n\n{formatter.getvalue()}", nl=False)
        return 0
    given = given_pairs(options)
    try:
        _print_figures(launch.train(recipe, data=data, out=str(out), config=config, options=given, resume=resume))
    except KeyboardInterrupt:
        click.echo(f"stopped; noref train {recipe} --out {out} --resume goes on", err=True)
        raise
    return 0


@cli.command()
@click.argument("model")
@click.option("--data", required=True, metavar="NAME=PATH", help="The data set's name and where it lies.")
@click.option(
    "--split", metavar="FILE", help="Judge this split's test part, or `all` images. Default: a run's own test part."
)
@click.option("--output", "-o", metavar="FILE", help="Write the predictions there, as CSV.")
@click.option(
    "--protocol", type=click.Choice(["grid", "paper"]), default="grid", show_default=True, help="Crops at test."
)
def evaluate(model: str, data: str, split: str | None, output: str | None, protocol: Literal["grid", "paper"]) -> int:
    """Compare a model's scores with human ones.

    MODEL is a run's folder, its model.safetensors, an .onnx file or `default`.
    """
    from noref.recipes.trained import evaluate as judge

    found = judge(model, data=data, split=split, output=output, protocol=protocol)
    click.echo(f"{found.model} on {found.data}, {found.part}", err=True)
    _print_figures(found.figures)
    return 0


@cli.command()
@click.argument("run")
@click.option("--out", required=True, metavar="FILE", help="The .onnx file to write; its card goes beside it.")
def export(run: str, out: str) -> int:
    """Make an .onnx file of a trained RUN, checked against it, for `noref score --model`."""
    from noref.recipes.trained import export as write

    card = write(run, out=out)
    click.echo(f"{out}: {card.name}, sha256 {card.sha256[:12]}", err=True)
    return 0


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


def _print_figures(figures: Mapping[str, float]) -> None:
    """One figure a line, name and value apart by a tab."""
    for name, value in figures.items():
        click.echo(f"{name}\t{value:.4f}" if isinstance(value, float) else f"{name}\t{value}")


def main() -> None:
    """Run the command line and leave with its exit status."""
    status = run()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BrokenPipeError):
            stream.flush()
    if "torch" in sys.modules:  # loaders and loggers may have something to finish
        sys.exit(status)
    os._exit(status)  # at once: an orderly end of ONNX Runtime takes as long as a score


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
    except OSError as error:  # the disk is full, or a folder is not ours
        click.echo(f"Error: {f'{error.filename}: ' if error.filename else ''}{error.strerror or error}", err=True)
        return FAILED
