"""`noref calibrate`: a model that scores as one's own labels do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from noref.cli.group import FAILED, PATH, cli, list_failed, table_options

if TYPE_CHECKING:
    from noref.calibrate.calibrate import Calibration


@cli.command()
@click.argument("labels", metavar="LABELS.csv", type=PATH)
@click.option("--out", required=True, metavar="FILE", type=PATH, help="The .onnx file to write; its card goes beside.")
@click.option("--model", default="default", show_default=True, metavar="MODEL", help="default, or an .onnx file.")
@table_options
@click.option("--plot", metavar="FILE", type=PATH, help="Draw the trade-off of thresholds as a PNG, for yes and no.")
@click.option("--overwrite", is_flag=True, help="Replace a model, or a plot, that noref wrote.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the folds.")
def calibrate(labels: Path, out: Path, model: str, table: dict[str, Any], **call: Any) -> int:
    """Fit a model's score to your LABELS and write it as a model of its own, in seconds and without torch.

    \b
    noref calibrate labels.csv --out mine.onnx          path,score on any scale, 20 rows or more
    noref calibrate keep.csv --out mine.onnx            path,good with yes and no: also gives a threshold
    noref score photos/ --model mine.onnx

    Few labels cannot do much harm: what they do not show, stays as the model has it. The figures are of folds that
    were held out; pictures of one scene (a column `reference`, or alike in content) stay together.

    Exit status 1 when a picture could not be read: it is listed and left out.
    """
    from noref.calibrate.calibrate import Options
    from noref.calibrate.calibrate import calibrate as run
    from noref.scoring.progress import progress

    options = Options(table, **call)
    found = run(labels, out=out, model=model, options=options, progress=lambda count: progress(count, sys.stderr))
    list_failed(found.failed)
    for caution in found.cautions:
        click.echo(f"CAUTION: {caution}", err=True)
    _print(found, out, model)
    return FAILED if found.failed else 0


def _print(found: Calibration, out: Path, model: str) -> None:
    click.echo(f"{'held out':<12}  SRCC   PLCC   RMSE")
    for name, figures in ((Path(model).stem, found.alone), ("calibrated", found.calibrated)):
        click.echo(f"{name:<12} {figures['srcc']:5.2f}  {figures['plcc']:5.2f}  {figures['rmse']:5.1f}")
    if found.thresholds:
        click.echo("\nthreshold  precision  recall  kept")
        for cut in found.thresholds:
            click.echo(f"    {cut}{'  best' if cut == found.threshold else ''}")
    click.echo(
        f"{found.labels} pictures, {found.scenes} scenes; {found.share:.0%} of what the features say counts", err=True
    )
    least = f" --min {found.threshold.score:.1f}" if found.threshold else ""
    click.echo(f"{out}: noref score photos/ --model {out}{least}", err=True)
