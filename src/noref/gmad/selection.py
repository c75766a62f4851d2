"""The gMAD competition: of two models, the pairs of images on which they contradict each other most.

One model defends: images that it scores alike form a level. The other attacks: within a level it names the image that
it finds best and the one that it finds worst. If people see the difference, the defender was wrong to call them
alike; if they do not, the attacker was wrong. Needs two columns of scores for one list of images, nothing else.

Source:
    Ma et al. 2016, Group MAD competition - a new methodology to compare objective image quality models, CVPR.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noref.errors import DataError, OptionError, unknown

Groups = Literal["count", "width"]
Array = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Pair:
    """Two images that the defender puts on one level and that the attacker holds for most different.

    Attributes:
        level: 1 is the level of the lowest defender scores.
        rank: 1 is the most different pair of its level.
        better: index of the image that the attacker puts higher.
        worse: index of the image that it puts lower.
    """

    level: int
    rank: int
    better: int
    worse: int


def select_pairs(attacker: ArrayLike, defender: ArrayLike, *, levels: int) -> list[tuple[int, int]]:
    """In each of the defender's levels the images that the attacker puts highest and lowest.

    Args:
        attacker: (M,) scores of the attacking model, higher is better.
        defender: (M,) scores of the defending model, same images, higher is better.
        levels: the defender's order is cut into this many groups of equal count, or counts that differ by 1, the
            lower ones then larger.

    Returns:
        One (better, worse) of indices a level, lowest level first. Ties: the lower index comes first.

    Raises:
        DataError: (a ValueError) unequal lengths, NaN or infinity, all scores of the defender or, within a level, of
            the attacker the same, fewer than two images a level.
        OptionError: (a ValueError) `levels` below 1.

    Example:
        >>> select_pairs([5, 1, 3, 2, 9, 4], [10, 20, 30, 40, 50, 60], levels=2)
        [(0, 1), (4, 3)]
    """
    return [(pair.better, pair.worse) for pair in find_pairs(attacker, defender, levels=levels)]


def find_pairs(
    attacker: ArrayLike, defender: ArrayLike, *, levels: int = 6, top: int = 1, groups: Groups = "count"
) -> list[Pair]:
    """The pairs of one role, level by level; no image is in two pairs of a level, and levels share no image.

    The next pair of a level is the most different one of the images that are left: second highest and second lowest,
    and so on. Sorting is all the work: no matrix of pairs.

    Args:
        attacker: as in `select_pairs`.
        defender: as in `select_pairs`.
        levels: number of levels, >= 1.
        top: pairs a level, >= 1.
        groups: "count": as in `select_pairs`. "width": levels of equal width between the defender's lowest and
            highest score; a score on a border belongs to the upper level. A level then gives as many pairs as it
            has, some give none.

    Returns:
        Lowest level first, in each the most different pair first.

    Raises:
        DataError: (a ValueError) what `select_pairs` refuses; with equal counts, a level that has not got `top`
            pairs; with equal widths, no pair at all.
        OptionError: (a ValueError) a number below 1, or unknown groups.

    Example:
        >>> find_pairs([1, 2, 3, 4], [1, 1, 1, 2], levels=1, top=2)[1]
        Pair(level=1, rank=2, better=2, worse=1)
    """
    for name, number in (("levels", levels), ("top", top)):
        if number < 1:
            raise OptionError(f"{name} must be 1 or more, got {number}")
    if groups not in get_args(Groups):
        raise unknown("groups", groups, get_args(Groups))
    attack, defence = _checked(attacker, defender)
    if levels > 1 and defence.min() == defence.max():
        raise DataError(f"all defender scores are {defence[0]:g}: there are no levels")
    cut = _equal_counts if groups == "count" else _equal_widths
    pairs: list[Pair] = []
    for level, members in enumerate(cut(defence, levels), 1):
        found = list(_pairs_of_level(attack, members, level, top))
        if groups == "count" and len(found) < top:
            raise DataError(_too_few(attack, members, level, top))
        pairs.extend(found)
    if not pairs:
        raise DataError(
            f"no pair in {levels} levels of equal width: no level has two images that the attacker tells apart"
        )
    return pairs


def _checked(attacker: ArrayLike, defender: ArrayLike) -> tuple[Array, Array]:
    try:
        scores = [np.asarray(values, dtype=np.float64) for values in (attacker, defender)]
    except (TypeError, ValueError) as error:
        raise DataError(f"scores must be plain lists of numbers: {error}") from error
    if scores[0].ndim != 1 or scores[0].shape != scores[1].shape:
        shapes = " and ".join(str(values.shape) for values in scores)
        raise DataError(f"attacker and defender must be lists of one length, got shapes {shapes}")
    for name, values in zip(("attacker", "defender"), scores, strict=True):
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong):
            raise DataError(f"{name} score {wrong[0]} is {values[wrong[0]]}")
    if len(scores[1]) < 2:
        raise DataError(f"a pair needs two images, got {len(scores[1])}")
    return scores[0], scores[1]


def _equal_counts(defence: Array, levels: int) -> Iterator[Places]:
    """Indices of each level, ascending."""
    for members in np.array_split(np.argsort(defence, kind="stable"), levels):
        yield np.sort(members)


def _equal_widths(defence: Array, levels: int) -> Iterator[Places]:
    low, high = float(defence.min()), float(defence.max())
    borders = np.linspace(low, high, levels + 1)[1:-1]
    level = np.searchsorted(borders, defence, side="right")
    order = np.argsort(level, kind="stable")
    yield from np.split(order, np.searchsorted(level[order], np.arange(1, levels)))


def _pairs_of_level(attack: Array, members: Places, level: int, top: int) -> Iterator[Pair]:
    """Highest with lowest, second highest with second lowest, while they differ."""
    rising = members[np.argsort(attack[members], kind="stable")]
    falling = members[np.argsort(-attack[members], kind="stable")]
    for rank in range(min(top, len(members) // 2)):
        better, worse = int(falling[rank]), int(rising[rank])
        if attack[better] <= attack[worse]:
            return
        yield Pair(level, rank + 1, better, worse)


def _too_few(attack: Array, members: Places, level: int, top: int) -> str:
    wanted = "a pair needs 2" if top == 1 else f"{top} pairs need {2 * top}"
    if len(members) < 2 * top:
        return f"level {level} has too few images, {len(members)}, where {wanted}: ask for fewer levels"
    if np.ptp(attack[members]) == 0:
        return (
            f"level {level}: the attacker gives all {len(members)} images {attack[members[0]]:g}, so there is no pair"
        )
    return f"level {level}: the attacker gives too many of the {len(members)} images one score for {top} pairs"
