"""How sure a score is: split conformal intervals from held-out residuals that the model's card keeps.

Nine of ten intervals of 90 % hold the score that people would give, for pictures like those that the residuals come
from; of other pictures they promise nothing. Source: Lei et al. 2018, https://arxiv.org/abs/1604.04173
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from noref.errors import OptionError

COVERAGE = 0.9


def half_width(residuals: Sequence[float], coverage: float = COVERAGE) -> float:
    """Half the width of an interval, in the unit of the residuals.

    It is the k-th smallest of n absolute residuals, k = ceil((n + 1) coverage): a new residual may have any of
    n + 1 ranks, each as likely as the others.

    Args:
        residuals: absolute, ascending; each divided by its picture's spread, where the model has one.
        coverage: share of pictures whose interval holds their score, in (0, 1).

    Raises:
        OptionError: a coverage outside (0, 1), or one that needs more residuals.

    Example:
        >>> half_width([1.0, 2.0, 3.0, 4.0], 0.6)
        3.0
    """
    if not 0 < coverage < 1:
        raise OptionError(f"interval must be between 0 and 1, as 0.9, got {coverage:g}")
    rank = math.ceil((len(residuals) + 1) * coverage)
    if rank > len(residuals):
        highest = len(residuals) / (len(residuals) + 1)
        raise OptionError(f"interval: {len(residuals)} residuals give at most {highest:.4f}, not {coverage:g}")
    return residuals[rank - 1]


def interval(value: float, half: float, spread: float = 1.0) -> tuple[float, float]:
    """The interval around a score, in [0, 100] like the score.

    Example:
        >>> interval(95.0, 10.0), interval(50.0, 10.0, spread=0.5)
        ((85.0, 100.0), (45.0, 55.0))
    """
    return max(0.0, value - half * spread), min(100.0, value + half * spread)
