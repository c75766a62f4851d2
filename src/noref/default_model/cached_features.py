"""Features of the frozen stages, computed once and cached on disk: fine-tuning then runs four times as fast."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from noref import images
from noref.data.readers import photos as read_photos
from noref.data.records import Record
from noref.default_model.config import PREPROCESSING, Config
from noref.default_model.distorted_views import PRISTINE, SERIES, TYPES, held_out, make_views, mean_ratings
from noref.models.stages import StageRegressor
from noref.scoring.progress import tracked
from noref.train.feature_cache import FeatureCache, fingerprint

Item = TypeVar("Item")


@dataclass(frozen=True)
class CachedFeatures:
    """V images of one size (a photograph and its mirror image, or its distorted views) after the frozen stages."""

    full: Tensor  # (V, C, h, w) bfloat16 map at full scale
    half: Tensor  # (V, C, h / 2, w / 2) bfloat16 map at half scale
    frozen: Tensor  # (V, F) float32 statistics of the frozen stages
    quality: Tensor  # (V,) float32 labels in [0, 1], higher is better; NaN where there is none

    def inputs(self, rows: Tensor | slice) -> tuple[Tensor, Tensor, Tensor]:
        """The arguments of `StageRegressor.features`, for some of the images."""
        return self.full[rows], self.half[rows], self.frozen[rows]


Cached = Sequence[CachedFeatures]


@torch.no_grad()
def compute_features(model: StageRegressor, images: NDArray[np.uint8], quality: Sequence[float]) -> CachedFeatures:
    """Run (V, H, W, 3) uint8 images, with their V labels, through the frozen stages."""
    with torch.autocast("cpu", torch.bfloat16):
        parts = [model.frozen_features(torch.from_numpy(image[None])) for image in images]
    full, half, frozen = (torch.cat(part) for part in zip(*parts, strict=True))
    return CachedFeatures(full.bfloat16(), half.bfloat16(), frozen.float(), torch.tensor(quality, dtype=torch.float32))


def rated_features(model: StageRegressor, records: Sequence[Record], cache: Path) -> list[CachedFeatures]:
    """Each rated image and its mirror image, after the frozen stages; cached in the folder `cache`."""
    store = _store(model, cache, "rated images")

    def one(record: Record) -> CachedFeatures:
        def compute() -> Mapping[str, Tensor]:
            image = images.read(record.path, preprocessing=PREPROCESSING)
            return vars(compute_features(model, np.stack([image, image[:, ::-1]]), [record.quality] * 2))

        return CachedFeatures(**store.of_image(record.path, compute, part=f"-{record.quality!r}"))

    return [one(record) for record in progress(records, "frozen stages, rated images")]


def view_features(model: StageRegressor, config: Config, cache: Path) -> list[CachedFeatures]:
    """Each photograph's distorted views, after the frozen stages; cached in the folder `cache`.

    Raises:
        DataError: no photograph in the folder, or as `mean_ratings`.
    """
    if config.photos is None or config.ratings is None:
        return []
    ratings = mean_ratings(Path(config.ratings))
    photos = [path for path in read_photos(Path(config.photos)) if not held_out(path.name)]
    size, singles = config.photo_crop, config.single_distortions
    store = _store(model, cache, "distorted views", size, singles, PRISTINE, TYPES, SERIES, sorted(ratings.items()))

    def one(number: int, path: Path) -> CachedFeatures:
        def compute() -> Mapping[str, Tensor]:
            photo = images.read(path, preprocessing=dataclasses.replace(PREPROCESSING, crop=size))  # holds one crop
            views, quality = make_views(photo, ratings, np.random.default_rng([11, number]), size=size, singles=singles)
            return vars(compute_features(model, views, quality))

        return CachedFeatures(**store.of_image(path, compute, part=f"-{number}"))

    return [one(number, path) for number, path in enumerate(progress(photos, "frozen stages, distorted views"))]


def _store(model: StageRegressor, folder: Path, *facts: object) -> FeatureCache:
    """Of everything that decides what the frozen stages give; tensors stay on disk until they are used."""
    weights = [fingerprint(model.frozen_stages), model.deviation.tolist(), model.offset.tolist()]
    return FeatureCache(folder, dataclasses.asdict(PREPROCESSING), weights, *facts)


def progress(items: Sequence[Item], what: str) -> Iterable[Item]:
    """The same items, with their progress."""
    return tracked(items, what)
