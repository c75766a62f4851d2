"""`noref embed`: how a model's features relate to score, distortion and data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from noref.cli.group import FAILED, cli, table_options
from noref.errors import MissingExtraError, OptionError


@cli.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("--data", required=True, multiple=True, metavar="NAME=PATH", help="A labelled set; may be repeated.")
@click.option("--out", "-o", required=True, type=click.Path(path_type=Path), metavar="FOLDER", help="Where to.")
@click.option("--feature", multiple=True, metavar="NAME", help="Default: the model's own; a wrong name lists all.")
@click.option(
    "--colour", "--color", default="score", show_default=True, metavar="score|type|set|thirds", help="Of points."
)
@click.option("--bounds", metavar="LOW,HIGH", help="Of the thirds, quality 0-100. Default: equal counts.")
@click.option("--part", default="all", show_default=True, metavar="all|train|validation|test", help="Of a run's split.")
@click.option("--split", type=click.Path(path_type=Path), metavar="FILE", help="Default: of the first run that fits.")
@click.option("--limit", type=int, metavar="N", help="So many images at most, drawn by the seed.")
@click.option("--perplexity", type=float, default=30.0, show_default=True, help="Of t-SNE; below the number of images.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of map and chance.")
@click.option("--weights", default="timm", show_default=True, metavar="FILE", help="Of a backbone named as timm does.")
@click.option("--pad-type", default="", metavar="same", help="Likewise; same: weights from TensorFlow.")
@click.option("--mean", metavar="R,G,B", help="Likewise, of the pixels in 0-1. Default: as timm says.")
@click.option("--std", metavar="R,G,B", help="Likewise.")
@click.option("--crop", type=int, default=224, show_default=True, help="Of backbones and encoders, in pixels.")
@click.option("--cache", type=click.Path(path_type=Path), metavar="FOLDER", help="Of features. Default: OUT/features.")
@click.option("--page-mb", type=float, default=8.0, show_default=True, help="Most megabytes of photos on the page.")
@click.option("--title", help="Of picture and page. Default: models and data.")
@table_options
def embed(
    models: tuple[str, ...],
    data: tuple[str, ...],
    out: Path,
    feature: tuple[str, ...],
    colour: str,
    bounds: str | None,
    part: str,
    split: Path | None,
    limit: int | None,
    perplexity: float,
    seed: int,
    weights: str,
    pad_type: str,
    mean: str | None,
    std: str | None,
    crop: int,
    cache: Path | None,
    page_mb: float,
    title: str | None,
    table: dict[str, Any],
) -> int:
    """Draw a map (t-SNE) of a MODEL's features of labelled images.

    Metrics of the feature space stand beside it.

    \b
    noref embed RUN --data livec=FOLDER --part test --out map
    noref embed ENCODER.safetensors resnet50 --data csv=set.csv --colour type --out map
    noref embed RUN --feature pooled --feature quality --data livec=FOLDER --colour thirds --out map

    MODEL is a run's folder, an ARNIQA encoder, an exported file, a backbone of timm, or pyiqa:METRIC where IQA-PyTorch
    is installed; several stand side by side.
    Writes embed.png, embed.html (a point shows its photo), embed.csv and embed.json. Features are kept: a call that
    was stopped goes on. Exit status 1 when images cannot be read: they are listed and left out.
    """
    try:
        from noref.embed.embed import FILES, Settings
        from noref.embed.embed import embed as draw
        from noref.embed.feature_extractor import Backbone
    except (ModuleNotFoundError, MissingExtraError) as error:  # `train` contains `degrade`
        raise MissingExtraError("train", "noref embed") from error

    ends = _numbers("bounds", bounds, 2)
    settings = Settings(
        features=feature,
        colour=colour,
        bounds=(ends[0], ends[1]) if ends else None,
        part=part,
        split=split,
        limit=limit,
        perplexity=perplexity,
        seed=seed,
        backbone=Backbone(weights, pad_type, _numbers("mean", mean, 3), _numbers("std", std, 3), crop),
        cache=cache,
        megabytes=page_mb,
        title=title,
        table=table,
    )
    plot = draw(models, data=data, out=out, settings=settings)
    for panel in plot.panels:
        click.echo(panel.title)
        for metric in panel.metrics:
            click.echo(f"  {metric}")
    for note in plot.notes:
        click.echo(note, err=True)
    click.echo(", ".join(str(out / name) for name in FILES), err=True)
    for path, reason in plot.broken.items():
        click.echo(f"left out: {path}: {reason}", err=True)
    return FAILED if plot.broken else 0


def _numbers(name: str, text: str | None, count: int) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != count:
        raise OptionError(f"--{name} {text!r}: give {count} numbers with commas between them")
    return values
