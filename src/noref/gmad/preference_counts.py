"""What people said of gMAD pairs -> how well each model attacks and how well it resists.

For pair k of attacker i against defender j let s_k be the share of votes that agree with the attacker less the share
that contradict it; "same" counts for neither, so s_k is in [-1, 1].

- aggressiveness of i against j: the mean of s_k, in [-1, 1]. 1: everybody saw what the attacker claimed.
- resistance of j against i: the mean of 1 - |s_k|, in [0, 1]. 1: nobody saw a difference where the defender saw none.

Pairs weigh by their number of votes. With several models the two matrices become one number a model each:
the maximum of the sum over i, j of w_ij log Phi(m_i - m_j), with w_ij = (1 + aggressiveness of i against j) / 2, or
the resistance of i against j, less half the sum of m_i squared, which keeps a model that always wins finite.

Source:
    Ma et al. 2016, Group MAD competition - a new methodology to compare objective image quality models, CVPR:
    the two figures, and the ranking by maximum likelihood after Tsukida and Gupta 2011.
Differs:
    There people move a slider, here they choose one of three; pairs there weigh by the raters' confidence. The last
    term of the ranking and the shift of aggressiveness into [0, 1] are ours.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from noref.data.tables import read_csv
from noref.errors import DataError, MissingExtraError
from noref.writing import replacing

COLUMNS = ("pair", "attacker", "defender", "level", "rank", "better", "worse", "left", "vote")
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Vote:
    """One reader's answer to one pair.

    Attributes:
        attacker: name of the attacking model.
        defender: name of the defending model.
        better: path of the image that the attacker puts higher.
        worse: path of the other one.
        agrees: 1: the reader prefers `better`; -1: `worse`; 0: sees no difference.
    """

    attacker: str
    defender: str
    better: str
    worse: str
    agrees: int


class Estimate(NamedTuple):
    """A figure and its bootstrap interval; the ends are NaN where there is one pair only."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Duel:
    """One role of two models.

    Attributes:
        attacker: name.
        defender: name.
        pairs: number of pairs with votes.
        votes: number of votes.
        aggressiveness: of the attacker, in [-1, 1], higher is better for it.
        resistance: of the defender, in [0, 1], higher is better for it.
    """

    attacker: str
    defender: str
    pairs: int
    votes: int
    aggressiveness: Estimate
    resistance: Estimate


@dataclass(frozen=True)
class Standing:
    """One model against all others; units are those of a normal deviate, the mean over models is 0.

    Attributes:
        model: name.
        aggressiveness: higher is better.
        resistance: higher is better.
    """

    model: str
    aggressiveness: Estimate
    resistance: Estimate


@dataclass(frozen=True)
class Tally:
    """All that the votes say.

    Attributes:
        duels: one for each attacker and defender, sorted by name.
        standings: one for each model, the sum of both figures falling.
    """

    duels: tuple[Duel, ...]
    standings: tuple[Standing, ...]


def read_votes(path: Path) -> list[Vote]:
    """Read the file that the page of pairs saves: one reader's votes.

    Raises:
        DataError: no such table, a word that is no vote, a pair that is in two rows. Names file and line.
    """
    votes: dict[tuple[str, ...], Vote] = {}
    for line, row in read_csv(path, COLUMNS):
        where = f"{path}, line {line}"
        for column, words in (("left", ("better", "worse")), ("vote", ("left", "right", "same"))):
            if row[column] not in words:
                raise DataError(f"{where}: {column} is {row[column]!r}, not one of {', '.join(words)}")
        empty = [name for name in ("attacker", "defender", "better", "worse") if not row[name]]
        if empty:
            raise DataError(f"{where}: no {empty[0]}")
        if row["attacker"] == row["defender"]:
            raise DataError(f"{where}: {row['attacker']} attacks itself")
        key = (row["attacker"], row["defender"], row["better"], row["worse"])
        if key in votes:
            raise DataError(f"{where}: this pair is in two rows; one file holds one reader's votes")
        chosen = {"same": None, "left": row["left"], "right": "worse" if row["left"] == "better" else "better"}
        agrees = {None: 0, "better": 1, "worse": -1}[chosen[row["vote"]]]
        votes[key] = Vote(*key, agrees)
    if not votes:
        raise DataError(f"{path}: no votes")
    return list(votes.values())


