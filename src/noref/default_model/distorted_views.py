"""Distorted views of plain photographs: they need no human score of their own.

The views of one photograph are its square crop, three severity series of it (blur, noise, JPEG; quality must fall from
step to step), and single distortions with the mean rating that people gave to the same distortion and level in
KADID-10k (Lin et al. 2019). Only its published score table is used, none of its images.
"""

from __future__ import annotations

import io
import itertools
import zlib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from noref.card import Scale
from noref.data.tables import read_csv
from noref.degrade.pipeline import apply
from noref.errors import DataError

Pixels = NDArray[np.uint8]
KADID = Scale(1, 5)  # its column is called dmos, and higher is better
PRISTINE = 4.6  # on that scale: the mean rating of its faintest distortions
TYPES = {  # our name: the number of the same operation in KADID-10k, with the same five levels
    "gaussian_blur": 1, "lens_blur": 2, "motion_blur": 3, "color_diffusion": 4, "color_shift": 5,
    "color_saturation_hsv": 7, "color_saturation_lab": 8, "jpeg2000": 9, "jpeg": 10, "white_noise": 11,
    "white_noise_color": 12, "impulse_noise": 13, "multiplicative_noise": 14, "brighten": 16, "darken": 17,
    "mean_shift": 18, "jitter": 19, "non_eccentricity_patch": 20, "pixelate": 21, "quantization": 22,
    "color_block": 23, "high_sharpen": 24, "contrast_linear_curve": 25,
}  # fmt: skip
SERIES = {"blur": (0.8, 1.5, 3.0, 6.0), "noise": (6.0, 12.0, 25.0, 50.0), "jpeg": (60.0, 30.0, 12.0, 5.0)}
STEPS = 4  # of a series
FIRST_SINGLE = 1 + STEPS * len(SERIES)  # place of the first single distortion among the views


def mean_ratings(table: Path) -> dict[tuple[str, int], float]:
    """(name, level) -> mean quality in [0, 1], higher is better, of each distortion in `TYPES`, in KADID-10k's table.

    Its columns: `distortion_type` (1-25), `level` (1-5) and `mos` (1-5, higher is better).

    Raises:
        DataError: a column, a type or a level is missing, or a value is no number; file and line are named.
    """
    found: dict[tuple[int, int], list[float]] = defaultdict(list)
    for line, row in read_csv(table, ("distortion_type", "level", "mos")):
        try:
            found[int(row["distortion_type"]), int(row["level"])].append(KADID.quality(float(row["mos"])))
        except ValueError as error:
            raise DataError(f"{table}, line {line}: {error}") from error
    means: dict[tuple[str, int], float] = {}
    for (name, number), level in itertools.product(TYPES.items(), range(1, 6)):
        if not found[number, level]:
            raise DataError(f"{table}: no rating of {name} (type {number}) at level {level}")
        means[name, level] = float(np.mean(found[number, level]))
    return means


def held_out(name: str) -> bool:
    """Whether no views are made of the photograph with this file name: a seventh of all, kept to test series on."""
    return zlib.crc32(name.encode()) % 7 == 0


def distort(image: Pixels, kind: str, amount: float, rng: Generator) -> Pixels:
    """One step of a severity series, of (H, W, 3) uint8.

    By kind: "blur", Gaussian, the amount is Pillow's radius in px; "noise", Gaussian, sigma in grey values, drawn from
    `rng`; "jpeg", quality.
    """
    if kind == "blur":
        return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(amount)))
    if kind == "noise":
        noisy = np.rint(image + rng.normal(0.0, amount, image.shape))
        return np.clip(noisy, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=round(min(amount, 95.0)))
    return np.asarray(Image.open(buffer).convert("RGB"))


def make_views(
    photo: Pixels, ratings: Mapping[tuple[str, int], float], rng: Generator, *, size: int, singles: int
) -> tuple[Pixels, list[float]]:
    """Draw the distorted views of one photograph, and their quality.

    Args:
        photo: (H, W, 3) uint8, both sides at least `size`.
        ratings: as from `mean_ratings`.
        rng: decides crop, mirror, strength of the series (x 0.75 to 1.3), distortions and levels.
        size: side of the crop in px.
        singles: how many different single distortions.

    Returns:
        (V, size, size, 3) uint8, V = 1 + 12 + `singles`: the crop, each series from faint to strong, single
        distortions; and the quality of each in [0, 1], higher is better: a mean human rating, NaN for the series.
    """
    top, left = (int(rng.integers(side - size + 1)) for side in photo.shape[:2])
    crop = photo[top : top + size, left : left + size]
    crop = np.ascontiguousarray(crop[:, ::-1] if rng.random() < 0.5 else crop)
    images, quality = [crop], [KADID.quality(PRISTINE)]
    for kind, amounts in SERIES.items():
        strength = rng.uniform(0.75, 1.3)
        images += [distort(crop, kind, amount * strength, rng) for amount in amounts]
        quality += [float("nan")] * STEPS
    for name in rng.permutation(sorted(TYPES))[:singles]:
        level = int(rng.integers(1, 6))
        images.append(apply(crop, str(name), level, rng))
        quality.append(ratings[str(name), level])
    return np.stack(images), quality


def pick_views(rng: Generator, total: int, count: int) -> NDArray[np.int64]:
    """Places of `count` of a photograph's `total` views: the crop, one series, then single distortions."""
    series = 1 + STEPS * int(rng.integers(len(SERIES))) + np.arange(STEPS)
    singles = FIRST_SINGLE + rng.permutation(total - FIRST_SINGLE)[: max(0, count - 1 - STEPS)]
    return np.concatenate([[0], series, singles])
