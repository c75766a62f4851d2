"""`noref score` and `noref demo`."""

from __future__ import annotations

from typing import Any

import click

from noref.cli.group import BELOW_MINIMUM, FAILED, cli, recursive_option

FORMATS = click.Choice(["table", "csv", "jsonl"])
model_option = click.option(
    "--model", default="default", show_default=True, metavar="NAME|FILE", help="A model's name or .onnx file."
)


@cli.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=str, readable=False))
@model_option
@recursive_option
@click.option("--format", "-f", "row_format", type=FORMATS, help="Default: as FILE ends, else table.")
@click.option("--output", "-o", metavar="FILE", help="Write the rows there, each as soon as it is known.")
@click.option("--resume", is_flag=True, help="Score only what the table in FILE lacks.")
@click.option("--overwrite", is_flag=True, help="Replace FILE where it is a table that noref wrote.")
@click.option("--min", "minimum", type=float, metavar="S", help="Exit with 3 when a score is below S.")
@click.option("--max-megapixels", type=float, default=200.0, show_default=True, help="Larger images are errors.")
@click.option("--threads", type=int, help="Default: one for each core.")
def score(paths: tuple[str, ...], model: str, threads: int | None, **options: Any) -> int:
    """Score images and folders: one row an image, in the order given.

    \b
    noref score photos/ --recursive
    noref score photos/ --format csv --output scores.csv
    noref score photo.jpg --min 40                  exit status 3 when it is below 40

    Scores are in [0, 100], higher is better. An image that has no score is a row with the reason, and the exit status
    is 1.
    """
    from noref.scoring.network import Network

    network = Network(model, threads=threads)  # loads in a thread while the rest is imported
    from noref.scoring.score_files import score_files

    summary = score_files(paths, model=network, **options)
    return FAILED if summary.failed else BELOW_MINIMUM if summary.below else 0


@cli.command()
@click.option("--out", metavar="FOLDER", help="Keep the pictures there.")
@model_option
def demo(out: str | None, model: str) -> int:
    """Draw a scene, degrade it step by step, and score each step.

    Exit status 1 when a score does not fall.
    """
    from noref.demo import run as run_demo

    return 0 if run_demo(model=model, out=out) else FAILED
