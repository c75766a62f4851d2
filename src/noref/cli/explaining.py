"""`noref explain`: maps of the quality that a model gives to each part of a photo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from noref.cli.group import FAILED, PATH, cli, list_failed, recursive_option, table_options


@cli.command()
@click.argument("photos", nargs=-1, required=True, metavar="PHOTO...", type=click.Path(path_type=str, readable=False))
@click.option("--out", required=True, metavar="FOLDER", type=PATH, help="NAME.png, explain.html.")
@click.option(
    "--model",
    "models",
    multiple=True,
    default=["default"],
    metavar="MODEL",
    help="default, an .onnx file, a run's folder or its model.safetensors; several stand side by side.",
)
@click.option("--map", "maps", multiple=True, metavar="NAME", help="Map type; may be given often. Default: quality.")
@click.option("--scores", metavar="FILE", type=PATH, help="True scores: a CSV, path,score.")
@click.option("--layer", metavar="NAME", help="Of Grad-CAM; a wrong name lists the possible ones.")
@click.option("--crop", type=int, metavar="N", help="Pixels of the local quality map's crops.")
@click.option("--window", type=int, default=8, show_default=True, metavar="CELLS", help="Of the salient window, of 14.")
@click.option("--window-by", default="attention", show_default=True, metavar="NAME", help="attention or activation.")
@recursive_option
@click.option("--sanity", is_flag=True, help="Test if maps change when the weights are shuffled.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the shuffling.")
@table_options
def explain(
    photos: tuple[str, ...],
    out: Path,
    maps: tuple[str, ...],
    scores: Path | None,
    table: dict[str, Any],
    sanity: bool,
    seed: int,
    **call: Any,
) -> int:
    """Draw how a model rates each part of a photo. Several models stand side by side.

    \b
    noref explain photos/ --out maps
    noref explain a.jpg b.jpg --model RUN_A --model RUN_B --map gradcam-down --scores scores.csv --out maps
    noref explain photos/ --model RUN --map quality --map gradcam-down --sanity --out check

    Map types: quality (any model); of trained models also gradcam-up and gradcam-down, class-attention (a
    transformer), panel-attention (a head with attention), activation, window (LML-IQA's).

    A figure that is there and current is not drawn again. Exit status 1 when a photo could not be explained, or has
    no true score in the file: they are listed.
    """
    from noref.explain.explain import explain as draw
    from noref.explain.map_types import Options

    common = {name: call.pop(name) for name in ("models", "recursive")}
    common["options"] = Options(tuple(dict.fromkeys(maps or ["quality"])), **call)
    if sanity:
        return _sanity(photos, out, seed=seed, **common)
    outcome = draw(photos, out, scores=scores, table=table, **common)
    for caution in outcome.cautions:
        click.echo(f"CAUTION: {caution}", err=True)
    list_failed(outcome.failed)
    for path in outcome.unscored:
        click.echo(f"no true score: {path} is not in {scores}", err=True)
    kept = f", {outcome.kept} were there" if outcome.kept else ""
    click.echo(f"{outcome.drawn} drawn{kept}, {len(outcome.failed)} failed: {outcome.page or out}")
    if outcome.no_page:
        click.echo(f"no page: {outcome.no_page}", err=True)
    return FAILED if outcome.failed or outcome.unscored else 0


def _sanity(photos: tuple[str, ...], out: Path, **call: Any) -> int:
    from noref.explain.sanity import run

    report = run(photos, out, **call)
    click.echo("model\tmap\tweights shuffled\tphotos\trank correlation\t|rank correlation|\tSSIM\tflat")
    for row in report.rows:
        numbers = f"{row.rank_correlation:z.2f}\t{row.absolute:.2f}\t{row.ssim:z.2f}\t{row.flat}"
        click.echo(f"{row.model}\t{row.map_type}\t{row.stage}\t{row.photos}\t{numbers}")
    for verdict in report.verdicts:
        click.echo(verdict)
    list_failed(report.failed)
    return FAILED if report.failed or not report.passed else 0
