"""Before each epoch: where a teacher looks in every training image, and a sheet of photos that shows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np
import torch
from lightning_fabric import Fabric
from PIL import Image as Pillow
from PIL import ImageDraw
from torch import Tensor

from noref.data.loading import make_loader
from noref.data.salient import SalientCrops, region
from noref.models.frozen_stages import TailNet
from noref.models.network import QualityNet
from noref.models.saliency import GRID, Source, saliency, viewing_side
from noref.objectives.lml import salient_window

WINDOWS = "lml.windows"  # where a run's state keeps the epoch's windows: the teacher has moved on when it is resumed
AT_ONCE = 8  # images in a forward pass
KEPT_BYTES = 2 << 30  # squashed images are kept in memory up to this size
PHOTOS, SHEET_COLUMNS, TILE, GAP = 16, 4, 240, 8
FRAME = (255, 64, 0)


class Eye:
    """Says where the salient windows of all images are.

    Squashed images are kept from the first look on if they fit into memory, so that an epoch decodes an image once.

    Args:
        crops: the training images; their `places` are set by `look` and `remember`.
        blocks: K, over which class-to-patch attention is averaged.
        crop: side of the crops that the teacher knows.
        relative: divide each map by the mean map of all images: windows then follow what is in an image, not where a
            network always looks, such as the padded border.
        by: whether the teacher's attention says where it looks, or its activation.
        workers: processes that decode.
        fabric: device, precision and processes; each looks at its share of the images.
    """

    def __init__(
        self,
        crops: SalientCrops,
        *,
        blocks: int,
        crop: int,
        workers: int,
        fabric: Fabric,
        relative: bool = False,
        by: Source = "attention",
    ) -> None:
        self.crops, self.blocks, self.crop, self.workers, self.fabric = crops, blocks, crop, workers, fabric
        self.relative, self.by = relative, by
        self._views: list[tuple[Tensor, Tensor]] = []

    def look(self, teacher: QualityNet | TailNet) -> Tensor:
        """(M, 2) int64 row and column of each image's window, M images; the crops of the coming epoch follow it.

        Args:
            teacher: a cut one is shown what its frozen stages made of the images at the first look, so these must not
                change.

        Raises:
            ImageError: an image cannot be read; names the file.
        """
        teacher.eval()
        maps = torch.zeros(len(self.crops), GRID, GRID, device=self.fabric.device)
        for view, indices in self._seen(teacher):
            with self.fabric.autocast():
                maps[indices] = saliency(teacher, self.fabric.to_device(view), blocks=self.blocks, by=self.by)
        maps = cast(Tensor, self.fabric.all_reduce(maps, reduce_op="sum")).cpu()  # each image is one process's
        found = torch.stack(salient_window(_relative(maps) if self.relative else maps, self.crops.window), dim=1)
        self.remember(found)
        return found

    def remember(self, places: Tensor) -> None:
        """Take windows that were found before an interruption."""
        self.crops.places = places.cpu().numpy()

    def _seen(self, teacher: QualityNet | TailNet) -> Iterator[tuple[Tensor, Tensor]]:
        """Views of this process's images, (B, ...), and the images' numbers; kept if they fit."""
        if self._views:
            yield from self._views
            return
        fabric, views, kept, size = self.fabric, list[tuple[Tensor, Tensor]](), True, 0
        side = viewing_side(teacher, self.crop)
        for crops, _, indices in make_loader(
            self.crops.views(side),
            batch_images=AT_ONCE,
            shuffle=False,
            workers=self.workers,
            rank=fabric.global_rank,
            ranks=fabric.world_size,
        ):
            view = crops[:, 0]
            if isinstance(teacher, TailNet):
                with fabric.autocast():
                    view = teacher.frozen_features(fabric.to_device(view)).bfloat16().cpu()
            size += view.nbytes
            kept = kept and size <= KEPT_BYTES
            if kept:
                views.append((view, indices))
            yield view, indices
        self._views = views if kept else []


def _relative(maps: Tensor) -> Tensor:
    """(M, S, S) maps over their mean, each of them with the same sum."""
    shares = maps / maps.sum(dim=(1, 2), keepdim=True)
    return shares / shares.mean(dim=0)


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
