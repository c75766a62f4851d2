"""ARNIQA with the order of RealESRGAN: always blur, spatial, noise, compression, one of each (Table 3 of the paper).

    python experiments/arniqa/realesrgan.py train arniqa --data photos=FOLDER --out RUN --order realesrgan

is `noref`'s own command line, whose method `arniqa` has one more option here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import numpy as np
from numpy.random import Generator

from noref.cli import main
from noref.data.pairs import Degrade
from noref.degrade.pipeline import GROUPS, Composition
from noref.methods import METHODS, arniqa
from noref.methods.arniqa import train

__all__ = ["Config", "composition", "train"]
PHOTOS = True
REALESRGAN = ("blur", "spatial", "noise", "compression")  # always these, always in this order
usual = arniqa.draw


@dataclass(frozen=True)
class Config(arniqa.Config):
    """ARNIQA's options and one more.

    Args:
        order: of a composition's groups: random, or as in RealESRGAN blur, spatial, noise, compression, all four.
    """

    REMOVED: ClassVar[dict[str, tuple[str | None, str]]] = {}

    order: Literal["random", "realesrgan"] = "realesrgan"


def composition(config: arniqa.Config, rng: Generator) -> Composition:
    """One draw of a distortion of each of the four groups, with levels as in the paper."""
    if rng.random() < config.pristine:
        return []
    weights = np.exp(-(np.arange(5) ** 2) / (2 * config.sigma**2))
    levels = 1 + rng.choice(5, size=len(REALESRGAN), p=weights / weights.sum())
    names = [GROUPS[group][int(rng.integers(len(GROUPS[group])))] for group in REALESRGAN]
    return [(name, int(level)) for name, level in zip(names, levels, strict=True)]


def draw(config: Config, rng: Generator) -> Degrade:
    """As `noref.methods.arniqa.draw`, in the order that the options ask for."""
    if config.order == "random":
        return usual(config, rng)
    return partial(arniqa.degraded, composition(config, rng))


if __name__ == "__main__":
    METHODS["arniqa"], arniqa.draw = "__main__", draw
    main()
