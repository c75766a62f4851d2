"""What people prefer in gMAD pairs -> how well each model attacks and how well it resists.

For pair k of attacker i against defender j let s_k be the share of votes that agree with the attacker less the share
that contradict it; "same" counts for neither, so s_k is in [-1, 1].

- aggressiveness of i against j: the mean of s_k, in [-1, 1]. 1: everybody saw the difference that the attacker claimed.
- resistance of j against i: the mean of 1 - |s_k|, in [0, 1]. 1: nobody saw a difference where the defender saw none.

Pairs weigh by their number of votes. With several models the two matrices become one number a model each:
the maximum of the sum over i, j of w_ij log Phi(m_i - m_j), with w_ij = (1 + aggressiveness of i against j) / 2, or
the resistance of i against j, less half the sum of m_i squared, which keeps a model that always wins finite.

Source:
    Ma et al. 2016, Group MAD competition - a new methodology to compare objective image quality models, CVPR:
    the two metrics, and the ranking by maximum likelihood after Tsukida and Gupta 2011.
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
from noref.writing import check_output, replacing

COLUMNS = ("pair", "attacker", "defender", "level", "rank", "better", "worse", "left", "vote")
KEY = ("attacker", "defender", "better", "worse")  # of a pair
Array = NDArray[np.float64]


class Preference(NamedTuple):
    """One reader's vote on one pair."""

    attacker: str
    defender: str
    better: str  # path of the image that the attacker scores higher
    worse: str
    agrees: int  # 1: the reader prefers `better`; -1: `worse`; 0: no difference


