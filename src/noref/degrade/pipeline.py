"""The table of the 24 distortions, and random compositions of them."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import permutations
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from noref.degrade import blur_noise, color_tone, compress_spatial
from noref.degrade.filters import Image
from noref.errors import ImageError, OptionError, unknown

LEVELS = 5
Composition = list[tuple[str, int]]
Function = Callable[[Image, float, Generator], Image]
Values = tuple[float, float, float, float, float]


@dataclass(frozen=True)
class Distortion:
    """One of the 24 distortions; levels and groups as ARNIQA (https://arxiv.org/abs/2310.14918), after KADID-10k."""

    name: str  # the key in `DISTORTIONS`, which is the function's name
    group: str  # one of seven; a composition takes at most one distortion of a group
    function: Function  # (image, value, rng) -> image, as `blur_noise` describes it
    levels: Values  # the five values that the function takes, level 1 first
    quantity: str  # what the values are, with the unit


_TABLE: tuple[tuple[str, Function, Values, str], ...] = (
    ("blur", blur_noise.gaussian_blur, (0.1, 0.5, 1, 2, 5), "sigma in px"),
    ("blur", blur_noise.lens_blur, (1, 2, 4, 6, 8), "radius in px"),
    ("blur", blur_noise.motion_blur, (1, 2, 4, 6, 10), "length in px"),
    ("color", color_tone.color_diffusion, (1, 3, 6, 8, 12), "factor on a and b"),
    ("color", color_tone.color_shift, (1, 3, 6, 8, 12), "% of the image size"),
    ("color", color_tone.color_saturation_hsv, (0.4, 0.2, 0.1, 0, -0.4), "factor on S"),
    ("color", color_tone.color_saturation_lab, (1, 2, 3, 6, 9), "factor on a and b"),
    ("compression", compress_spatial.jpeg2000, (16, 32, 45, 120, 170), "compression ratio"),
    ("compression", compress_spatial.jpeg, (43, 36, 24, 7, 4), "quality"),
    ("noise", blur_noise.white_noise, (0.001, 0.002, 0.003, 0.005, 0.01), "variance"),
    ("noise", blur_noise.white_noise_color, (0.0001, 0.0005, 0.001, 0.002, 0.003), "variance"),
    ("noise", blur_noise.impulse_noise, (0.001, 0.005, 0.01, 0.02, 0.03), "share of samples"),
    ("noise", blur_noise.multiplicative_noise, (0.001, 0.005, 0.01, 0.02, 0.05), "variance"),
    ("brightness", color_tone.brighten, (0.1, 0.2, 0.4, 0.7, 1.1), "amount"),
    ("brightness", color_tone.darken, (0.05, 0.1, 0.2, 0.4, 0.8), "amount"),
    ("brightness", color_tone.mean_shift, (0, 0.08, -0.08, 0.15, -0.15), "offset"),
    ("spatial", compress_spatial.jitter, (0.05, 0.1, 0.2, 0.5, 1), "step in px"),
    ("spatial", compress_spatial.non_eccentricity_patch, (20, 40, 60, 80, 100), "patches"),
    ("spatial", compress_spatial.pixelate, (0.01, 0.05, 0.1, 0.2, 0.5), "strength"),
    ("spatial", compress_spatial.quantization, (20, 16, 13, 10, 7), "steps"),
    ("spatial", compress_spatial.color_block, (2, 4, 6, 8, 10), "blocks"),
    ("sharpness_contrast", color_tone.high_sharpen, (1, 2, 3, 6, 12), "amount"),
    ("sharpness_contrast", color_tone.contrast_linear_curve, (0, 0.15, -0.4, 0.3, -0.6), "amount"),
    ("sharpness_contrast", color_tone.contrast_nonlinear, (0.4, 0.3, 0.2, 0.1, 0.05), "amount"),
)
_ROWS = [Distortion(row[1].__name__, *row) for row in _TABLE]
DISTORTIONS: Mapping[str, Distortion] = MappingProxyType({row.name: row for row in _ROWS})
GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {group: tuple(row.name for row in _ROWS if row.group == group) for group, *_ in _TABLE}
)


def apply(image: NDArray[Any], name: str, level: int, rng: Generator) -> NDArray[Any]:
    """Degrade `image` by one distortion.

    Args:
        image: (H, W, 3) RGB, at least 8 x 8; uint8, or floating point in [0, 1]. Never written to.
        name: one of `DISTORTIONS`.
        level: 1 to 5.
        rng: the source of all randomness: the same state gives the same result.

    Returns:
        (H, W, 3) of the input's type, clipped to its range; uint8 is rounded.

    Raises:
        OptionError: unknown name (the nearest ones are offered), or a level outside 1-5.
        ImageError: an array of another shape, size, type or range.

    Example:
        >>> grey = np.full((8, 8, 3), 100, dtype=np.uint8)
        >>> int(apply(grey, "mean_shift", 2, np.random.default_rng(0))[0, 0, 0])
        120
    """
    return apply_composition(image, [(name, level)], rng)


