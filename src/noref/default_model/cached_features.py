"""What the frozen stages make of images, computed once and cached on disk: fine-tuning then runs four times as fast."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from noref import images
from noref.data.readers import photos as read_photos
from noref.data.records import Record
from noref.default_model.config import PREPROCESSING, Config
from noref.default_model.distorted_views import PRISTINE, SERIES, TYPES, held_out, make_views, mean_ratings
from noref.models.stages import StageRegressor
from noref.writing import replacing


@dataclass(frozen=True)
class CachedFeatures:
    """V images of one size (a photograph and its mirror image, or its distorted views) after the frozen stages.

    Attributes:
        full: (V, C, h, w) bfloat16 map at full scale.
        half: (V, C, h / 2, w / 2) bfloat16 map at half scale.
        frozen: (V, F) float32 statistics of the frozen stages.
        quality: (V,) float32 labels in [0, 1], higher is better; NaN where there is none.
    """

    full: Tensor
    half: Tensor
    frozen: Tensor
    quality: Tensor

    def inputs(self, rows: Tensor | slice) -> tuple[Tensor, Tensor, Tensor]:
        """What `StageRegressor.features` takes, of some of the images."""
        return self.full[rows], self.half[rows], self.frozen[rows]


@torch.no_grad()
def compute_features(model: StageRegressor, images: NDArray[np.uint8], quality: Sequence[float]) -> CachedFeatures:
    """Run (V, H, W, 3) uint8 images, with their V labels, through the frozen stages."""
    with torch.autocast("cpu", torch.bfloat16):
        parts = [model.frozen_features(torch.from_numpy(image[None])) for image in images]
    full, half, frozen = (torch.cat(part) for part in zip(*parts, strict=True))
    return CachedFeatures(full.bfloat16(), half.bfloat16(), frozen.float(), torch.tensor(quality, dtype=torch.float32))


def rated_features(model: StageRegressor, records: Sequence[Record], cache: Path) -> list[CachedFeatures]:
    """Each rated image and its mirror image, after the frozen stages; cached in the folder `cache`."""

    def make() -> Iterator[CachedFeatures]:
        for record in records:
            image = images.read(record.path, preprocessing=PREPROCESSING)
            yield compute_features(model, np.stack([image, image[:, ::-1]]), [record.quality] * 2)

    facts = [(record.path.name, record.path.stat().st_size, record.quality) for record in records]
    return _cached(model, cache, "rated images", len(records), make(), facts)


def view_features(model: StageRegressor, config: Config, cache: Path) -> list[CachedFeatures]:
    """Each photograph's distorted views, after the frozen stages; cached in the folder `cache`.

    Raises:
        DataError: no photograph in the folder, or a rating table that lacks something.
    """
    if config.photos is None or config.ratings is None:
        return []
    ratings = mean_ratings(Path(config.ratings))
    photos = [path for path in read_photos(Path(config.photos)) if not held_out(path.name)]
    size, singles = config.photo_crop, config.single_distortions

    def make() -> Iterator[CachedFeatures]:
        for i, path in enumerate(photos):
            photo = images.read(path, preprocessing=dataclasses.replace(PREPROCESSING, crop=size))  # holds one crop
            views, quality = make_views(photo, ratings, np.random.default_rng([11, i]), size=size, singles=singles)
            yield compute_features(model, views, quality)

    facts = [(path.name, path.stat().st_size) for path in photos]
    drawn = (size, singles, PRISTINE, TYPES, SERIES)
    return _cached(model, cache, "distorted views", len(photos), make(), drawn, sorted(ratings.items()), facts)


def _cached(
    model: StageRegressor, folder: Path, what: str, count: int, make: Iterable[CachedFeatures], *facts: object
) -> list[CachedFeatures]:
    """Read `count` items from their file in `folder`, or make them and write it; their tensors stay on disk until used.

    Args:
        model: its frozen stages decide the content.
        folder: made where it is missing.
        what: the items are, for the progress bar and the file's name.
        count: how many items there are.
        make: gives them, in order; used only if there is no such file.
        facts: what else decides the content.
    """
    key = hashlib.sha256(json.dumps([dataclasses.asdict(PREPROCESSING), *facts], default=str).encode())
    for tensor in (model.deviation, model.offset, *model.frozen_stages.state_dict().values()):
        key.update(tensor.numpy().tobytes())
    path = folder / f"{what.replace(' ', '-')}-{key.hexdigest()[:16]}.safetensors"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        tensors: dict[str, Tensor] = {}
        for i, item in enumerate(track(make, description=f"frozen stages, {what}", total=count)):
            tensors |= {f"{i}.{name}": value.contiguous() for name, value in vars(item).items()}
        with replacing(path) as partial:
            save_file(tensors, partial)
    names = [field.name for field in dataclasses.fields(CachedFeatures)]
    with safe_open(path, "pt") as file:
        return [CachedFeatures(*(file.get_tensor(f"{i}.{name}") for name in names)) for i in range(count)]
