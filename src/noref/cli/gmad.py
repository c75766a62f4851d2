"""`noref gmad`: let two models compete, and count the votes of people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from noref.cli.group import FAILED, Commands, cli
from noref.errors import OptionError

if TYPE_CHECKING:
    from noref.gmad.preference_counts import Estimate, PreferenceCounts


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
@click.option("--images", metavar="FOLDER", type=click.Path(path_type=Path), help="Paths of a CSV are relative to it.")
@click.option("--out", required=True, metavar="FOLDER", type=click.Path(path_type=Path), help="pairs.csv, gmad.html.")
@click.option("--levels", type=int, default=6, show_default=True, help="Levels of the defender's scores.")
@click.option("--top", type=int, default=1, show_default=True, help="Pairs a level, no image twice.")
@click.option(
    "--groups",
    type=click.Choice(["count", "width"]),
    default="count",
    show_default=True,
    help="Levels of equal count, or width.",
)
@click.option("--defender-name", metavar="NAME", help="Default: as its file or model.")
@click.option("--attacker-name", metavar="NAME")
@click.option("--defender-columns", default="path,score", show_default=True, metavar="PATH,SCORE", help="Of a CSV.")
@click.option("--attacker-columns", default="path,score", show_default=True, metavar="PATH,SCORE")
@click.option("--defender-lower-is-better", is_flag=True, help="Direction of a CSV's scores.")
@click.option("--attacker-lower-is-better", is_flag=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Shuffles left and right.")
@click.option("--side", type=int, default=640, show_default=True, help="Longer side on the page, in pixels.")
def pairs(
    defender: str,
    attacker: str,
    images: Path | None,
    out: Path,
    levels: int,
    top: int,
    groups: Literal["count", "width"],
    defender_name: str | None,
    attacker_name: str | None,
    defender_columns: str,
    attacker_columns: str,
    defender_lower_is_better: bool,
    attacker_lower_is_better: bool,
    seed: int,
    side: int,
) -> int:
    """Find the pairs of both roles; write them as a table and as a page on which people vote.

    \b
    noref gmad pairs --defender default --attacker pyiqa:niqe --images photos --out competition
    noref gmad pairs --defender a.csv --attacker b.csv --images photos --out competition --levels 6 --top 2

    Exit status 1 when a model could not score some images: they are listed and take no part.
    """
    from noref.gmad.competition import Competitor, run_competition

    competition = run_competition(
        Competitor(defender, defender_name, _columns("defender", defender_columns), defender_lower_is_better),
        Competitor(attacker, attacker_name, _columns("attacker", attacker_columns), attacker_lower_is_better),
        out,
        images=images,
        levels=levels,
        top=top,
        groups=groups,
        seed=seed,
        side=side,
    )
    for path, reason in competition.failed.items():
        click.echo(f"left out: {path}: {reason}", err=True)
    click.echo(
        f"{len(competition.pairs)} pairs from {competition.images} images: {competition.table}, {competition.page}"
    )
    missing = 2 * levels * top - len(competition.pairs)
    if missing:
        click.echo(f"{missing} pairs fewer than asked for: levels of equal width may give fewer or none", err=True)
    return FAILED if competition.failed else 0


@gmad.command()
@click.argument("votes", nargs=-1, required=True, metavar="VOTES.csv...", type=click.Path(path_type=Path))
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), help="Write the metrics as CSV too.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the intervals.")
def tally(votes: tuple[Path, ...], out: Path | None, seed: int) -> None:
    """Count votes: how aggressive and how resistant each model is, with 95 % intervals. One file a reader.

    \b
    noref gmad tally anna.csv ben.csv
    """
    from noref.gmad.preference_counts import count_preferences, read_preferences, write_counts

    result = count_preferences([one for path in votes for one in read_preferences(path)], seed=seed)
    if out:
        write_counts(result, out)
    _print(result)


def _columns(side: str, text: str) -> tuple[str, str]:
    names = [name.strip() for name in text.split(",")]
    if len(names) != 2 or not all(names):
        raise OptionError(f"--{side}-columns must be two headers, PATH,SCORE, got {text!r}")
    return names[0], names[1]


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
