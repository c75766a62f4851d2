"""`noref score` and `noref demo`."""

from __future__ import annotations

from typing import Any

import click

from noref.cli.group import BELOW_MINIMUM, FAILED, cli, recursive_option

FORMATS = click.Choice(["table", "csv", "jsonl", "paths"])
model_option = click.option(
    "--model",
    default="default",
    show_default=True,
    metavar="NAME|FILE",
    help="A model's name, .onnx file, or hf:OWNER/NAME@REVISION.",
)


@cli.command()
@click.argument("paths", nargs=-1, metavar="PATH...", type=click.Path(path_type=str, readable=False))
@click.option("--from", "list_file", metavar="FILE|-", help="A list of more paths: one a line, or NUL between them.")
@model_option
@recursive_option
@click.option("--format", "-f", "row_format", type=FORMATS, help="Default: as FILE ends, else table.")
@click.option("--output", "-o", metavar="FILE", help="Write the rows there, each as soon as it is known.")
@click.option("--resume", is_flag=True, help="Score only what the table in FILE lacks.")
@click.option("--overwrite", is_flag=True, help="Replace FILE where it is a table that noref wrote.")
@click.option("--sort", type=click.Choice(["score"]), help="Best first; rows come when all are scored.")
@click.option("--top", type=int, metavar="N", help="The N best only, best first.")
@click.option("--bottom", type=int, metavar="N", help="The N worst only, worst first.")
@click.option("--below", type=float, metavar="S", help="Only scores below S.")
@click.option("--above", type=float, metavar="S", help="Only scores above S.")
@click.option("-0", "nul", is_flag=True, help="With --format paths: end each path with NUL, for xargs -0.")
@click.option("--quiet", "-q", is_flag=True, help="No summary and no progress.")
@click.option("--min", "minimum", type=float, metavar="S", help="Exit with 3 when a score is below S.")
@click.option("--why", is_flag=True, help="The faults of each picture, strongest first.")
@click.option("--interval", "coverage", type=float, metavar="P", help="Columns low, high: e.g. 0.9 of people's scores.")
@click.option("--sure", is_flag=True, help="--min takes the lower end of the interval.")
@click.option("--max-megapixels", type=float, default=200.0, show_default=True, help="Larger images are errors.")
@click.option("--least-side", type=int, default=16, show_default=True, help="Pixels; smaller images are errors.")
@click.option("--trim", is_flag=True, help="Cut off a margin of one colour first.")
@click.option("--strict", is_flag=True, help="Pictures with a missing or damaged part are errors, not cautions.")
@click.option("--threads", type=int, help="Default: one for each core.")
@click.option("--device", default="cpu", show_default=True, help="Or one of torch's, such as cuda (extra train).")
def score(
    paths: tuple[str, ...], model: str, threads: int | None, device: str, sort: str | None, **options: Any
) -> int:
    """Score images and folders: one row an image, in the order given.

    \b
    noref score photos/ --recursive
    noref score photos/ --format csv --output scores.csv
    noref score photo.jpg --min 40                  exit status 3 when it is below 40

    \b
    find . -name '*.jpg' -print0 | noref score --from - -o scores.csv --resume
    noref score - < photo.jpg                       standard input: a picture; if it is none, a list of paths
    noref score photos/ --below 30 --format paths -0 | xargs -0 ls -l

    Scores are in [0, 100], higher is better. An image that has no score is a row with the reason, and the exit status
    is 1.
    """
    if not paths and options["list_file"] is None:
        raise click.UsageError("Missing argument 'PATH...': images, folders, - or --from FILE")
    from noref.scoring.network import Network

    network = Network(model, threads=threads, device=device)  # loads in a thread while the rest is imported
    from noref.scoring.score_files import score_files
    from noref.scoring.selection import Selection

    chosen = {name: options.pop(name) for name in ("top", "bottom", "below", "above")}
    summary = score_files(paths, model=network, selection=Selection(bool(sort), **chosen), **options)
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
