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
    """A model that can be explained.

    Attributes:
        card: what the model file says of itself; its checksum names the model.
        map_types: names of the maps that it has.
    """

    card: Card
    map_types: tuple[str, ...]

    def score(self, pixels: Pixels) -> float:
        """The model's score of a photo in [0, 100], higher is better, as `noref score` gives it.

        Raises:
            ImageError: the model fails on this photo.
        """

    def maps(self, pixels: Pixels, names: Sequence[str]) -> list[Map]:
        """One map of each type, in that order, of (H, W, 3) uint8 pixels that were read with the card's preprocessing.

        Raises:
            ImageError: the model fails on this photo.
            OptionError: a map that the model does not have, or one that it cannot make with its options.
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
    path = Path(model)
    if path.is_dir():
        files = [path / name for name in (TRAINED, EXPORTED) if (path / name).is_file()]
        if not files:
            raise OptionError(f"{model}: no trained model: neither {TRAINED} nor {EXPORTED} in this folder")
        path = files[0]
    found: Explainable
    if path.suffix != ".safetensors":
        found = ExportedModel(Network(path), options)
    elif not path.exists():
        raise OptionError(f"{path}: there is no such model file")
    else:
        try:
            from noref.explain.trained import load_trained
        except ImportError as error:
            raise MissingExtraError("train", f"looking into {path}") from error
        found = load_trained(path, options)
    check_maps(options.maps, found.map_types, model)
    return found
