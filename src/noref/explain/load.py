"""A model as explanations need it, by name or file: an exported one without torch, a trained one with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from noref.card import Card
from noref.errors import ImageError, MissingExtraError, OptionError
from noref.explain import local
from noref.explain.map_types import Map
from noref.images import Pixels
from noref.scoring.network import Network

CROP = 160  # pixels, of a network that sees whole pictures; see docs/explain.md for why
OVERLAP = 2  # crops that a point lies in along each side
TRAINED, EXPORTED = "model.safetensors", "model.onnx"


class Subject(Protocol):
    """A model that can be explained."""

    @property
    def card(self) -> Card:
        """What the model file says of itself; its checksum names the model."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Which maps it has."""

    def score(self, pixels: Pixels) -> float:
        """The model's score of a picture in [0, 100], higher is better, as `noref score` gives it."""

    def maps(self, pixels: Pixels, kinds: Sequence[str]) -> list[Map]:
        """One map of each kind, in that order, of (H, W, 3) uint8 pixels that were read with the card's preprocessing.

        Raises:
            ImageError: the model fails on this picture.
        """


class Exported:
    """A model of the base install: an ONNX file, seen from outside only.

    Args:
        network: the file, loaded.
        crop: side of the crops of the local quality map; None: the network's own, or 160 pixels.
        clip: keep local scores within 0 to 100.

    Raises:
        OptionError: a crop that the network does not take.
    """

    kinds: tuple[str, ...] = ("quality",)

    def __init__(self, network: Network, *, crop: int | None = None, clip: bool = True) -> None:
        network.ready()
        self.clip = clip
        self.network, self.crop = network, crop_of(network.card, crop)

    @property
    def card(self) -> Card:
        """The model's card."""
        return self.network.card

    def score(self, pixels: Pixels) -> float:
        """As `Scorer.score`, of pixels that were read with the card's preprocessing."""
        return percent(self.network.quality(pixels))

    def maps(self, pixels: Pixels, kinds: Sequence[str]) -> list[Map]:
        """See `Subject`."""
        return [quality_map(pixels, self.network.qualities, self.crop, clip=self.clip) for _ in kinds]


def crop_of(card: Card, asked: int | None) -> int:
    """The side of the crops of a local quality map.

    Raises:
        OptionError: another side than the network takes, or one that no network can judge.
    """
    own = card.preprocessing.crop
    if asked is not None and (asked < 32 or own not in (None, asked)):
        takes = f"{card.name} takes crops of {own} pixels" if own else "at least 32 pixels are needed"
        raise OptionError(f"crop {asked}: {takes}")
    return asked or own or CROP


def quality_map(pixels: Pixels, judge: Callable[[Pixels], NDArray[np.float32]], crop: int, *, clip: bool = True) -> Map:
    """The local quality map in points of score, its crops half overlapping along each side.

    Raises:
        ImageError: the picture is smaller than a crop, or the judge fails on it.
    """
    if min(pixels.shape[:2]) < crop:
        raise ImageError(f"crops of {crop} do not fit into {pixels.shape[1]} x {pixels.shape[0]} pixels")
    quality = local.local_quality(pixels, judge, crop=crop, step=max(1, crop // OVERLAP))
    return Map("quality", 100 * (quality.clip(0, 1) if clip else quality))


def percent(quality: float) -> float:
    """Quality as a score in [0, 100], higher is better.

    Raises:
        ImageError: it is no number.
    """
    if not np.isfinite(quality):
        raise ImageError(f"the model put out {quality} instead of a quality")
    return 100 * min(1.0, max(0.0, quality))


def model_file(model: str) -> Path | None:
    """The file of a trained model: a run's folder, or a file; None for a name.

    Raises:
        OptionError: a folder without a model.
    """
    path = Path(model)
    if path.is_dir():
        found = [path / name for name in (TRAINED, EXPORTED) if (path / name).is_file()]
        if not found:
            raise OptionError(f"{model}: no trained model: neither {TRAINED} nor {EXPORTED} in this folder")
        return found[0]
    return path if path.suffix == ".safetensors" else None


def open_model(
    model: str, *, crop: int | None = None, layer: str | None = None, window: int = 8, window_by: str = "attention"
) -> Subject:
    """A model, ready to be explained.

    Args:
        model: `default`, an .onnx file, a folder of `noref train`, or its model.safetensors.
        crop: side of the crops of the local quality map; None: the network's own, or 160 pixels.
        layer: of Grad-CAM; None: the last one with places.
        window: side of the salient window, in cells of a 14 x 14 grid.
        window_by: what the window holds most of: "attention" or "activation".

    Raises:
        OptionError: no such model or layer (the possible ones are listed), a layer of a model that has none, or a
            number that cannot be.
        ModelError: the model cannot be trusted.
        MissingExtraError: a trained model without the extra `train`.
    """
    path = model_file(model)
    if path is None or path.suffix != ".safetensors":
        exported = Exported(Network(path or model), crop=crop)
        if layer is not None:
            raise OptionError(
                f"layer {layer!r}: {model} is an exported model, whose layers cannot be looked into; give the folder"
                " of its training run, or its model.safetensors"
            )
        return exported
    if not path.exists():
        raise OptionError(f"{model}: there is no such model file")
    try:
        from noref.explain.trained import Trained
    except ImportError as error:
        raise MissingExtraError("train", f"looking into {model}") from error
    return Trained.load(path, crop=crop, layer=layer, window=window, window_by=window_by)
