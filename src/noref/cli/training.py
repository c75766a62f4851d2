"""`noref train`, `evaluate`, `convert` and `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from noref.cli.group import cli, print_metrics, table_options
from noref.errors import OptionError, unknown


@cli.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("recipe", required=False)
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[--KEY VALUE]...")
@click.option("--data", metavar="NAME=PATH", help="The data set's name and where it lies, such as livec=FOLDER.")
@click.option("--out", metavar="DIR", help="The run's folder: log, checkpoints, model, predictions.")
@click.option("--config", metavar="FILE", help="A YAML file of the recipe's options; --KEY VALUE wins over it.")
@click.option("--resume", is_flag=True, help="Continue the run in DIR from the end of its last epoch.")
@click.option("--help", "-h", "show_help", is_flag=True, help="Show this; after a recipe's name also its options.")
@table_options
@click.pass_context
def train(
    ctx: click.Context, /, recipe: str | None, options: tuple[str, ...], out: str | None, show_help: bool, **call: Any
) -> int:
    """Train a recipe on rated images (arniqa: on plain photos).

    \b
    noref train deiqt --data livec=FOLDER --out RUN
    noref train arniqa --data photos=FOLDER --out RUN
    noref train deiqt --data csv=scores.csv --out RUN --backbone resnet50 --epochs 5
    noref train deiqt --data csv=mos.csv --columns image=file,score=mos --range 1,5 --out RUN
    noref train deiqt --out RUN --resume
    noref train deiqt --help             every option of the recipe
    """
    from noref.methods import METHODS

    if show_help and recipe is None:
        click.echo(f"{ctx.get_help()}\n\nRecipes: {', '.join(METHODS)}")
        return 0
    if recipe is None:
        raise click.UsageError(f"Missing argument RECIPE, one of {', '.join(METHODS)}.", ctx)
    if recipe not in METHODS:
        raise unknown("recipe", recipe, METHODS)
    if out is None and not show_help:
        raise click.UsageError("Missing option --out.", ctx)
    from noref.methods import launch
    from noref.train.options import given_pairs

    if show_help:
        rows = [(f"{option.flag} {option.kind}", option.words) for option in launch.recipe_options(recipe)]
        formatter = ctx.make_formatter()
        with formatter.section(f"Options of {recipe}"):
            formatter.write_dl(rows)
        click.echo(f"{ctx.get_help()}\n\n{formatter.getvalue()}", nl=False)
        return 0
    try:
        print_metrics(launch.train(recipe, out=str(out), options=given_pairs(options), **call))
    except KeyboardInterrupt:
        click.echo(f"stopped; noref train {recipe} --out {out} --resume goes on", err=True)
        raise
    return 0


@cli.command()
@click.argument("model")
@click.option("--data", required=True, metavar="NAME=PATH", help="The data set's name and where it lies.")
@click.option("--split", metavar="FILE", help="Its test part, or `all` images. Default: the run's own test part.")
@click.option("--output", "-o", metavar="FILE", help="Write the predictions there, as CSV.")
@click.option("--overwrite", is_flag=True, help="Replace FILE where noref wrote it.")
@click.option("--protocol", type=click.Choice(["grid", "paper"]), default="grid", help="Test crops. Default: grid.")
@table_options
def evaluate(model: str, **options: Any) -> int:
    """Compare a model's scores with human ones.

    MODEL is a run's folder, its model.safetensors, an .onnx file or `default`; the last two need no torch, only
    scipy. Low and high are the ends of 95 % intervals, by drawing images (or references) again and again.
    """
    from noref.agreement import evaluate_exported, is_exported

    if is_exported(model):
        options.pop("protocol")
        found = evaluate_exported(model, **options, intervals=True)
    else:
        from noref.train.evaluate_export import evaluate as evaluate_model

        found = evaluate_model(model, **options, intervals=True)
    click.echo(f"{found.model} on {found.data}, {found.part}", err=True)
    for caution in filter(None, (found.caution, *found.taken)):
        click.echo(f"CAUTION: {caution}", err=True)
    print_metrics(found.metrics)
    for name, (low, high) in found.intervals.items():
        print_metrics({f"{name}_low": low, f"{name}_high": high})
    return 0


@cli.command()
@click.argument("method", metavar="METHOD")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--out", required=True, metavar="FOLDER", help="A new folder for the model and its card.")
@click.option("--data", metavar="NAME", help="Set that the regressor was fitted to. Default: by its name.")
def convert(method: str, files: tuple[str, ...], out: str, data: str | None) -> int:
    """Convert a METHOD's released weights to safetensors and a card.

    \b
    noref convert arniqa ARNIQA.pth regressor_koniq10k.pth --out FOLDER
    noref evaluate FOLDER --data livec=...
    noref export FOLDER --out arniqa.onnx && noref score photos/ --model arniqa.onnx

    No code in the files is executed.
    """
    if method != "arniqa":
        raise unknown("method", method, ["arniqa"])
    if len(files) != 2:
        raise OptionError(f"arniqa has two files, ARNIQA.pth and regressor_NAME.pth; got {len(files)}")
    import noref.train  # noqa: F401  says which extra is missing, if it is
    from noref.methods.convert_arniqa import convert as write

    card = write(Path(files[0]), Path(files[1]), Path(out), data=data)
    click.echo(f"{out}: {card.name}, {card.scale}, sha256 {card.sha256[:12]}", err=True)
    return 0


@cli.command()
@click.argument("model", metavar="RUN|MODEL")
@click.option(
    "--out", required=True, metavar="FILE|FOLDER", help="An .onnx file; its card goes beside it. Or a folder."
)
@click.option("--overwrite", is_flag=True, help="Replace what an earlier export wrote there.")
def export(model: str, out: str, overwrite: bool) -> int:
    """Export a trained RUN as an .onnx file for `noref score`, or any MODEL as a folder for other programs.

    \b
    noref export RUN --out model.onnx
    noref export default --out FOLDER

    A run's scores are compared with the file's before it is written. A folder has the model, its card, and the rule
    from a picture to its score: in words, in the card, and as a script for browsers.
    """
    from noref.scoring.export_folder import copy_model, exporting, is_exported

    with exporting(out, overwrite=overwrite) as target:
        if is_exported(model):
            card = copy_model(model, target, overwrite=overwrite)
        else:
            from noref.train.evaluate_export import export as export_run

            card = export_run(model, out=str(target), overwrite=overwrite)
    click.echo(f"{out}: {card.name}, sha256 {card.sha256[:12]}", err=True)
    return 0
