"""A trained network to be explained: its score, its local quality, Grad-CAM and attention maps. Needs torch."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from noref.card import Card
from noref.errors import OptionError
from noref.explain.attention_maps import attention_map, available, whole_image, window_map
from noref.explain.cams import CropBox, choose_layer, find_layers, gradcam, stitch
from noref.explain.local import crop_batches, crop_of, percent, quality_map
from noref.explain.map_types import Map, Options, Plane, check_maps
from noref.images import Pixels, grid
from noref.models import arniqa_regressor
from noref.models import network as networks
from noref.models.arniqa_regressor import ARNIQA, CROPS, five_crops, half_scale
from noref.models.backbones import Cnn
from noref.models.network import QualityNet
from noref.models.saliency import viewing_side
from noref.models.vit import Vit
from noref.scoring.reasons import Reason

SIDE = 224  # pixels, of the crops of a network whose card names none


def load_trained(path: Path, options: Options) -> TrainedModel:
    """The model in a file that `noref train` wrote; errors as `open_model`."""
    network, card = arniqa_regressor.load(path) if arniqa_regressor.is_arniqa(path) else networks.load(path)
    return TrainedModel(network, card, options)


class TrainedModel:
    """See `noref.explain.load.Explainable`: a network of `noref train`, in evaluation mode.

    Args:
        network, card: as loaded.
        is_copy: its weights are randomised; where the score no longer depends on the layer of Grad-CAM, the map is 0.

    Raises:
        OptionError: a layer that the network does not have, or a crop that it does not take.
    """

    def __init__(self, network: QualityNet | ARNIQA, card: Card, options: Options, *, is_copy: bool = False) -> None:
        self.network: Any = network.eval()
        self.card, self.options, self.is_copy = card, options, is_copy
        for part in network.modules():
            if getattr(part, "inplace", False) is True:  # what a hook has seen must not change afterwards
                setattr(part, "inplace", False)  # noqa: B010
        self.crop = crop_of(card, options.crop)
        self.backbone: Cnn | Vit
        self.scorer: nn.Module  # the crops of `_cut` -> their qualities, whose mean is the score
        self.map_types: tuple[str, ...] = ("quality", "gradcam-up", "gradcam-down")
        if isinstance(network, QualityNet):
            self.backbone, self.scorer = network.backbone, network
            self.map_types += available(network)
            self._cut = partial(grid_crops, size=card.preprocessing.crop)
        else:
            self.backbone, self.scorer = network.encoder.backbone, ArniqaScorer(network)
            self._cut = partial(arniqa_crops, network)
        example, _ = next(self._cut(np.zeros((self.crop, self.crop, 3), np.uint8)))
        found = find_layers(self.scorer, self.backbone, example)
        _, self.layer = choose_layer(found, self.backbone, options.layer, card.name)

    @torch.no_grad()
    def score(self, pixels: Pixels) -> float:
        """The mean over the crops, as in training and evaluation."""
        found = [self.scorer(crops).float().numpy() for crops, _ in self._cut(pixels)]
        return percent(float(np.concatenate(found).mean(dtype=np.float64)))

    def reasons(self, pixels: Pixels) -> list[Reason]:
        """None: a trained network has no head for faults, its export may get one."""
        return []

    def maps(self, pixels: Pixels, names: Sequence[str]) -> list[Map]:
        """See `Explainable`."""
        check_maps(names, self.map_types, self.card.name)
        found: dict[str, Map] = {}
        if "quality" in names:
            found["quality"] = quality_map(pixels, self._predict, self.crop, clip=not self.is_copy)
        if {"gradcam-up", "gradcam-down"} & set(names):
            found |= {name: Map(name, plane) for name, plane in self._gradcam(pixels).items()}
        return [found.get(name) or self._attention_map(pixels, name) for name in names]

    @torch.no_grad()
    def randomised(self, share: float, rng: Generator) -> TrainedModel:
        """See `Explainable`: the head is the last layer, the tensors of the backbone are the layers below it."""
        network = copy.deepcopy(self.network)
        weights = {name: tensor for name, tensor in network.state_dict().items() if _is_weight(name, tensor)}
        below = [name for name in weights if "backbone." in name]
        kept = set(below[: len(below) - round(share * len(below))])
        for name, tensor in weights.items():
            if name not in kept:
                order = torch.from_numpy(rng.permutation(tensor.numel()))
                tensor.copy_(tensor.reshape(-1)[order].reshape(tensor.shape))
        return TrainedModel(network, self.card, self.options, is_copy=True)

    @torch.no_grad()
    def _predict(self, crops: Pixels) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self.network(_tensor(crops)).float().numpy()
        return found

    def _gradcam(self, pixels: Pixels) -> dict[str, Plane]:
        cams, boxes = list[Plane](), list[CropBox]()
        try:
            for crops, where in self._cut(pixels):
                cams.append(gradcam(self.scorer, crops, self.layer, self.backbone))
                boxes += where
        except OptionError:
            if not self.is_copy:
                raise
            return {"gradcam-up": np.zeros((1, 1)), "gradcam-down": np.zeros((1, 1))}
        raw = np.concatenate(cams)
        up, down = (stitch(part.clip(min=0), boxes, *pixels.shape[:2]) for part in (raw, -raw))
        strongest = max(float(up.max()), float(down.max())) or 1.0
        return {"gradcam-up": up / strongest, "gradcam-down": down / strongest}

    def _attention_map(self, pixels: Pixels, name: str) -> Map:
        image = whole_image(pixels, self._side, self.card.preprocessing.resample)
        if name == "window":
            return window_map(self.network, image, size=self.options.window, by=self.options.window_by)
        return attention_map(self.network, image, name)

    @cached_property
    def _side(self) -> int:
        """Of the square as which the network gets a whole photo."""
        return viewing_side(self.network, self.card.preprocessing.crop or SIDE)


def grid_crops(pixels: Pixels, *, size: int | None) -> Iterator[tuple[Tensor, list[CropBox]]]:
    """The crops whose mean quality is the score, (N, 3, size, size) uint8, in batches, and where each lies.

    Without a size one crop, the whole photo.
    """
    if size is None:
        yield _tensor(pixels[None]), [CropBox(0, 0, (pixels.shape[0], pixels.shape[1]))]
        return
    for crops, corners in crop_batches(pixels, grid(pixels.shape[0], pixels.shape[1], size), size):
        yield _tensor(crops), [CropBox(top, left, (size, size)) for top, left in corners]


class ArniqaScorer(nn.Module):
    """The quality of one photo from its ten crops, five at full and five at half scale, which lie in one batch."""

    def __init__(self, model: ARNIQA) -> None:
        super().__init__()
        self.model = model

    def forward(self, crops: Tensor) -> Tensor:
        """(10, 3, S, S) in [0, 1] -> (1,) quality."""
        full, half = self.model.encoder(crops).split(CROPS)
        quality: Tensor = (torch.cat([full, half], dim=1) @ self.model.weight + self.model.bias).mean(dim=0)
        return quality[None]


def arniqa_crops(model: ARNIQA, pixels: Pixels) -> Iterator[tuple[Tensor, list[CropBox]]]:
    """The ten crops of a photo, (10, 3, S, S) in [0, 1], and where each lies in it: one batch."""
    image, size, boxes = _tensor(pixels[None]), model.crop, list[CropBox]()
    scales = [image.float(), half_scale(image)]
    for factor, scale in zip((1, 2), scales, strict=True):
        ends = [(0, side - size, side // 2 - size // 2) for side in scale.shape[2:]]
        corners = [(ends[0][i], ends[1][j]) for i, j in ((0, 0), (0, 1), (1, 0), (1, 1), (2, 2))]
        boxes += [CropBox(factor * top, factor * left, (factor * size, factor * size)) for top, left in corners]
    yield torch.cat([five_crops(scale, size, model.pad)[:, 0] for scale in scales]) / 255, boxes


def _is_weight(name: str, tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.numel() > 1 and "running_" not in name


def _tensor(crops: Pixels) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(crops.transpose(0, 3, 1, 2)))
