"""A model as explanations need it, by name or file: an exported one without torch, a trained one with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from numpy.random import Generator

from noref.card import Card
from noref.errors import MissingExtraError, OptionError
from noref.explain.exported import ExportedModel
from noref.explain.map_types import Map, Options, check_maps
from noref.images import Pixels
from noref.scoring.network import Network

TRAINED, EXPORTED = "model.safetensors", "model.onnx"


class Explainable(Protocol):
    """A model that can be explained."""

    @property
    def card(self) -> Card:
        """What the model file says of itself; its checksum names the model."""

    @property
    def map_types(self) -> tuple[str, ...]:
        """The names of the maps that it has."""

    def score(self, pixels: Pixels) -> float:
        """The model's score of a photo in [0, 100], higher is better, as `noref score` gives it.

        Raises:
            ImageError: the model fails on this photo.
        """

    def maps(self, pixels: Pixels, names: Sequence[str]) -> list[Map]:
        """One map of each type, in that order, of (H, W, 3) uint8 pixels that were read with the card's preprocessing.

        Raises:
            ImageError: the model fails on this photo.
            OptionError: a map that the model does not have, or one that it cannot make with these options.
        """

    def randomised(self, share: float, rng: Generator) -> Explainable:
        """A copy whose last layer, and a share of the layers below it from the top down, have their weights shuffled.

        A tensor's values change places with each other; statistics of batch norms stay. The local quality of a copy is
        not clipped.

        Args:
            share: 0 to 1, of the layers below the last one, in the order in which the model holds them.
            rng: where all chance comes from.
        """


def open_model(model: str, options: Options | None = None) -> Explainable:
    """A model that has these maps.

    Args:
        model: `default`, an .onnx file, a folder of `noref train`, or its model.safetensors.
        options: names of maps and what changes them.

    Raises:
        OptionError: no such model, map or layer (the possible ones are listed), or an option outside of its range.
        ModelError: the model cannot be trusted.
        MissingExtraError: a trained model without the extra `train`.
    """
    options = options or Options()
    path = _file(model)
    found = _trained(path, options) if path and path.suffix == ".safetensors" else _exported(path or model, options)
    check_maps(options.maps, found.map_types, model)
    return found


def _exported(model: str | Path, options: Options) -> Explainable:
    found = ExportedModel(Network(model), options)
    if options.layer is not None:
        raise OptionError(
            f"layer {options.layer!r}: {model} is an exported model, whose layers cannot be looked into; give the"
            " folder of its training run, or its model.safetensors"
        )
    return found


def _trained(path: Path, options: Options) -> Explainable:
    if not path.exists():
        raise OptionError(f"{path}: there is no such model file")
    try:
        from noref.explain.trained import TrainedModel
    except ImportError as error:
        raise MissingExtraError("train", f"looking into {path}") from error
    return TrainedModel.load(path, options)


def _file(model: str) -> Path | None:
    """The file in a run's folder, or a .safetensors file; None for a name or another file.

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
