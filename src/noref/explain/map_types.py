"""The kinds of map, what their numbers mean, and a map itself. numpy only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from noref.errors import OptionError, unknown

Plane = NDArray[np.float64]
Shade = Literal["quality", "lift", "lower", "look"]
LEAST_SPAN = 20.0  # points of score that a quality map's colours span, at least: what hardly differs looks alike
EVEN = 2.0  # times the mean that a look's colours reach, at least: an even look stays pale


@dataclass(frozen=True)
class Kind:
    """One kind of map.

    Attributes:
        name: on the command line.
        title: of a row of maps.
        meaning: range, direction and unit of its numbers, for people.
        low: what the colour of the lower end says.
        high: what the colour of the upper end says.
        shade: which colours.
        framed: a window is drawn and no colours.
    """

    name: str
    title: str
    meaning: str
    low: str
    high: str
    shade: Shade
    framed: bool = False


_KINDS = [
    Kind(
        "quality",
        "Local quality",
        "score of each place alone, 0-100, higher is better",
        "worse",
        "better",
        "quality",
    ),
    Kind(
        "gradcam-up",
        "Grad-CAM: what lifts the score",
        "share of the model's strongest place in either direction, 0-1; 1 lifts the score most",
        "nothing",
        "lifts most",
        "lift",
    ),
    Kind(
        "gradcam-down",
        "Grad-CAM: what lowers the score",
        "share of the model's strongest place in either direction, 0-1; 1 lowers the score most",
        "nothing",
        "lowers most",
        "lower",
    ),
    Kind(
        "class-attention",
        "Attention of the class token",
        "attention to a patch, mean of the last blocks, times the mean over the photo: 1 is an even look",
        "not looked at",
        "looked at most",
        "look",
    ),
    Kind(
        "panel-attention",
        "Attention of the head",
        "cross-attention to a place, mean over queries and heads, times the mean over the photo: 1 is an even look",
        "not looked at",
        "looked at most",
        "look",
    ),
    Kind(
        "activation",
        "Activation",
        "positive features of the last stage, summed, times the mean over the photo: 1 is an even answer",
        "silent",
        "strongest",
        "look",
    ),
    Kind(
        "window",
        "Salient window of LML-IQA",
        "the square of cells that holds most of the attention or activation; what is outside is dimmed",
        "",
        "",
        "look",
        framed=True,
    ),
]
KINDS = {kind.name: kind for kind in _KINDS}


@dataclass(frozen=True)
class Map:
    """What one model says of the places of one photo.

    Attributes:
        kind: a key of `KINDS`.
        values: (h, w) evenly spread over the photo, in the kind's unit and direction; of a window the look that it was
            taken from, as multiples of its mean.
        window: top, left, bottom, right as shares of the photo's sides; None but for a salient window.
    """

    kind: str
    values: Plane
    window: tuple[float, float, float, float] | None = None


def known(names: Iterable[str]) -> list[str]:
    """The names themselves, each once.

    Raises:
        OptionError: one is no kind of map; the nearest are offered.
    """
    found = list(dict.fromkeys(names))
    for name in found:
        if name not in KINDS:
            raise unknown("map", name, KINDS)
    return found


def check(wanted: Sequence[str], offered: Sequence[str], model: str) -> None:
    """Whether a model has the maps that are asked for.

    Raises:
        OptionError: it has not; names those that it has.
    """
    missing = [name for name in wanted if name not in offered]
    if missing:
        raise OptionError(f"{model} has no map {' or '.join(missing)}: it has {', '.join(offered)}")


def span(kind: str, maps: Sequence[Map]) -> tuple[float, float]:
    """The numbers at both ends of the colours: the same for all maps that stand side by side.

    Args:
        kind: a key of `KINDS`.
        maps: of that kind, of one photo.

    Returns:
        low < high, in the kind's unit. Quality: from the lowest to the highest place of all, 20 points at least.
        Grad-CAM: 0 to 1. Looks: 0 to the strongest place of all, 2 at least.

    Example:
        >>> span("quality", [Map("quality", np.array([[48.0, 52.0]]))])
        (40.0, 60.0)
    """
    values = [one.values for one in maps]
    if KINDS[kind].shade in ("lift", "lower"):
        return 0.0, 1.0
    top = max(float(plane.max()) for plane in values)
    if KINDS[kind].shade == "look":
        return 0.0, max(EVEN, top)
    low = min(float(plane.min()) for plane in values)
    middle, half = (low + top) / 2, max(top - low, LEAST_SPAN) / 2
    middle = min(max(middle, half), 100.0 - half) if half <= 50 else middle
    return middle - half, middle + half


def relative(plane: Plane) -> Plane:
    """A look as multiples of its mean: 1 everywhere is even. A map without any look stays 0.

    Example:
        >>> relative(np.array([[1.0, 3.0]])).tolist()
        [[0.5, 1.5]]
    """
    mean = float(plane.mean())
    return plane / mean if mean > 0 else np.zeros_like(plane)
