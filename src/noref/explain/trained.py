"""A trained network to be explained: its score, its local quality, Grad-CAM and looks. Needs torch."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from noref.card import Card
from noref.errors import OptionError
from noref.explain import attention_maps as looks
from noref.explain.cams import Place, choose, gradcam, layers, stitch
from noref.explain.load import crop_of, percent, quality_map
from noref.explain.map_types import Map, Plane
from noref.images import Pixels, grid
from noref.models import arniqa_regressor as raters
from noref.models import network as networks
from noref.models.arniqa_regressor import ARNIQA, CROPS, five_crops, half_scale
from noref.models.backbones import Cnn
from noref.models.network import QualityNet
from noref.models.vit import Vit

BATCH = 16  # crops that go through the network together


class Trained:
    """A network of `noref train`, in evaluation mode.

    Args:
        network: as loaded.
        card: its card.
        crop: side of the crops of the local quality map; None: the network's own.
        layer: of Grad-CAM; None: the last one with places.
        window: side of the salient window, in cells.
        window_by: what the window holds most of.

    Raises:
        OptionError: a layer or a look that the network has not, or a number that cannot be.
    """

    def __init__(
        self,
        network: QualityNet | ARNIQA,
        card: Card,
        *,
        crop: int | None = None,
        layer: str | None = None,
        window: int = 8,
        window_by: str = "attention",
    ) -> None:
        self.network, self.card = network.eval(), card
        for part in network.modules():
            if getattr(part, "inplace", False) is True:  # what a hook has seen must not change afterwards
                setattr(part, "inplace", False)  # noqa: B010
        self.crop = crop_of(card, crop)
        self.window, self.window_by, self._side, self.clip = window, window_by, 0, True
        example = torch.zeros(1, 3, self.crop, self.crop, dtype=torch.uint8)
        found = layers(self.network, self.backbone, example) if isinstance(network, QualityNet) else self._of_rater()
        self.layer_name, self.layer = choose(found, self.backbone, layer, card.name)

    @classmethod
    def load(cls, path: Path, *, crop: int | None, layer: str | None, window: int, window_by: str) -> Trained:
        """From a file that a recipe wrote; errors as `open_model`."""
        network, card = raters.load(path) if raters.is_arniqa(path) else networks.load(path)
        return cls(network, card, crop=crop, layer=layer, window=window, window_by=window_by)

    @property
    def backbone(self) -> Cnn | Vit:
        """Where the layers are."""
        return self.network.backbone if isinstance(self.network, QualityNet) else self.network.encoder.backbone

    @property
    def kinds(self) -> tuple[str, ...]:
        """Which maps the network has."""
        own = looks.kinds(self.network) if isinstance(self.network, QualityNet) else ()
        return ("quality", "gradcam-up", "gradcam-down", *own)

    def score(self, pixels: Pixels) -> float:
        """See `Subject`: the mean over the grid of crops, as in training and evaluation."""
        if isinstance(self.network, ARNIQA):
            return percent(float(self._judge(pixels[None])[0]))
        found = [self._judge(crops) for crops, _ in self._crops(pixels)]
        return percent(float(np.concatenate(found).mean(dtype=np.float64)))

    def maps(self, pixels: Pixels, kinds: Sequence[str]) -> list[Map]:
        """See `Subject`."""
        cams: dict[str, Plane] = {}
        if {"gradcam-up", "gradcam-down"} & set(kinds):
            cams = self._gradcam(pixels)
        return [
            quality_map(pixels, self._judge, self.crop, clip=self.clip)
            if kind == "quality"
            else Map(kind, cams[kind])
            if kind in cams
            else self._look(pixels, kind)
            for kind in kinds
        ]

    @torch.no_grad()
    def shuffled(self, share: float, rng: Generator) -> Trained:
        """A copy whose head, and a share of the layers below it from the top down, have their weights shuffled.

        Args:
            share: 0 to 1, of the backbone's tensors in the order in which the network holds them.
            rng: where all chance comes from. A tensor's values change places with each other; statistics of batch
                norms stay.
        """
        network = copy.deepcopy(self.network)
        values = {name: tensor for name, tensor in network.state_dict().items() if _learnt(name, tensor)}
        below = [name for name in values if "backbone." in name]
        kept = set(below[: len(below) - round(share * len(below))])
        for name, tensor in values.items():
            if name not in kept:
                order = torch.from_numpy(rng.permutation(tensor.numel()))
                tensor.copy_(tensor.reshape(-1)[order].reshape(tensor.shape))
        other = Trained(
            network,
            self.card,
            crop=self.crop if self.card.preprocessing.crop is None else None,
            layer=self.layer_name,
            window=self.window,
            window_by=self.window_by,
        )
        other._side, other.clip = self._side, False  # at its ends all places look alike, whatever the weights
        return other

    @torch.no_grad()
    def _judge(self, crops: Pixels) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self.network(_tensor(crops)).float().numpy()
        return found

    def _gradcam(self, pixels: Pixels) -> dict[str, Plane]:
        height, width = pixels.shape[:2]
        cams, places = [], list[Place]()
        if isinstance(self.network, ARNIQA):
            crops, places = _rated(self.network, pixels)
            cams.append(gradcam(_OfCrops(self.network), crops, self.layer, self.backbone))
        else:
            for batch, where in self._crops(pixels):
                cams.append(gradcam(self.network, _tensor(batch), self.layer, self.backbone))
                places += where
        raw = np.concatenate(cams)
        up, down = (stitch(part.clip(min=0), places, height, width) for part in (raw, -raw))
        strongest = max(float(up.max()), float(down.max())) or 1.0
        return {"gradcam-up": up / strongest, "gradcam-down": down / strongest}

    def _look(self, pixels: Pixels, kind: str) -> Map:
        if not isinstance(self.network, QualityNet):
            raise OptionError(f"{self.card.name} has no map {kind}: it has {', '.join(self.kinds)}")
        self._side = self._side or looks.side_of(self.network, self.card.preprocessing.crop)
        resample = self.card.preprocessing.resample
        if kind == "window":
            looks.check_window(self.network, self.window_by)
            return looks.window(
                self.network, pixels, size=self.window, by=self.window_by, side=self._side, resample=resample
            )
        return looks.look(self.network, pixels, kind, side=self._side, resample=resample)

    def _crops(self, pixels: Pixels) -> Iterator[tuple[Pixels, list[Place]]]:
        """The crops whose mean is the score, in batches, and where they lie."""
        size = self.card.preprocessing.crop
        if size is None:
            yield pixels[None], [Place(0, 0, (pixels.shape[0], pixels.shape[1]))]
            return
        corners = grid(pixels.shape[0], pixels.shape[1], size)
        for i in range(0, len(corners), BATCH):
            some = corners[i : i + BATCH]
            crops = np.stack([pixels[top : top + size, left : left + size] for top, left in some])
            yield crops, [Place(top, left, (size, size)) for top, left in some]

    def _of_rater(self) -> dict[str, nn.Module]:
        if not isinstance(self.network, ARNIQA):
            return {}
        size = self.network.crop
        return layers(_OfCrops(self.network), self.backbone, torch.zeros(2 * CROPS, 3, size, size))


class _OfCrops(nn.Module):
    """The score of one picture from its ten crops, five at full and five at half scale, which lie in one batch."""

    def __init__(self, rater: ARNIQA) -> None:
        super().__init__()
        self.rater = rater

    def forward(self, crops: Tensor) -> Tensor:
        """(10, 3, S, S) in [0, 1] -> (1,) quality."""
        full, half = self.rater.encoder(crops).split(CROPS)
        quality: Tensor = (torch.cat([full, half], dim=1) @ self.rater.weight + self.rater.bias).mean(dim=0)
        return quality[None]


def _rated(rater: ARNIQA, pixels: Pixels) -> tuple[Tensor, list[Place]]:
    """The ten crops of a picture, in [0, 1], and where each lies in it."""
    image, size, places = _tensor(pixels[None]), rater.crop, list[Place]()
    scales = [image.float(), half_scale(image)]
    for factor, scale in zip((1, 2), scales, strict=True):
        ends = [(0, side - size, side // 2 - size // 2) for side in scale.shape[2:]]
        corners = [(ends[0][i], ends[1][j]) for i, j in ((0, 0), (0, 1), (1, 0), (1, 1), (2, 2))]
        places += [Place(factor * top, factor * left, (factor * size, factor * size)) for top, left in corners]
    crops = torch.cat([five_crops(scale, size, rater.pad)[:, 0] for scale in scales])
    return crops / 255, places


def _learnt(name: str, tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.numel() > 1 and "running_" not in name


def _tensor(crops: Pixels) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(crops.transpose(0, 3, 1, 2)))