class Estimate(NamedTuple):
    """A metric and its bootstrap interval; the ends are NaN where there is one pair only."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class RoleResult:
    """One model attacks, one defends."""

    attacker: str
    defender: str
    pairs: int  # that have votes
    votes: int
    aggressiveness: Estimate  # of the attacker, in [-1, 1], higher is better for it
    resistance: Estimate  # of the defender, in [0, 1], higher is better for it


@dataclass(frozen=True)
class OverallResult:
    """One model against all others; in units of a normal deviate, the mean over models is 0, higher is better."""

    model: str
    aggressiveness: Estimate
    resistance: Estimate


@dataclass(frozen=True)
class PreferenceCounts:
    """The result of all votes."""

    roles: tuple[RoleResult, ...]  # sorted by name
    models: tuple[OverallResult, ...]  # the sum of both metrics falling


def read_preferences(path: Path) -> list[Preference]:
    """Read the file that the page of pairs saves: one reader's votes.

    Raises:
        DataError: no such table, an unknown vote or side, a pair in two rows. Names file and line.
    """
    found: dict[tuple[str, ...], Preference] = {}
    for line, row in read_csv(path, COLUMNS):
        where = f"{path}, line {line}"
        for column, words in (("left", ("better", "worse")), ("vote", ("left", "right", "same"))):
            if row[column] not in words:
                raise DataError(f"{where}: {column} is {row[column]!r}, not one of {', '.join(words)}")
        attacker, defender, better, worse = key = tuple(row[name] for name in KEY)
        if empty := [name for name in KEY if not row[name]]:
            raise DataError(f"{where}: no {empty[0]}")
        if attacker == defender:
            raise DataError(f"{where}: {attacker} attacks itself")
        if key in found:
            raise DataError(f"{where}: this pair is in two rows; one file holds one reader's votes")
        agrees = 0 if row["vote"] == "same" else 1 if (row["vote"] == "left") == (row["left"] == "better") else -1
        found[key] = Preference(attacker, defender, better, worse, agrees)
    if not found:
        raise DataError(f"{path}: no votes")
    return list(found.values())


def count_preferences(
    preferences: Iterable[Preference], *, repeats: int = 2000, level: float = 0.95, seed: int = 0
) -> PreferenceCounts:
    """Both metrics of every model, with intervals by a bootstrap over the pairs of a role.

    The intervals are for other pairs of the same kind and the same readers: a pair keeps its votes in every draw.

    Args:
        preferences: of all readers.
        repeats: number of draws.
        level: share of the draws inside an interval.
        seed: the same seed gives the same intervals.

    Raises:
        DataError: no votes.
        MissingExtraError: scipy is not installed.

    Example:
        >>> new, old = ("new", "old"), ("old", "new")
        >>> votes = [Preference(*new, "a", "b", 1), Preference(*new, "c", "d", 1), Preference(*old, "e", "f", 0)]
        >>> result = count_preferences(votes, repeats=100)
        >>> [(role.attacker, role.aggressiveness.value, role.resistance.value) for role in result.roles]
        [('new', 1.0, 0.0), ('old', 0.0, 1.0)]
        >>> result.models[0].model
        'new'
    """
    by_role: dict[tuple[str, str], dict[tuple[str, str], list[int]]] = {}
    for one in preferences:
        by_role.setdefault((one.attacker, one.defender), {}).setdefault((one.better, one.worse), []).append(one.agrees)
    if not by_role:
        raise DataError("no votes to count")
    names = sorted({name for role in by_role for name in role})
    rng = np.random.default_rng(seed)
    shape = (repeats + 1, len(names), len(names))  # the first is the result itself
    attack, resist = np.full(shape, np.nan), np.full(shape, np.nan)
    roles = []
    for (attacker, defender), pairs in sorted(by_role.items()):
        i, j = names.index(attacker), names.index(defender)
        votes = [pairs[pair] for pair in sorted(pairs)]  # sorted, so that the order of files plays no role
        agreement, weight = np.array([np.mean(of) for of in votes]), np.array([float(len(of)) for of in votes])
        draws = rng.integers(len(votes), size=(repeats, len(votes)))
        rows = np.vstack([np.arange(len(votes)), draws])
        attack[:, i, j] = np.average(agreement[rows], axis=1, weights=weight[rows])
        resist[:, j, i] = np.average(1 - np.abs(agreement[rows]), axis=1, weights=weight[rows])
        several = len(votes) > 1
        metrics = (_estimate(values, level, several) for values in (attack[:, i, j], resist[:, j, i]))
        roles.append(RoleResult(attacker, defender, len(votes), int(weight.sum()), *metrics))
    several = all(role.pairs > 1 for role in roles)
    overall = [strengths((1 + attack) / 2), strengths(resist)]
    columns = ([_estimate(values[:, place], level, several) for values in overall] for place in range(len(names)))
    models = [OverallResult(name, *column) for name, column in zip(names, columns, strict=True)]
    models.sort(key=lambda model: -(model.aggressiveness.value + model.resistance.value))
    return PreferenceCounts(tuple(roles), tuple(models))


def strengths(wins: Array, *, steps: int = 50) -> Array:
    """One number a model from a matrix of wins: the most likely ones, less half their squares.

    Args:
        wins: (..., N, N); [i, j] is how much i beats j, >= 0; NaN where they never met.
        steps: of Newton's method, at most; the function has one maximum.

    Returns:
        (..., N), higher is stronger, mean 0.
    """
    try:
        from scipy.special import log_ndtr
    except ImportError as error:
        raise MissingExtraError("report", "ranking models by votes") from error
    share = np.nan_to_num(wins)
    strength = np.zeros(share.shape[:-1])
    for _ in range(steps):
        gap = strength[..., :, None] - strength[..., None, :]
        mills = np.exp(-(gap**2) / 2 - log_ndtr(gap)) / np.sqrt(2 * np.pi)  # slope of log Phi
        slope, bend = share * mills, share * mills * (gap + mills)
        gradient = slope.sum(-1) - slope.sum(-2) - strength
        both = bend + np.swapaxes(bend, -1, -2)
        hessian = (both.sum(-1) + 1)[..., None] * np.eye(share.shape[-1]) - both
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        strength += step
        if np.abs(step).max() < 1e-10:
            break
    return strength


def check_counts(path: Path, votes: Sequence[Path], *, overwrite: bool = False) -> None:
    """Raise an OptionError where `write_counts` would replace a file of votes or a foreign file."""
    start = b"attacker,defender,pairs,votes,"
    check_output(path, inputs=votes, ours=lambda head: head.startswith(start), overwrite=overwrite)


def write_counts(result: PreferenceCounts, path: Path) -> None:
    """Write a CSV: a row a role, the ends of intervals in columns of their own, empty where there is none."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        ends = [f"{name}{end}" for name in ("aggressiveness", "resistance") for end in ("", "_low", "_high")]
        writer.writerow(["attacker", "defender", "pairs", "votes", *ends])
        for role in result.roles:
            cells = ["" if np.isnan(one) else f"{one:.4f}" for one in (*role.aggressiveness, *role.resistance)]
            writer.writerow([role.attacker, role.defender, role.pairs, role.votes, *cells])


def _estimate(values: Array, level: float, several: bool) -> Estimate:
    """The first value with the percentiles of the others, where there are several pairs."""
    low, high = np.quantile(values[1:], [(1 - level) / 2, (1 + level) / 2]) if several else (np.nan, np.nan)
    return Estimate(float(values[0]), float(low), float(high))
