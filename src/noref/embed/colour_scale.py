"""What colour a point of a map has, and what the colours mean; made for light and dark grounds alike.

All colours lie at 55 to 72 % of OKLCH's lightness: at least 2.4 to 1 against white and 4 to 1 against near-black.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from noref.degrade.pipeline import GROUPS
from noref.embed.metrics import numbered, thirds
from noref.errors import OptionError

LOW, MIDDLE, HIGH = (0.70, 0.16, 60.0), (0.62, 0.15, 350.0), (0.60, 0.15, 255.0)  # orange, mauve, blue
UNKNOWN = "#8a8a86"
FAINTEST = 0.3


@dataclass(frozen=True)
class Colouring:
    """The colours of M points.

    Attributes:
        by: what decides: score, type, set, or thirds.
        colours: (M,) as #rrggbb.
        opacity: (M,) in (0, 1].
        legend: name -> colour; empty where a ramp says it.
        ramp: what its lowest and its highest colour stand for; None where there is no ramp.
        words: what else a reader must know.
    """

    by: str
    colours: tuple[str, ...]
    opacity: tuple[float, ...]
    legend: Mapping[str, str]
    ramp: tuple[float, float] | None = None
    words: str = ""


def oklch(lightness: float, chroma: float, hue: float) -> str:
    """A colour as #rrggbb; what sRGB cannot show is cut.

    Args:
        lightness: 0 is black, 1 is white.
        chroma: 0 is grey, about 0.3 the most that sRGB has.
        hue: in degrees; 30 red, 145 green, 255 blue.

    Source:
        Ottosson 2020, OKLab.

    Example:
        >>> oklch(1, 0, 0), oklch(0, 0, 0)
        ('#ffffff', '#000000')
    """
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    cube = [
        (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3,
        (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3,
        (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3,
    ]
    rows = (
        (4.0767416621, -3.3077115913, 0.2309699292),
        (-1.2684380046, 2.6097574011, -0.3413193965),
        (-0.0041960863, -0.7034186147, 1.7076147010),
    )
    linear = [min(1.0, max(0.0, sum(w * c for w, c in zip(row, cube, strict=True)))) for row in rows]
    curved = [12.92 * x if x <= 0.0031308 else 1.055 * x ** (1 / 2.4) - 0.055 for x in linear]
    return "#" + "".join(f"{round(255 * x):02x}" for x in curved)


def ramp(share: float) -> str:
    """The colour of a share in [0, 1]: orange is low, mauve the middle, blue high.

    Example:
        >>> ramp(0.0) == oklch(*LOW), ramp(1.0) == oklch(*HIGH)
        (True, True)
    """
    first, second, at = (LOW, MIDDLE, 2 * share) if share < 0.5 else (MIDDLE, HIGH, 2 * share - 1)
    turn = (second[2] - first[2] + 180) % 360 - 180
    lightness, chroma = (a + at * (b - a) for a, b in zip(first[:2], second[:2], strict=True))
    return oklch(lightness, chroma, first[2] + at * turn)


def by_score(scores: Sequence[float]) -> Colouring:
    """A ramp from the lowest score to the highest; higher is better."""
    low, high = min(scores), max(scores)
    span = (high - low) or 1.0
    colours = tuple(ramp((score - low) / span) for score in scores)
    return Colouring("score", colours, (0.9,) * len(scores), {}, (low, high))


def by_thirds(scores: Sequence[float], bounds: tuple[float, float] | None = None) -> Colouring:
    """Three colours; see `noref.embed.metrics.thirds`."""
    parts = thirds(scores, bounds)
    names = []
    for part, word in enumerate(("low", "middle", "high")):
        members = [score for score, own in zip(scores, parts, strict=True) if own == part]
        names.append(f"{word}: {min(members):.4g} to {max(members):.4g}" if members else f"{word}: none")
    legend = {name: ramp(part / 2) for part, name in enumerate(names)}
    colours = tuple(ramp(part / 2) for part in parts)
    return Colouring("thirds", colours, (0.9,) * len(scores), legend)


def by_set(sets: Sequence[str]) -> Colouring:
    """A hue a data set."""
    places, names = numbered(sets)
    palette = [oklch(0.65, 0.15, hue) for hue in _hues(len(names))]
    colours = tuple(palette[place] for place in places)
    return Colouring("set", colours, (0.85,) * len(sets), dict(zip(names, palette, strict=True)))


def by_type(types: Sequence[str | None], levels: Sequence[int | None]) -> Colouring:
    """A hue a type; the 24 of noref by their seven groups: a hue a group, shades within it. The level is the opacity.

    Args:
        types: (M,) None for an image without a distortion, which is grey.
        levels: (M,) 1 is the faintest.

    Raises:
        OptionError: no image has a type.
    """
    names = sorted({name for name in types if name})
    if not names:
        raise OptionError("no image here has a distortion's name: colour by score, set or thirds")
    palette = _group_colours(names) if set(names) <= {n for group in GROUPS.values() for n in group} else {}
    palette = palette or {
        name: oklch(0.65 + 0.07 * (-1) ** at, 0.15, hue) for at, (name, hue) in _each(names, _hues(len(names)))
    }
    most = max((level for level in levels if level), default=1)
    opacity = tuple(FAINTEST + (1 - FAINTEST) * level / most if level else 0.9 for level in levels)
    colours = tuple(palette[name] if name else UNKNOWN for name in types)
    legend = palette if all(types) else {**palette, "none": UNKNOWN}
    said = f"stronger levels are less transparent, 1 to {most}" if any(levels) else ""
    return Colouring("type", colours, opacity, legend, words=said)


def _group_colours(names: Sequence[str]) -> dict[str, str]:
    """In the table's order, so that groups stand together in the legend."""
    found = {}
    for group, hue in zip(GROUPS.values(), _hues(len(GROUPS)), strict=True):
        members = [name for name in group if name in names]
        for shade, name in zip(np.linspace(-1, 1, max(2, len(members))), members, strict=False):
            found[name] = oklch(0.65 + 0.09 * shade, 0.14, hue + 12 * shade)
    return found


def _hues(count: int) -> list[float]:
    return [(30 + 360 * place / count) % 360 for place in range(count)]


def _each(names: Sequence[str], hues: Sequence[float]) -> enumerate[tuple[str, float]]:
    return enumerate(zip(names, hues, strict=True))
