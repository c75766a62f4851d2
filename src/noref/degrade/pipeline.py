"""The table of the 24 distortions, and random compositions of them."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from noref.degrade.blur_noise import (
    Image,
    gaussian_blur,
    impulse_noise,
    lens_blur,
    motion_blur,
    multiplicative_noise,
    white_noise,
    white_noise_color,
)
from noref.degrade.color_tone import (
    brighten,
    color_diffusion,
    color_saturation_hsv,
    color_saturation_lab,
    color_shift,
    contrast_linear_curve,
    contrast_nonlinear,
    darken,
    high_sharpen,
    mean_shift,
)
from noref.degrade.compress_spatial import (
    color_block,
    jitter,
    jpeg,
    jpeg2000,
    non_eccentricity_patch,
    pixelate,
    quantization,
)
from noref.errors import ImageError, OptionError, unknown

LEVELS = 5
Composition = list[tuple[str, int]]


@dataclass(frozen=True)
class Distortion:
    """One row of the table.

    Attributes:
        name: the key in `DISTORTIONS` and the function's name.
        group: one of seven; a composition takes at most one distortion of a group.
        function: `f(image, value, rng)`, (H, W, 3) float32 in [0, 1] in, a new array out that may leave [0, 1].
        levels: the five values that the function takes, level 1 first.
        quantity: what the values are, with the unit.
        source: where the operation and its levels come from.
    """

    name: str
    group: str
    function: Callable[[Image, float, Generator], Image]
    levels: tuple[float, float, float, float, float]
    quantity: str
    source: str = "ARNIQA, https://arxiv.org/abs/2310.14918 (levels: its released code), after KADID-10k"


_TABLE = [
    Distortion("gaussian_blur", "blur", gaussian_blur, (0.1, 0.5, 1, 2, 5), "sigma in px"),
    Distortion("lens_blur", "blur", lens_blur, (1, 2, 4, 6, 8), "radius in px"),
    Distortion("motion_blur", "blur", motion_blur, (1, 2, 4, 6, 10), "length in px"),
    Distortion("color_diffusion", "color", color_diffusion, (1, 3, 6, 8, 12), "factor on a and b"),
    Distortion("color_shift", "color", color_shift, (1, 3, 6, 8, 12), "% of the image size"),
    Distortion("color_saturation_hsv", "color", color_saturation_hsv, (0.4, 0.2, 0.1, 0, -0.4), "factor on S"),
    Distortion("color_saturation_lab", "color", color_saturation_lab, (1, 2, 3, 6, 9), "factor on a and b"),
    Distortion("jpeg2000", "compression", jpeg2000, (16, 32, 45, 120, 170), "compression ratio"),
    Distortion("jpeg", "compression", jpeg, (43, 36, 24, 7, 4), "quality"),
    Distortion("white_noise", "noise", white_noise, (0.001, 0.002, 0.003, 0.005, 0.01), "variance"),
    Distortion("white_noise_color", "noise", white_noise_color, (0.0001, 0.0005, 0.001, 0.002, 0.003), "variance"),
    Distortion("impulse_noise", "noise", impulse_noise, (0.001, 0.005, 0.01, 0.02, 0.03), "share of samples"),
    Distortion("multiplicative_noise", "noise", multiplicative_noise, (0.001, 0.005, 0.01, 0.02, 0.05), "variance"),
    Distortion("brighten", "brightness", brighten, (0.1, 0.2, 0.4, 0.7, 1.1), "amount"),
    Distortion("darken", "brightness", darken, (0.05, 0.1, 0.2, 0.4, 0.8), "amount"),
    Distortion("mean_shift", "brightness", mean_shift, (0, 0.08, -0.08, 0.15, -0.15), "offset"),
    Distortion("jitter", "spatial", jitter, (0.05, 0.1, 0.2, 0.5, 1), "step in px"),
    Distortion("non_eccentricity_patch", "spatial", non_eccentricity_patch, (20, 40, 60, 80, 100), "patches"),
    Distortion("pixelate", "spatial", pixelate, (0.01, 0.05, 0.1, 0.2, 0.5), "strength"),
    Distortion("quantization", "spatial", quantization, (20, 16, 13, 10, 7), "steps"),
    Distortion("color_block", "spatial", color_block, (2, 4, 6, 8, 10), "blocks"),
    Distortion("high_sharpen", "sharpness_contrast", high_sharpen, (1, 2, 3, 6, 12), "amount"),
    Distortion(
        "contrast_linear_curve", "sharpness_contrast", contrast_linear_curve, (0, 0.15, -0.4, 0.3, -0.6), "amount"
    ),
    Distortion("contrast_nonlinear", "sharpness_contrast", contrast_nonlinear, (0.4, 0.3, 0.2, 0.1, 0.05), "amount"),
]

DISTORTIONS: Mapping[str, Distortion] = MappingProxyType({row.name: row for row in _TABLE})
GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {group: tuple(r.name for r in _TABLE if r.group == group) for group in dict.fromkeys(r.group for r in _TABLE)}
)


def apply(image: NDArray[Any], name: str, level: int, rng: Generator) -> NDArray[Any]:
    """Degrade `image` by one distortion.

    Args:
        image: (H, W, 3) RGB, at least 8 x 8; uint8, or floating point in [0, 1]. Never written to.
        name: one of `DISTORTIONS`.
        level: 1 to 5.
        rng: where all chance comes from: the same state gives the same result.

    Returns:
        (H, W, 3) of the type that came in, clipped to its range; uint8 is rounded.

    Raises:
        OptionError: unknown name (the nearest ones are offered), or a level outside 1-5.
        ImageError: an array of another shape, size, type or range. Both are also a ValueError.

    Example:
        >>> grey = np.full((8, 8, 3), 100, dtype=np.uint8)
        >>> int(apply(grey, "mean_shift", 2, np.random.default_rng(0))[0, 0, 0])
        120
    """
    return apply_composition(image, [(name, level)], rng)


def apply_composition(image: NDArray[Any], composition: Iterable[tuple[str, int]], rng: Generator) -> NDArray[Any]:
    """Degrade `image` by each (name, level) in turn, clipped to [0, 1] after each and rounded only at the end.

    Arguments, result and errors are those of `apply`; an empty composition gives a copy.

    Example:
        >>> grey = np.full((8, 8, 3), 100, dtype=np.uint8)
        >>> int(apply_composition(grey, [("mean_shift", 2), ("mean_shift", 2)], np.random.default_rng(0))[0, 0, 0])
        141
    """
    steps = [(find(name), check_level(level)) for name, level in composition]
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
    """Draw a random ordered composition.

    k is uniform in 1 to `max_distortions`; k different groups in random order; one distortion of each, uniformly;
    its level i + 1 with probability proportional to exp(-i**2 / (2 * sigma**2)).

    Args:
        rng: where all chance comes from.
        max_distortions: 1 to 7.
        pristine: probability of an empty composition, 0 to 1.
        sigma: how slowly the levels fall off, > 0; `math.inf` makes them uniform.

    Returns:
        [(name, level), ...] in the order to apply them; empty for a pristine image.

    Raises:
        OptionError: an argument outside its range.

    Source:
        ARNIQA, section 3.1.

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

    Differs:
        The paper's 1.9e9 comes from sums that let a group repeat; `docs/degrade.md` has the arithmetic.

    Example:
        >>> count_compositions()
        68638820
    """
    sizes = [len(names) * levels for names in GROUPS.values()]
    return sum(
        math.factorial(k) * sum(math.prod(chosen) for chosen in combinations(sizes, k))
        for k in range(1, max_distortions + 1)
    )


def find(name: str) -> Distortion:
    """The table's row for `name`, or an `OptionError` that offers the nearest names."""
    if name not in DISTORTIONS:
        raise unknown("distortion", name, DISTORTIONS)
    return DISTORTIONS[name]


def check_level(level: int) -> int:
    """`level` as an int, or an `OptionError` where it is not one of 1 to 5."""
    try:
        number = operator.index(level)
    except TypeError:
        raise OptionError(f"level must be a whole number from 1 to {LEVELS}, got {level!r}") from None
    if not 1 <= number <= LEVELS:
        raise OptionError(f"level must be 1 to {LEVELS}, got {level}")
    return number


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