def apply_composition(image: NDArray[Any], composition: Iterable[tuple[str, int]], rng: Generator) -> NDArray[Any]:
    """Degrade `image` by each (name, level) in turn, clipped to [0, 1] after each and rounded only at the end.

    Arguments, result and errors are those of `apply`; an empty composition gives a copy.
    """
    steps = [check_step(name, level) for name, level in composition]
    if not isinstance(rng, Generator):
        raise OptionError(f"rng must be a numpy.random.Generator, got {type(rng).__name__}")
    unit = _to_unit(image)
    for entry, level in steps:
        unit = entry.function(unit, entry.levels[level - 1], rng)
        np.clip(unit, 0.0, 1.0, out=unit)
    if image.dtype == np.uint8:
        return np.asarray(cv2.convertScaleAbs(unit, alpha=255.0))
    return unit.astype(image.dtype, copy=not steps)


def sample_composition(
    rng: Generator, *, max_distortions: int = 4, pristine: float = 0.05, sigma: float = 2.5
) -> Composition:
    """Draw a random composition of distortions.

    k is uniform in 1 to `max_distortions`; k different groups in random order; one distortion of each, uniformly;
    its level i + 1 with probability proportional to exp(-i**2 / (2 * sigma**2)).

    Args:
        rng: the source of all randomness: the same state gives the same composition.
        max_distortions: 1 to 7.
        pristine: probability of an empty composition, 0 to 1.
        sigma: how slowly the levels fall off, > 0; `math.inf` makes them uniform.

    Returns:
        [(name, level), ...] in the order in which they apply; [] for a pristine image.

    Raises:
        OptionError: an argument outside its range.

    Source:
        ARNIQA, section 3.1, https://arxiv.org/abs/2310.14918

    Example:
        >>> sample_composition(np.random.default_rng(0), pristine=1.0)
        []
    """
    if not 1 <= max_distortions <= len(GROUPS):
        raise OptionError(f"max_distortions must be 1 to {len(GROUPS)}, got {max_distortions}")
    if not 0 <= pristine <= 1:
        raise OptionError(f"pristine must be a probability, got {pristine}")
    if not sigma > 0:
        raise OptionError(f"sigma must be > 0, got {sigma}")
    if rng.random() < pristine:
        return []
    weights = np.exp(-(np.arange(LEVELS) ** 2) / (2 * sigma**2)).cumsum()
    groups = list(GROUPS.values())
    order = rng.permutation(len(groups))[: int(rng.integers(1, max_distortions, endpoint=True))]
    names = [groups[i][int(rng.integers(len(groups[i])))] for i in order]
    return [(name, 1 + int(np.searchsorted(weights, rng.random() * weights[-1], side="right"))) for name in names]


def count_compositions(max_distortions: int = 4, levels: int = 5) -> int:
    """How many different ordered, non-empty compositions `sample_composition` can draw.

    Differs: the paper's 1.9e9 lets a group repeat; `docs/degrade.md` has the arithmetic.

    Example:
        >>> count_compositions()
        68638820
    """
    sizes = [len(names) * levels for names in GROUPS.values()]
    orders = (chosen for k in range(1, max_distortions + 1) for chosen in permutations(sizes, k))
    return sum(map(math.prod, orders))


def check_step(name: str, level: Any) -> tuple[Distortion, int]:
    """The entry of `name` in the table and `level` as an int; errors as in `apply`."""
    if name not in DISTORTIONS:
        raise unknown("distortion", name, DISTORTIONS)
    try:
        number = operator.index(level)
    except TypeError:
        raise OptionError(f"level must be a whole number from 1 to {LEVELS}, got {level!r}") from None
    if not 1 <= number <= LEVELS:
        raise OptionError(f"level must be 1 to {LEVELS}, got {level}")
    return DISTORTIONS[name], number


def _to_unit(image: NDArray[Any]) -> Image:
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < 8:
        shape = getattr(image, "shape", type(image).__name__)
        raise ImageError(f"image must be an (H, W, 3) array of at least 8 x 8 pixels, got {shape}")
    if image.dtype == np.uint8:
        return np.asarray(np.multiply(image, np.float32(1 / 255), dtype=np.float32, order="C"))
    if not np.issubdtype(image.dtype, np.floating):
        raise ImageError(f"image must be uint8, or floating point in [0, 1], got {image.dtype}")
    unit: Image = np.ascontiguousarray(image, dtype=np.float32)
    if not (unit.min() >= 0 and unit.max() <= 1):  # false for NaN too
        raise ImageError("a floating-point image must lie in [0, 1], without NaN")
    return unit
