"""gMAD pair selection: of two models, the pairs of images about which they disagree most.

One model defends: the images to which it gives similar scores form a level. The other attacks: in each level it names
the image that it scores highest and the one that it scores lowest. If people see the difference, the defender was
wrong; if they see none, the attacker was. This needs two columns of scores for one list of images, nothing else.

Source:
    Ma et al. 2016, Group MAD competition - a new methodology to compare objective image quality models, CVPR.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noref.errors import DataError, OptionError, unknown

Groups = Literal["count", "width"]
Array = NDArray[np.float64]
Indices = NDArray[np.int64]


class Pair(NamedTuple):
    """Two images of one level of the defender that the attacker finds most different."""

    level: int  # 1: the defender's lowest scores
    rank: int  # 1: the most different pair of its level
    better: int  # index of the image that the attacker scores higher
    worse: int


def select_pairs(attacker: ArrayLike, defender: ArrayLike, *, levels: int) -> list[tuple[int, int]]:
    """In each of the defender's levels the images that the attacker scores highest and lowest.

    Args:
        attacker, defender: (M,) scores of the same images by both models, higher is better.
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
    """One or more pairs a level; no image is in two pairs.

    The next pair of a level is the most different one of the remaining images: second highest and second lowest, and
    so on. The work is sorting; no matrix of pairs is made.

    Args:
        attacker, defender: as in `select_pairs`.
        levels: number of levels, >= 1.
        top: pairs a level, >= 1.
        groups: "count": as in `select_pairs`. "width": levels of equal width between the defender's lowest and
            highest score; a score on a border belongs to the upper level. A level may then give fewer pairs, or none.

    Returns:
        Lowest level first, in each the most different pair first.

    Raises:
        DataError: as `select_pairs`; with equal counts a level of fewer than `top` pairs; with equal widths no pair.
        OptionError: a number below 1, or unknown groups.

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
    pairs: list[Pair] = []
    for level, members in enumerate(_levels(defence, levels, groups), 1):
        highest = members[np.argsort(-attack[members], kind="stable")]
        lowest = members[np.argsort(attack[members], kind="stable")]
        most = min(top, len(members) // 2)
        both = enumerate(zip(highest[:most].tolist(), lowest[:most].tolist(), strict=True), 1)
        found = [Pair(level, rank, high, low) for rank, (high, low) in both if attack[high] > attack[low]]
        if groups == "count" and len(found) < top:
            raise DataError(_too_few(attack[members], level, top))
        pairs += found
    if not pairs:
        why = "no level has two images with different attacker scores"
        raise DataError(f"no pair in {levels} levels of equal width: {why}")
    return pairs


def _checked(attacker: ArrayLike, defender: ArrayLike) -> tuple[Array, Array]:
    try:
        attack, defence = (np.asarray(values, dtype=np.float64) for values in (attacker, defender))
    except (TypeError, ValueError) as error:
        raise DataError(f"scores must be plain lists of numbers: {error}") from error
    if attack.ndim != 1 or attack.shape != defence.shape:
        shapes = f"{attack.shape} and {defence.shape}"
        raise DataError(f"attacker and defender must be lists of one length, got shapes {shapes}")
    for name, values in (("attacker", attack), ("defender", defence)):
        if len(wrong := np.flatnonzero(~np.isfinite(values))):
            raise DataError(f"{name} score {wrong[0]} is {values[wrong[0]]}")
    if len(attack) < 2:
        raise DataError(f"a pair needs two images, got {len(attack)}")
    return attack, defence


def _levels(defence: Array, levels: int, groups: Groups) -> list[Indices]:
    """Indices of each level, ascending."""
    if groups == "count":
        return [np.sort(members) for members in np.array_split(np.argsort(defence, kind="stable"), levels)]
    borders = np.linspace(defence.min(), defence.max(), levels + 1)[1:-1]
    level = np.searchsorted(borders, defence, side="right")
    return [np.flatnonzero(level == number) for number in range(levels)]


def _too_few(attack: Array, level: int, top: int) -> str:
    """Why the images of a level do not give enough pairs."""
    if len(attack) < 2 * top:
        wanted = "a pair needs 2" if top == 1 else f"{top} pairs need {2 * top}"
        return f"level {level} has too few images, {len(attack)}, where {wanted}: ask for fewer levels"
    if np.ptp(attack) == 0:
        return f"level {level}: the attacker gives all {len(attack)} images {attack[0]:g}, so there is no pair"
    return f"level {level}: the attacker gives too many of the {len(attack)} images one score for {top} pairs"
