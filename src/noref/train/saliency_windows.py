"""The salient window of every training image, found anew before each epoch, and a sheet of photos that shows them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import cast

import numpy as np
import torch
from lightning_fabric import Fabric
from PIL import Image as Pillow
from PIL import ImageDraw
from torch import Tensor

from noref.data.loading import Batch, Loader, make_loader
from noref.data.salient import SalientCrops, region
from noref.models.frozen_stages import TailNet
from noref.models.network import QualityNet
from noref.models.saliency import GRID, Source, saliency, viewing_side
from noref.objectives.lml import salient_window
from noref.train.feature_cache import FeatureCache

AT_ONCE = 8  # images in a forward pass
MEMORY = 2 << 30  # bytes of resized images, or of their features behind frozen stages, that are kept
PHOTOS, SHEET_COLUMNS, TILE, GAP = 16, 4, 240, 8
FRAME = (255, 64, 0)


class SaliencyWindows:
    """Finds the salient window of each image by a teacher's saliency map, for the crops of the coming epoch.

    Args:
        crops: the training images; their `places` are set by `update` and `restore`.
        blocks: K, last blocks whose class-to-patch attention is averaged.
        crop: side of the crops that the teacher knows.
        workers: processes that decode.
        fabric: device, precision and processes; each takes its share of the images.
        source: whether a map is the teacher's attention or its activation.
    """

    def __init__(
        self, crops: SalientCrops, *, blocks: int, crop: int, workers: int, fabric: Fabric, source: Source = "attention"
    ) -> None:
        self.crops, self.blocks, self.crop, self.workers, self.fabric = crops, blocks, crop, workers, fabric
        self.source, self._views = source, FeatureCache(None, memory=MEMORY)

    def update(self, teacher: QualityNet | TailNet) -> Tensor:
        """(M, 2) int64 row and column of each image's window, M images; from now on crops follow them.

        Args:
            teacher: one behind frozen stages gets what these made of the images at the first call, so they must not
                change.

        Raises:
            ImageError: an image cannot be read; names the file.
        """
        found = torch.stack(salient_window(self.maps(teacher), self.crops.window), dim=1)
        self.restore(found)
        return found

    def restore(self, places: Tensor) -> None:
        """Take windows that were found before an interruption."""
        self.crops.places = places.cpu().numpy()

    def maps(self, teacher: QualityNet | TailNet) -> Tensor:
        """(M, 14, 14) saliency of all images, on the CPU, the same in every process."""
        teacher.eval()
        maps = torch.zeros(len(self.crops), GRID, GRID, device=self.fabric.device)
        for view, indices in self._seen(teacher):
            with self.fabric.autocast():
                maps[indices] = saliency(teacher, self.fabric.to_device(view), blocks=self.blocks, by=self.source)
        return cast(Tensor, self.fabric.all_reduce(maps, reduce_op="sum")).cpu()  # each image is one process's

    def _seen(self, teacher: QualityNet | TailNet) -> Iterator[tuple[Tensor, Tensor]]:
        """Whole images of this process as squares, (B, ...), and their numbers; kept in memory if they fit."""
        cut = isinstance(teacher, TailNet)
        side = viewing_side(teacher, self.crop)
        batches: list[Iterator[Batch]] = []

        def loader(start: int = 0) -> Loader:
            return make_loader(
                self.crops.views(side),
                batch_images=AT_ONCE,
                shuffle=False,
                start_batch=start,
                workers=self.workers,
                rank=self.fabric.global_rank,
                ranks=self.fabric.world_size,
            )

        def compute(number: int) -> dict[str, Tensor]:
            if not batches:
                batches.append(iter(loader(number)))
            batch = next(batches[0])
            view = batch.crops[:, 0]
            if cut:
                with self.fabric.autocast():
                    view = cast(TailNet, teacher).frozen_features(self.fabric.to_device(view)).bfloat16().cpu()
            return {"view": view, "indices": batch.indices}

        for number in range(len(loader())):
            entry = self._views.get(f"{cut}-{number}", partial(compute, number))
            yield entry["view"], entry["indices"]


def sheet(crops: SalientCrops, count: int = PHOTOS) -> Pillow.Image:
    """Photos with their salient windows drawn: what is outside of a window is darkened.

    Args:
        crops: with `places`.
        count: how many photos, evenly spread over the records.
    """
    shown = np.unique(np.linspace(0, len(crops) - 1, min(count, len(crops))).round().astype(int))
    rows = -(-len(shown) // SHEET_COLUMNS)
    page = Pillow.new("RGB", (SHEET_COLUMNS * (TILE + GAP) + GAP, rows * (TILE + GAP) + GAP), "white")
    for number, index in enumerate(shown):
        row, column = divmod(number, SHEET_COLUMNS)
        tile = _framed(crops, int(index))
        left, top = GAP + column * (TILE + GAP), GAP + row * (TILE + GAP)
        page.paste(tile, (left + (TILE - tile.width) // 2, top + (TILE - tile.height) // 2))
    return page


def _framed(crops: SalientCrops, index: int) -> Pillow.Image:
    if crops.places is None:
        raise ValueError("no windows yet")
    image = crops.image(index)
    row, column = (int(place) for place in crops.places[index])
    rows, columns = region(len(image), image.shape[1], row, column, crops.window)
    dark = (image * 0.45).astype(np.uint8)
    dark[rows, columns] = image[rows, columns]
    scale = TILE / max(image.shape[:2])
    tile = Pillow.fromarray(dark).resize((round(image.shape[1] * scale), round(image.shape[0] * scale)))
    box = [round(edge * scale) for edge in (columns.start, rows.start, columns.stop - 1, rows.stop - 1)]
    ImageDraw.Draw(tile).rectangle(box, outline=FRAME, width=2)
    return tile
