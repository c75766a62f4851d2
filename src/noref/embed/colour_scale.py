"""The colour of each point of an embedding plot, and what the colours mean.

All colours lie at 55 to 74 % of OKLCH's lightness, so that they can be told from a white and from a near-black page:
their contrast is at least 1.9 to 1 with white and 2.9 to 1 with near-black.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from noref.degrade.pipeline import GROUPS
from noref.embed.metrics import thirds
from noref.errors import OptionError

LOW, MIDDLE, HIGH = (0.70, 0.16, 60.0), (0.62, 0.15, 350.0), (0.60, 0.15, 255.0)  # orange, mauve, blue
UNKNOWN = "#8a8a86"
FAINTEST = 0.3
CONES = np.array(  # OKLab -> cube roots of the cones' answers
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
)
RED = (4.0767416621, -3.3077115913, 0.2309699292)
GREEN = (-1.2684380046, 2.6097574011, -0.3413193965)
BLUE = (-0.0041960863, -0.7034186147, 1.7076147010)


@dataclass(frozen=True)
class ColourScale:
    """The colours of M points."""

    colours: tuple[str, ...]  # (M,) as #rrggbb
    opacity: tuple[float, ...]  # (M,) in (0, 1]
    legend: Mapping[str, str]  # name -> colour; empty where there is a ramp
    ramp: tuple[float, float] | None = None  # the scores of its lowest and its highest colour; None: no ramp
    note: str = ""  # what else a reader must know; may be empty


def oklch(lightness: float, chroma: float, hue: float) -> str:
    """A colour as #rrggbb; values outside sRGB are clipped.

    Lightness 0 is black, 1 white; chroma 0 is grey, about 0.3 the most that sRGB has; the hue is in degrees, 30 red,
    145 green, 255 blue.

    Source:
        Ottosson 2020, OKLab.

    Example:
        >>> oklch(1, 0, 0), oklch(0, 0, 0)
        ('#ffffff', '#000000')
    """
    angle = np.radians(hue)
    cones = (CONES @ [lightness, chroma * np.cos(angle), chroma * np.sin(angle)]) ** 3
    linear = np.clip(np.array([RED, GREEN, BLUE]) @ cones, 0, 1)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return "#" + "".join(f"{round(255 * value):02x}" for value in curved)


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


def by_score(scores: Sequence[float]) -> ColourScale:
    """A ramp from the lowest score to the highest; higher is better."""
    low, high = min(scores), max(scores)
    span = (high - low) or 1.0
    colours = tuple(ramp((score - low) / span) for score in scores)
    return ColourScale(colours, (0.9,) * len(scores), {}, (low, high))


def by_thirds(scores: Sequence[float], bounds: tuple[float, float] | None = None) -> ColourScale:
    """Three colours; see `noref.embed.metrics.thirds`."""
    parts, palette, legend = thirds(scores, bounds), (ramp(0), ramp(0.5), ramp(1)), {}
    for part, name in enumerate(("low", "middle", "high")):
        members = [score for score, own in zip(scores, parts, strict=True) if own == part]
        ends = f"{min(members):.4g} to {max(members):.4g}" if members else "none"
        legend[f"{name}: {ends}"] = palette[part]
    return ColourScale(tuple(palette[part] for part in parts), (0.9,) * len(scores), legend)


def by_set(sets: Sequence[str]) -> ColourScale:
    """A hue for each data set."""
    names = sorted(set(sets))
    palette = {name: oklch(0.65, 0.15, hue) for name, hue in zip(names, _hues(len(names)), strict=True)}
    return ColourScale(tuple(palette[name] for name in sets), (0.85,) * len(sets), palette)


def by_type(types: Sequence[str | None], levels: Sequence[int | None]) -> ColourScale:
    """A hue for each distortion type, or for each of the seven groups where all are of noref's 24; level is opacity.

    (M,) types, None for an image without a distortion, which is grey, and (M,) levels, 1 is the weakest.

    Raises:
        OptionError: no image has a type.
    """
    names = sorted({name for name in types if name})
    if not names:
        raise OptionError("no image here has a distortion's name: colour by score, set or thirds")
    if set(names) <= {name for group in GROUPS.values() for name in group}:
        palette = _group_colours(names)
    else:  # neighbouring hues differ in lightness too
        hues = enumerate(zip(names, _hues(len(names)), strict=True))
        palette = {name: oklch(0.65 + 0.07 * (-1) ** place, 0.15, hue) for place, (name, hue) in hues}
    strongest = max((level for level in levels if level), default=1)
    colours = tuple(palette[name] if name else UNKNOWN for name in types)
    opacity = tuple(FAINTEST + (1 - FAINTEST) * level / strongest if level else 0.9 for level in levels)
    legend = palette if all(types) else {**palette, "none": UNKNOWN}
    note = f"stronger levels are less transparent, 1 to {strongest}" if any(levels) else ""
    return ColourScale(colours, opacity, legend, note=note)


def _group_colours(names: Sequence[str]) -> dict[str, str]:
    """Shades of one hue for each group, in the order of `GROUPS`, so that groups stand together in the legend."""
    found = {}
    for group, hue in zip(GROUPS.values(), _hues(len(GROUPS)), strict=True):
        members = [name for name in group if name in names]
        for shade, name in zip(np.linspace(-1, 1, max(2, len(members))), members, strict=False):
            found[name] = oklch(0.65 + 0.09 * shade, 0.14, hue + 12 * shade)
    return found


def _hues(count: int) -> list[float]:
    return [(30 + 360 * place / count) % 360 for place in range(count)]
