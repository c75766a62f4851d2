"""`noref gmad`: let two models compete, and count the votes of people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from noref.cli.group import FAILED, PATH, Commands, cli, list_failed
from noref.errors import OptionError

if TYPE_CHECKING:
    from noref.gmad.competition import Competitor
    from noref.gmad.preference_counts import Estimate, PreferenceCounts

GROUPS = click.Choice(["count", "width"])


@cli.group(cls=Commands)
def gmad() -> None:
    """Compare two models by the pairs on which they disagree most.

    \b
    noref gmad pairs --defender default --attacker other.csv --images photos --out competition
    open competition/gmad.html, vote, save votes.csv
    noref gmad tally votes.csv
    """


@gmad.command()
@click.option("--defender", required=True, metavar="MODEL", help="A CSV, a model of noref, or pyiqa:METRIC.")
@click.option("--attacker", required=True, metavar="MODEL", help="Likewise. Roles are swapped afterwards.")
@click.option("--images", metavar="FOLDER", type=PATH, help="Paths of a CSV are relative to it.")
@click.option("--out", required=True, metavar="FOLDER", type=PATH, help="pairs.csv, gmad.html.")
@click.option("--levels", type=int, default=6, show_default=True, help="Levels of the defender's scores.")
@click.option("--top", type=int, default=1, show_default=True, help="Pairs a level, no image twice.")
@click.option("--groups", type=GROUPS, default="count", show_default=True, help="Levels of equal count, or width.")
@click.option("--defender-name", metavar="NAME", help="Default: as its file or model.")
@click.option("--attacker-name", metavar="NAME")
@click.option("--defender-columns", default="path,score", show_default=True, metavar="PATH,SCORE", help="Of a CSV.")
@click.option("--attacker-columns", default="path,score", show_default=True, metavar="PATH,SCORE")
@click.option("--defender-lower-is-better", is_flag=True, help="Direction of a CSV's scores.")
@click.option("--attacker-lower-is-better", is_flag=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Shuffles left and right.")
@click.option("--side", type=int, default=640, show_default=True, help="Longer side on the page, in pixels.")
@click.option("--overwrite", is_flag=True, help="Replace the two files of an earlier call.")
def pairs(levels: int, top: int, **call: Any) -> int:
    """Find the pairs of both roles; write them as a table and as a page on which people vote.

    \b
    noref gmad pairs --defender default --attacker pyiqa:niqe --images photos --out competition
    noref gmad pairs --defender a.csv --attacker b.csv --images photos --out competition --levels 6 --top 2

    Exit status 1 when a model could not score some images: they are listed and take no part.
    """
    from noref.gmad.competition import run_competition

    defender, attacker = (_competitor(side, call) for side in ("defender", "attacker"))
    done = run_competition(defender, attacker, levels=levels, top=top, **call)
    list_failed(done.failed)
    click.echo(f"{len(done.pairs)} pairs from {done.images} images: {done.table}, {done.page}")
    if missing := 2 * levels * top - len(done.pairs):
        click.echo(f"{missing} pairs fewer than asked for: levels of equal width may give fewer or none", err=True)
    return FAILED if done.failed else 0


@gmad.command()
@click.argument("votes", nargs=-1, required=True, metavar="VOTES.csv...", type=PATH)
@click.option("--out", metavar="FILE", type=PATH, help="Write the metrics as CSV too.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the intervals.")
@click.option("--overwrite", is_flag=True, help="Replace FILE where an earlier call wrote it.")
def tally(votes: tuple[Path, ...], out: Path | None, seed: int, overwrite: bool) -> None:
    """Count votes: how aggressive and how resistant each model is, with 95 % intervals. One file a reader.

    \b
    noref gmad tally anna.csv ben.csv
    """
    from noref.gmad.preference_counts import check_counts, count_preferences, read_preferences, write_counts

    if out:
        check_counts(out, votes, overwrite=overwrite)
    result = count_preferences([one for path in votes for one in read_preferences(path)], seed=seed)
    if out:
        write_counts(result, out)
    _print(result)


def _competitor(side: str, call: dict[str, Any]) -> Competitor:
    """Take the options of one side out of a call."""
    from noref.gmad.competition import Competitor

    model, name, text, lower = (call.pop(side + end) for end in ("", "_name", "_columns", "_lower_is_better"))
    columns = [header.strip() for header in text.split(",")]
    if len(columns) != 2 or not all(columns):
        raise OptionError(f"--{side}-columns must be two headers, PATH,SCORE, got {text!r}")
    return Competitor(model, name, (columns[0], columns[1]), lower)


def _print(result: PreferenceCounts) -> None:
    roles = [
        [r.attacker, r.defender, str(r.pairs), str(r.votes), _with_ends(r.aggressiveness), _with_ends(r.resistance)]
        for r in result.roles
    ]
    models = [[m.model, _with_ends(m.aggressiveness), _with_ends(m.resistance)] for m in result.models]
    _table(["attacker", "defender", "pairs", "votes", "aggressiveness, -1 to 1", "resistance, 0 to 1"], roles)
    click.echo()
    _table(["model", "aggressiveness overall", "resistance overall"], models)
    click.echo("\nHigher is better; aggressiveness is the attacker's, resistance the defender's.")


def _with_ends(estimate: Estimate) -> str:
    if estimate.low != estimate.low:  # NaN: no interval from one pair
        return f"{estimate.value:z.2f}"
    return f"{estimate.value:z.2f} [{estimate.low:z.2f}, {estimate.high:z.2f}]"


def _table(header: list[str], rows: list[list[str]]) -> None:
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    for row in [header, *rows]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
