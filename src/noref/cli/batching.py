"""`noref batch`."""

from __future__ import annotations

from typing import Any

import click

from noref.cli.group import BELOW_MINIMUM, FAILED, cli, recursive_option
from noref.cli.pictures import model_option


@cli.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...", type=click.Path(path_type=str, readable=False))
@click.option("--out", "-o", required=True, metavar="FILE|FOLDER", help="FILE.parquet, or a folder for parts.")
@click.option("--address", metavar="ADDRESS", help="A Ray cluster; auto: this machine's. Default: one for this run.")
@click.option("--concurrency", type=int, metavar="N", help="Processes that score. Default: one for each core.")
@click.option("--column", metavar="NAME", help="Of Parquet inputs: paths, or the bytes of pictures.")
@model_option
@recursive_option
@click.option("--resume", is_flag=True, help="Score only what the table lacks.")
@click.option("--overwrite", is_flag=True, help="Replace a table that noref wrote.")
@click.option("--quiet", "-q", is_flag=True, help="No summary and no progress.")
@click.option("--min", "minimum", type=float, metavar="S", help="Exit with 3 when a score is below S.")
@click.option("--max-megapixels", type=float, default=200.0, show_default=True, help="Larger images are errors.")
@click.option("--least-side", type=int, default=16, show_default=True, help="Pixels; smaller images are errors.")
@click.option("--strict", is_flag=True, help="Pictures with a missing or damaged part are errors, not cautions.")
@click.option("--trim", is_flag=True, help="Cut off a margin of one colour first.")
def batch(inputs: tuple[str, ...], **options: Any) -> int:
    """Score many pictures with Ray Data, on this machine or on a cluster, into a Parquet table.

    \b
    noref batch photos/ --recursive --out scores.parquet
    noref batch s3://bucket/photos gs://bucket/more --out scores.parquet --address auto
    noref batch pictures.parquet --column image --out scores.parquet
    noref batch photos/ --out scores.parquet --resume      after a kill: goes on

    INPUT is a picture, a folder, a Parquet file with a column of paths or of pictures, or a folder of such files; here
    or where pyarrow's file systems read. The rows and the exit status are those of noref score. Needs the extra ray.
    """
    from noref.serve.batch_run import score_batches

    summary = score_batches(inputs, **options)
    return FAILED if summary.failed else BELOW_MINIMUM if summary.below else 0