def tally(votes: Iterable[Vote], *, repeats: int = 2000, level: float = 0.95, seed: int = 0) -> Tally:
    """Count votes, with intervals for other pairs of the same kind: pairs are drawn with replacement, in each role.

    The readers are taken as they are: a pair keeps its votes in every draw.

    Args:
        votes: of all readers.
        repeats: number of draws.
        level: share of the draws inside an interval.
        seed: the same seed gives the same intervals.

    Raises:
        DataError: no votes.
        MissingExtraError: scipy is not installed.

    Example:
        >>> seen = [Vote("new", "old", "a", "b", 1), Vote("new", "old", "c", "d", 1), Vote("old", "new", "e", "f", 0)]
        >>> result = tally(seen, repeats=100)
        >>> [(duel.attacker, duel.aggressiveness.value, duel.resistance.value) for duel in result.duels]
        [('new', 1.0, 0.0), ('old', 0.0, 1.0)]
        >>> result.standings[0].model
        'new'
    """
    roles = _by_role(votes)
    if not roles:
        raise DataError("no votes to count")
    names = sorted({name for role in roles for name in role})
    rng = np.random.default_rng(seed)
    shape = (repeats + 1, len(names), len(names))  # the first is the result itself
    attack, resist = np.full(shape, np.nan), np.full(shape, np.nan)
    duels = []
    for (attacker, defender), pairs in roles.items():
        i, j = names.index(attacker), names.index(defender)
        agreement, weight = _per_pair(pairs)
        draws = rng.integers(len(weight), size=(repeats, len(weight)))
        rows = np.vstack([np.arange(len(weight)), draws])
        attack[:, i, j] = _weighted(agreement, weight, rows)
        resist[:, j, i] = _weighted(1 - np.abs(agreement), weight, rows)
        figures = (attack[:, i, j], resist[:, j, i])
        aggressive, resistant = (_estimate(values, level, known=len(weight) > 1) for values in figures)
        duels.append(Duel(attacker, defender, len(weight), int(weight.sum()), aggressive, resistant))
    known = all(duel.pairs > 1 for duel in duels)
    scores = [strengths((1 + attack) / 2), strengths(resist)]
    standings = [
        Standing(name, *(_estimate(score[:, place], level, known=known) for score in scores))
        for place, name in enumerate(names)
    ]
    standings.sort(key=lambda model: -(model.aggressiveness.value + model.resistance.value))
    return Tally(tuple(duels), tuple(standings))


def strengths(wins: Array, *, steps: int = 50) -> Array:
    """One number a model from a matrix of wins: the most likely ones, less half their squares.

    Args:
        wins: (..., N, N); [i, j] says how much i beats j, >= 0; NaN where they never met.
        steps: of Newton's method, at most; the function has one peak.

    Returns:
        (..., N), higher is stronger, mean 0.
    """
    try:
        from scipy.special import log_ndtr
    except ImportError as error:
        raise MissingExtraError("report", "ranking models by votes") from error
    share = np.nan_to_num(wins)
    strength = np.zeros(share.shape[:-1])
    size = share.shape[-1]
    for _ in range(steps):
        gap = strength[..., :, None] - strength[..., None, :]
        mills = np.exp(-(gap**2) / 2 - log_ndtr(gap)) / np.sqrt(2 * np.pi)  # slope of log Phi
        slope, bend = share * mills, share * mills * (gap + mills)
        gradient = slope.sum(-1) - slope.sum(-2) - strength
        both = bend + np.swapaxes(bend, -1, -2)
        hessian = (both.sum(-1) + 1)[..., None] * np.eye(size) - both
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        strength = strength + step
        if np.abs(step).max() < 1e-10:
            break
    return strength


def write_tally(result: Tally, path: Path) -> None:
    """Write the duels as CSV: a row a role, intervals in columns of their own, empty where there is none."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        figures = ("aggressiveness", "resistance")
        ends = [f"{name}{end}" for name in figures for end in ("", "_low", "_high")]
        writer.writerow(["attacker", "defender", "pairs", "votes", *ends])
        for duel in result.duels:
            numbers = [*duel.aggressiveness, *duel.resistance]
            cells = ["" if np.isnan(number) else f"{number:.4f}" for number in numbers]
            writer.writerow([duel.attacker, duel.defender, duel.pairs, duel.votes, *cells])


def _by_role(votes: Iterable[Vote]) -> dict[tuple[str, str], dict[tuple[str, str], list[int]]]:
    """(attacker, defender) -> pair -> what its readers said; sorted, so that the order of files plays no role."""
    roles: dict[tuple[str, str], dict[tuple[str, str], list[int]]] = {}
    for vote in votes:
        pairs = roles.setdefault((vote.attacker, vote.defender), {})
        pairs.setdefault((vote.better, vote.worse), []).append(vote.agrees)
    return {role: dict(sorted(pairs.items())) for role, pairs in sorted(roles.items())}


def _per_pair(pairs: dict[tuple[str, str], list[int]]) -> tuple[Array, Array]:
    agreement = np.array([np.mean(said) for said in pairs.values()])
    return agreement, np.array([float(len(said)) for said in pairs.values()])


def _weighted(values: Array, weight: Array, rows: NDArray[np.int64]) -> Array:
    return np.asarray((values[rows] * weight[rows]).sum(1) / weight[rows].sum(1))


def _estimate(values: Sequence[float] | Array, level: float, *, known: bool) -> Estimate:
    """The first value with the percentiles of the others."""
    if not known:
        return Estimate(float(values[0]), float("nan"), float("nan"))
    low, high = np.quantile(values[1:], [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(values[0]), float(low), float(high))
