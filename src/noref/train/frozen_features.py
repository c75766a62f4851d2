"""Crops as the frozen stages see them, kept in a feature cache: what is behind them trains several times as fast.

The random crops of an image are computed once, or `crop_sets` times for as many epochs, for all runs that share
images, seed, crops and frozen weights, such as the rows of a sweep. Crops that move, such as salient ones, go through
the frozen stages when they are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor

from noref.data.loading import Batch, Crops
from noref.data.records import Record
from noref.models.frozen_stages import TailNet
from noref.train.config import Supervised
from noref.train.feature_cache import FeatureCache, fingerprint
from noref.train.loop import Loaders


def cached(config: Supervised, loaders: Loaders, crops: Crops, network: TailNet, fabric: Fabric) -> Loaders:
    """The same batches with cached maps, (N, C, channels, h, w) bfloat16, in place of crops.

    From now on `crops` gives the same crops again after `config.crop_sets` epochs.
    """
    crops.cycle = config.crop_sets
    facts = (crops.preprocessing, crops.seed, network.stages, network.whole.plan.encoder, fabric._precision.precision)
    frozen = fingerprint(network.whole.backbone, frozen=True)
    cache = FeatureCache(Path(config.feature_cache), "frozen stages", *facts, frozen)

    def features(images: Tensor) -> Tensor:
        """(N, C, 3, S, S) uint8 -> (N, C, channels, h, w) bfloat16, on the CPU."""
        with fabric.autocast():
            found = network.frozen_features(fabric.to_device(images.flatten(0, 1)))
        return found.bfloat16().cpu().view(*images.shape[:2], *found.shape[1:])

    def of_set(batch: Batch, number: int) -> Tensor:
        """Maps of the random crops of each image, from the cache where they are there."""
        random, new = batch.crops[:, : config.together], dict[int, Tensor]()

        def compute(row: int) -> dict[str, Tensor]:
            if not new:  # all of the batch at once
                new.update(enumerate(features(random)))
            return {"maps": new[row]}

        rows = []
        for row, index in enumerate(batch.indices.tolist()):
            record = crops.records[index]
            path, part = record.path if isinstance(record, Record) else record, f"-{index}-{config.together}-{number}"
            rows.append(cache.of_image(path, lambda row=row: compute(row), part=part)["maps"])  # type: ignore[misc]
        return torch.stack(rows)

    def beside(epoch: int, batches: Callable[[], Iterable[Batch]]) -> Iterator[Batch]:
        for batch in batches():
            maps, moving = of_set(batch, epoch % config.crop_sets), batch.crops[:, config.together :]
            if moving.shape[1]:
                maps = torch.cat([maps, features(moving)], dim=1)
            yield batch._replace(crops=maps)

    return loaders.through(beside)
