"""What one does with pictures: score them, watch scores fall."""

from __future__ import annotations

import click

from noref.cli.group import BELOW_MINIMUM, FAILED, cli


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
    from noref.scoring.score_files import score_files

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
