"""A threshold between good and bad pictures, and what each threshold costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noref.errors import MissingExtraError
from noref.writing import SOFTWARE, replacing

RECALLS = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5)


@dataclass(frozen=True)
class Threshold:
    """What keeping the pictures with at least this score means."""

    score: float
    precision: float  # share of good pictures among those kept
    recall: float  # share of the good pictures that are kept
    kept: float  # share of all pictures that are kept
    balanced: float  # mean of the shares of good pictures kept and of bad ones left out

    def __str__(self) -> str:
        return f"{self.score:5.1f}  {self.precision:9.2f}  {self.recall:6.2f}  {self.kept:4.2f}"


def thresholds(scores: NDArray[np.float64], good: NDArray[np.bool_]) -> list[Threshold]:
    """Every threshold that parts the pictures in another way, lowest first; the first one keeps all.

    Args:
        scores: (N,), higher is better; those of models that have not seen the pictures.
        good: (N,), with at least one true and one false.

    Example:
        >>> for cut in thresholds(np.array([10.0, 20, 30]), np.array([False, True, True])):
        ...     print(cut)
         10.0       0.67    1.00  1.00
         15.0       1.00    1.00  0.67
         25.0       1.00    0.50  0.33
    """
    values = np.unique(scores)
    found = []
    for cut in [float(values[0]), *((values[1:] + values[:-1]) / 2).tolist()]:
        kept = scores >= cut
        right, recall, left_out = kept & good, float(kept[good].mean()), float((~kept)[~good].mean())
        found.append(
            Threshold(cut, float(right.sum() / kept.sum()), recall, float(kept.mean()), (recall + left_out) / 2)
        )
    return found


def best(found: Sequence[Threshold]) -> Threshold:
    """The threshold with the highest balanced accuracy; of equal ones the lowest."""
    return max(found, key=lambda cut: cut.balanced)


def table(found: Sequence[Threshold]) -> list[Threshold]:
    """A few thresholds: the best one, and the highest for each of some shares of good pictures; lowest first."""
    chosen = {best(found), *(max((c for c in found if c.recall >= r), key=lambda c: c.score) for r in RECALLS)}
    return sorted(chosen, key=lambda cut: cut.score)


def plotting() -> Any:
    """Matplotlib's class of figures; a MissingExtraError where it is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("report", "a plot of thresholds") from error
    return Figure


def plot(found: Sequence[Threshold], out: Path) -> None:
    """Draw precision, recall and share kept over the threshold as a PNG; errors as `plotting`."""
    figure = plotting()(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    scores = [cut.score for cut in found]
    lines = (("precision", "#0072b2", "-"), ("recall", "#d55e00", "--"), ("kept", "#009e73", ":"))
    for name, colour, style in lines:
        label = {"kept": "share kept"}.get(name, name)
        axes.step(
            scores, [getattr(c, name) for c in found], where="pre", label=label, color=colour, linestyle=style, lw=2
        )
    chosen = best(found)
    axes.axvline(chosen.score, color="#555555", lw=1)
    axes.annotate(
        f"{chosen.score:.1f}", (chosen.score, 0.02), xytext=(4, 0), textcoords="offset points", color="#555555"
    )
    axes.set(xlabel="lowest score that is kept", ylabel="share of pictures", ylim=(0, 1.03))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", frameon=False)
    with replacing(out) as partial:
        figure.savefig(partial, format="png", metadata={"Software": SOFTWARE})
