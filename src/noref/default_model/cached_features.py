"""What the frozen stages make of images, computed once and kept on disk: tuning then runs four times as fast."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from noref import images
from noref.card import Preprocessing
from noref.data.records import Record
from noref.default_model.distorted_views import FIRST_SINGLE, STEPS
from noref.models.stages import RidgeHead, StageRegressor
from noref.writing import replacing

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Chilled:
    """V images of one size (the same photo mirrored, or its degraded versions) after the frozen stages.

    Attributes:
        full: (V, C, h, w) bfloat16 map at full scale.
        half: (V, C, h / 2, w / 2) bfloat16 map at half scale.
        cold: (V, F) float32 statistics of the frozen stages.
        quality: (V,) float32 labels in [0, 1], higher is better; NaN where there is none.
    """

    full: Tensor
    half: Tensor
    cold: Tensor
    quality: Tensor


@torch.no_grad()
def chill(model: StageRegressor, images: Pixels, quality: Sequence[float]) -> Chilled:
    """(V, H, W, 3) uint8 images and their V labels -> `Chilled`."""
    with torch.autocast("cpu", torch.bfloat16):
        parts = [model.chill(torch.from_numpy(image[None])) for image in images]
    full, half, cold = (torch.cat(part) for part in zip(*parts, strict=True))
    return Chilled(full.bfloat16(), half.bfloat16(), cold.float(), torch.tensor(list(quality), dtype=torch.float32))


def key(*facts: object) -> str:
    """A short name for what decides the content of a file: equal facts, equal name."""
    return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()[:16]


def kept(path: Path, count: int, make: Iterable[Chilled], what: str) -> list[Chilled]:
    """Read `count` items from `path`, or make them, keep them there (atomically) and return them.

    The tensors of a file that was read stay on disk until they are used.

    Args:
        path: a safetensors file whose name says what is in it, see `key`.
        count: how many items there are.
        make: gives them, in order; used only if there is no such file.
        what: for the progress bar.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors: dict[str, Tensor] = {}
        for i, item in enumerate(track(make, description=what, total=count)):
            tensors |= {f"{i}.{name}": value.contiguous() for name, value in vars(item).items()}
        with replacing(path) as partial:
            save_file(tensors, partial)
    with safe_open(path, "pt") as file:
        return [Chilled(*(file.get_tensor(f"{i}.{n}") for n in Chilled.__annotations__)) for i in range(count)]


def window(full: Tensor, half: Tensor, share: float, rng: Generator) -> tuple[Tensor, Tensor]:
    """A random window of both maps: (1, C, h, w) at full scale, and all of half scale."""
    height, width = (max(1, round(side * share)) for side in full.shape[2:])
    top, left = (int(rng.integers(s - n + 1)) for s, n in zip(full.shape[2:], (height, width), strict=True))
    return full[:, :, top : top + height, left : left + width], half


def rated_batch(
    items: Sequence[Chilled], picked: NDArray[np.int64], share: float, rng: Generator
) -> tuple[list[tuple[Tensor, ...]], Tensor]:
    """Windows of the picked images or their mirror images, stacked where shapes agree; labels in the same order."""
    shapes: dict[tuple[int, ...], list[tuple[Tensor, Tensor, Tensor]]] = {}
    labels: dict[tuple[int, ...], list[Tensor]] = {}
    for i in picked:
        item, side = items[i], int(rng.integers(2))
        one = slice(side, side + 1)
        full, half = window(item.full[one], item.half[one], share, rng)
        shapes.setdefault(tuple(full.shape + half.shape), []).append((full, half, item.cold[one]))
        labels.setdefault(tuple(full.shape + half.shape), []).append(item.quality[one])
    parts = [tuple(torch.cat(part) for part in zip(*group, strict=True)) for group in shapes.values()]
    return parts, torch.cat([torch.cat(group) for group in labels.values()])


@torch.no_grad()
def features_of(model: StageRegressor, items: Iterable[Chilled], total: int, what: str) -> tuple[Tensor, Tensor]:
    """Features and labels of all rated images in `items`: (M, F), (M,)."""
    features, labels = [], []
    with torch.autocast("cpu", torch.bfloat16):
        for item in track(items, total=total, description=what, console=Console(stderr=True)):
            rated = torch.nonzero(~torch.isnan(item.quality)).flatten()
            features.append(model.features(item.full[rated], item.half[rated], item.cold[rated]))
            labels.append(item.quality[rated])
    return torch.cat(features), torch.cat(labels)


@torch.no_grad()
def drops_of(model: StageRegressor, lessons: Sequence[Chilled]) -> Tensor | None:
    """Features of each ladder step minus those of the next one down, over all lessons: (K, F); None without lessons."""
    found = []
    with torch.autocast("cpu", torch.bfloat16):
        for item in track(lessons, description="ladders on the tuned features", console=Console(stderr=True)):
            some = slice(0, FIRST_SINGLE)
            features = model.features(item.full[some], item.half[some], item.cold[some])
            for first in range(1, FIRST_SINGLE, STEPS):
                ladder = torch.cat([features[:1], features[first : first + STEPS]])
                found.append(ladder[:-1] - ladder[1:])
    return torch.cat(found) if found else None


@torch.no_grad()
def exact_features(
    model: StageRegressor, records: Sequence[Record], preprocessing: Preprocessing
) -> tuple[Tensor, Tensor]:
    """Features of images and their mirror images, (2M, F), and their labels, (2M,), all in float32.

    The exported model runs in float32 too. A head fitted to bfloat16 features lost 0.003 to 0.008 of SRCC there.
    """
    features = []
    for record in track(records, description="ridge on the tuned features", console=Console(stderr=True)):
        image = images.read(record.path, preprocessing=preprocessing)
        for side in (image, np.ascontiguousarray(image[:, ::-1])):
            features.append(model.features(*model.chill(torch.from_numpy(side[None]))))
    return torch.cat(features), torch.tensor([record.quality for record in records]).repeat_interleave(2)


def held_out_predictions(
    features: Tensor, quality: Tensor, *, alpha: float, folds: int = 5
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What ridge regression says of images that it was not fitted to, and their labels.

    Args:
        features: (2M, F), an image and its mirror image side by side: they are held out together.
        quality: (2M,).
        alpha: the ridge's penalty.
        folds: every fifth image is held out at a time.

    Returns:
        (2M,) predictions and (2M,) labels.
    """
    fold = torch.arange(len(features)) // 2 % folds
    predicted = torch.zeros(len(features))
    for held in range(folds):
        head = RidgeHead(features.shape[1])
        head.fit(features[fold != held], quality[fold != held], alpha=alpha)
        with torch.no_grad():
            predicted[fold == held] = head(features[fold == held])
    return predicted.double().numpy(), quality.double().numpy()
