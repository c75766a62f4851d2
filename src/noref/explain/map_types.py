"""The map types, what their numbers mean, a map itself, and the options of a run. numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from noref.errors import OptionError, unknown

Plane = NDArray[np.float64]
Colormap = Literal["quality", "lift", "lower", "attention"]
LEAST_SPAN = 20.0  # points of score that the colours of a quality map span, at least: small differences look small
LEAST_TOP = 2.0  # times the mean that the colours of an attention map reach, at least: even attention stays pale


@dataclass(frozen=True)
class MapType:
    """One type of map; its name on the command line is its key in `MAP_TYPES`."""

    title: str
    meaning: str  # range, direction and unit of its numbers, in words
    low: str = ""  # what the lower end of the colours means
    high: str = ""
    colormap: Colormap = "attention"  # a map with a window is drawn without colours


_SHARE = "share of the strongest value of this model and photo in either direction, 0-1"
_EVEN = "times the mean over the photo: 1 everywhere is even"
_ATTENTION = ("no attention", "most attention")
MAP_TYPES = {
    "quality": MapType(
        "Local quality", "score of each crop alone, 0-100, higher is better", "worse", "better", "quality"
    ),
    "gradcam-up": MapType("Grad-CAM: what lifts the score", f"{_SHARE}; 1 lifts most", "nothing", "lifts most", "lift"),
    "gradcam-down": MapType(
        "Grad-CAM: what lowers the score", f"{_SHARE}; 1 lowers most", "nothing", "lowers most", "lower"
    ),
    "class-attention": MapType(
        "Attention of the class token", f"attention to a patch, mean of the last blocks, {_EVEN}", *_ATTENTION
    ),
    "panel-attention": MapType(
        "Attention of the head", f"cross-attention to a token, mean over queries and heads, {_EVEN}", *_ATTENTION
    ),
    "activation": MapType("Activation", f"positive features of the last stage, summed, {_EVEN}", "none", "strongest"),
    "window": MapType(
        "Salient window of LML-IQA",
        "the square of cells with most attention or activation; everything outside is dimmed",
    ),
}


@dataclass(frozen=True)
class Map:
    """One map of one photo by one model.

    Attributes:
        type: a key of `MAP_TYPES`.
        values: (h, w) evenly spread over the photo, in the unit and direction of the type; of a window the map that it
            was taken from, as multiples of its mean.
        window: top, left, bottom, right as shares of the photo's sides; None but for a salient window.
    """

    type: str
    values: Plane
    window: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class Options:
    """What changes the maps, apart from photo and model."""

    maps: tuple[str, ...] = ("quality",)  # names of map types, in the order of the rows
    crop: int | None = None  # pixels, side of the crops of the local quality map; None: the network's own, or 160
    layer: str | None = None  # of Grad-CAM; None: the last one with a spatial output
    window: int = 8  # side of the salient window in cells of a 14 x 14 grid
    window_by: str = "attention"  # or "activation": the map of which the window holds most


def check_maps(wanted: Sequence[str], offered: Sequence[str], model: str) -> None:
    """OptionError where a name is no map type, or the model has no such map (its own are listed)."""
    for name in wanted:
        if name not in MAP_TYPES:
            raise unknown("map", name, MAP_TYPES)
    if missing := [name for name in wanted if name not in offered]:
        raise OptionError(f"{model} has no map {' or '.join(missing)}: it has {', '.join(offered)}")


def color_range(maps: Sequence[Map]) -> tuple[float, float]:
    """The numbers at both ends of the colours, low < high: one range for all maps of one type and photo.

    Quality: from the lowest to the highest value of all, 20 points at least. Grad-CAM: 0 to 1. Attention maps: 0 to the
    highest value of all, 2 at least.

    Example:
        >>> color_range([Map("quality", np.array([[48.0, 52.0]]))])
        (40.0, 60.0)
    """
    colormap = MAP_TYPES[maps[0].type].colormap
    if colormap in ("lift", "lower"):
        return 0.0, 1.0
    top = max(float(one.values.max()) for one in maps)
    if colormap != "quality":
        return 0.0, max(LEAST_TOP, top)
    low = min(float(one.values.min()) for one in maps)
    middle, half = (low + top) / 2, max(top - low, LEAST_SPAN) / 2
    middle = min(max(middle, half), 100.0 - half) if half <= 50 else middle
    return middle - half, middle + half


def over_mean(plane: Plane) -> Plane:
    """A map as multiples of its mean: 1 everywhere is even. A map of zeros stays as it is.

    Example:
        >>> over_mean(np.array([[1.0, 3.0]])).tolist()
        [[0.5, 1.5]]
    """
    mean = float(plane.mean())
    return plane / mean if mean > 0 else np.zeros_like(plane)
