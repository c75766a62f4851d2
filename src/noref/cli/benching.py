"""`noref bench`: a recipe over repeated splits, data sets and options."""

from __future__ import annotations

import shutil
import sys
from typing import Any

import click

from noref.cli.group import FAILED, PATH, cli, table_options


@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("recipe")
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[--KEY VALUE]...")
@click.option("--data", multiple=True, required=True, metavar="NAME=PATH", help="A data set to train on; repeatable.")
@click.option("--out", type=PATH, metavar="DIR", help="The bench's folder. Default: bench-RECIPE-NAMES.")
@click.option("--repeats", type=int, default=10, show_default=True, help="Random splits, seeded one after the other.")
@click.option("--parts", metavar="80/20", help="Their shares; 70/10/20 has a validation part. Default: the paper's.")
@click.option("--folds", type=int, help="Instead: this many folds, so that every image tests once.")
@click.option(
    "--split", multiple=True, metavar="FILE|official", help="Instead: these split files, or the release's own."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the first split.")
@click.option("--runs", type=int, default=1, show_default=True, help="Trainings with each split, of different seeds.")
@click.option("--fractions", metavar="20,40,60,100", help="Shares of the training part, in percent; same test part.")
@click.option("--test-data", multiple=True, metavar="NAME=PATH", help="Test every model on all of this set too.")
@click.option("--cross", is_flag=True, help="Test every model on the other sets of --data too: the whole matrix.")
@click.option("--config", metavar="FILE", help="A YAML file of the recipe's options; --KEY VALUE wins over it.")
@click.option(
    "--grid", "variants", metavar="FILE", help="A YAML file of 'variant: {option: value, ...}'; each on every split."
)
@click.option("--only", multiple=True, metavar="VARIANT", help="Only these variants of the grid.")
@click.option(
    "--paper-selection", is_flag=True, help="Best epoch on the test part, as the papers' code; all results say so."
)
@click.option("--report/--no-report", default=True, help="Write report.html, report.md and report.json at the end.")
@table_options
def bench(**call: Any) -> int:
    """Train and test a recipe over repeated splits. The report stands beside the published results.

    \b
    noref bench deiqt --data livec=FOLDER --repeats 10
    noref bench deiqt --data livec=A --data koniq10k=B --cross
    noref bench lml_iqa --data livec=FOLDER --folds 5 --grid experiments/lml_iqa/table4.yaml
    noref bench deiqt --data kadid10k=FOLDER --fractions 20,40,60,100 --backbone resnet50

    The same command goes on where a killed one stopped, and never repeats what is done. Started several times at once,
    also on several machines that share DIR, the processes divide the work. The recipe's own options are those that
    `noref train RECIPE --help` lists. Exit status 1 when a run failed.
    """
    from noref.bench.launch import run_bench

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    outcome = run_bench(**call, width=width, say=lambda text: click.echo(text, err=True), tell=click.echo)
    return FAILED if outcome.failed else 0
