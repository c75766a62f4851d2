"""A model as explanations need it, by name or file: an exported one without torch, a trained one with it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.random import Generator

from noref.card import Card
from noref.errors import MissingExtraError, OptionError
from noref.explain.local import crop_of, percent, quality_map
from noref.explain.map_types import Map, Options, check_maps
from noref.images import Pixels
from noref.scoring.network import FAULTS, Network
from noref.scoring.reasons import Reason, reasons_of

TRAINED, EXPORTED = "model.safetensors", "model.onnx"
FLOATS = (1, 10, 11)  # float32, float16, float64 in ONNX's numbering
SMALLEST = 16  # values of a tensor that is randomised, at least: smaller ones are pixel statistics and settings
LAST = 8  # steps of the graph among which its logistic curve may be


class Explainable(Protocol):
    """A model that can be explained. Both `score` and `maps` raise ImageError where it fails on a photo."""

    card: Card  # its checksum names the model
    map_types: tuple[str, ...]  # that it has

    def score(self, pixels: Pixels) -> float:
        """The model's score of a photo in [0, 100], higher is better, as `noref score` gives it."""

    def reasons(self, pixels: Pixels) -> list[Reason]:
        """As `Score.reasons`."""

    def maps(self, pixels: Pixels, names: Sequence[str]) -> list[Map]:
        """One map of each type, in that order, of (H, W, 3) uint8 pixels that were read with the card's preprocessing.

        Raises:
            OptionError: a map that the model does not have, or one that it cannot make with its options.
        """

    def randomised(self, share: float, rng: Generator) -> Explainable:
        """A copy whose last layer, and a share of the layers below it from the top down, have their weights shuffled.

        A tensor's values change places with each other; statistics of batch norms stay. The local quality of a copy is
        not clipped.

        Args:
            share: 0 to 1, of the layers below the last one, in the order in which the model holds them.
        """


def open_model(model: str, options: Options | None = None) -> Explainable:
    """A model that has these maps.

    Args:
        model: `default`, an .onnx file, a folder of `noref train`, or its model.safetensors.

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


class ExportedModel:
    """See `Explainable`: an ONNX file, seen from outside only, without torch; `is_copy`: its weights are randomised."""

    map_types: tuple[str, ...] = ("quality",)

    def __init__(self, network: Network, options: Options, *, is_copy: bool = False) -> None:
        network.ready()
        if options.layer is not None:
            why = "an exported model, whose layers cannot be looked into"
            instead = "give the folder of its training run, or its model.safetensors"
            raise OptionError(f"layer {options.layer!r}: {network.card.name} is {why}; {instead}")
        self.network, self.card, self.options, self.is_copy = network, network.card, options, is_copy
        self.crop = crop_of(network.card, options.crop)

    def score(self, pixels: Pixels) -> float:
        """As `Scorer.score`."""
        return percent(self.network.quality(pixels))

    def reasons(self, pixels: Pixels) -> list[Reason]:
        """The faults that the model puts out."""
        found = self.network.quality_and(pixels, FAULTS)[1]
        return reasons_of(found[FAULTS].tolist(), self.card.outputs[FAULTS]) if found else []

    def maps(self, pixels: Pixels, names: Sequence[str]) -> list[Map]:
        """The local quality map."""
        return [quality_map(pixels, self.network.qualities, self.crop, clip=not self.is_copy) for _ in names]

    def randomised(self, share: float, rng: Generator) -> ExportedModel:
        """See `Explainable`, and `randomised_onnx`."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "randomised.onnx"
            path.write_bytes(randomised_onnx(self.network.path.read_bytes(), share, rng))
            self.card.write(path)
            return ExportedModel(Network(path, threads=self.network.threads), self.options, is_copy=True)


def randomised_onnx(model: bytes, share: float, rng: Generator) -> bytes:
    """An ONNX model with the weights of its last layers shuffled.

    Args:
        share: of the layers below the last one, 0 to 1; the last one always.

    Returns:
        The file, float tensors of 16 and more values shuffled within themselves, no sigmoid among the last eight steps.

    Raises:
        MissingExtraError: onnx is not installed.
    """
    try:
        import onnx
        from onnx import numpy_helper

        from noref.scoring.graph_outputs import quality_nodes
    except ImportError as error:
        raise MissingExtraError("train", "shuffling the weights of an exported model") from error
    found = onnx.load_from_string(model)
    floats = [one for one in found.graph.initializer if one.data_type in FLOATS]
    weights = {one.name: one for one in floats if np.prod(one.dims or [1]) >= SMALLEST}
    nodes = quality_nodes(found.graph)
    layers = [[name for name in node.input if name in weights] for node in nodes]
    layers = [names for names in layers if names]
    first = len(layers) - 1 - round(share * (len(layers) - 1))
    for name in (name for names in layers[first:] for name in names):
        values = numpy_helper.to_array(weights[name])
        mixed = rng.permutation(values.reshape(-1)).reshape(values.shape)
        weights[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(mixed), name))
    for node in nodes[-LAST:]:
        if node.op_type == "Sigmoid":
            node.op_type = "Identity"
    return bytes(found.SerializeToString())
