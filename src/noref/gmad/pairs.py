"""The gMAD pairs of two models: both roles, the side on which each image is shown, and the table of pairs."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from noref.errors import OptionError
from noref.gmad.score_table import ScoreTable
from noref.gmad.selection import Groups, find_pairs
from noref.writing import replacing


@dataclass(frozen=True)
class GmadPair:
    """One pair of one role, as it is shown; a row of `pairs.csv`."""

    pair: str  # its name in this competition: role, level and rank
    attacker: str
    defender: str
    level: int  # 1: the defender's lowest scores
    rank: int  # 1: the pair of a level that the attacker finds most different
    better: str  # path of the image that the attacker scores higher
    worse: str
    left: str  # "better" or "worse": which of them is shown on the left
    attacker_better: float  # scores as the models' tools write them
    attacker_worse: float
    defender_better: float
    defender_worse: float


def both_roles(
    first: ScoreTable, second: ScoreTable, *, levels: int = 6, top: int = 1, groups: Groups = "count", seed: int = 0
) -> list[GmadPair]:
    """The first defends against the second, then the second against the first.

    Args:
        first, second: of the same images in the same order; see `align`.
        levels, top, groups: as in `find_pairs`.
        seed: decides for each pair which image is on the left.

    Raises:
        DataError: as `find_pairs`.
        OptionError: as `find_pairs`; two models of one name; different images.
    """
    if first.name == second.name:
        raise OptionError(f"both models are called {first.name!r}: give one of them another name")
    if first.paths != second.paths:
        raise OptionError("both models must have scored the same images, in the same order")
    rng = np.random.default_rng(seed)
    return [
        GmadPair(
            pair=f"{role}-{pair.level}-{pair.rank}",
            attacker=attacker.name,
            defender=defender.name,
            level=pair.level,
            rank=pair.rank,
            better=attacker.paths[pair.better],
            worse=attacker.paths[pair.worse],
            left="better" if rng.random() < 0.5 else "worse",
            attacker_better=float(attacker.scores[pair.better]),
            attacker_worse=float(attacker.scores[pair.worse]),
            defender_better=float(defender.scores[pair.better]),
            defender_worse=float(defender.scores[pair.worse]),
        )
        for role, (defender, attacker) in enumerate(((first, second), (second, first)), 1)
        for pair in find_pairs(attacker.order, defender.order, levels=levels, top=top, groups=groups)
    ]


def write_pairs(pairs: Sequence[GmadPair], path: Path) -> None:
    """Write `pairs.csv`: a row a pair, in order, scores in full."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(GmadPair)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(pair) for pair in pairs)


def is_pairs(head: bytes) -> bool:
    """Whether a file that begins with `head` was written by `write_pairs`."""
    return head.startswith(",".join(field.name for field in fields(GmadPair)).encode())
