"""A model file run by torch on another device, in the place of ONNX Runtime's session (extra `train`)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from noref.errors import OptionError
from noref.scoring.torch_graph import Graph, torch_graph  # first of those with torch: it names the extra

import onnx  # isort: skip
import torch  # isort: skip

from noref.scoring.onnx_file import parse  # isort: skip

BATCH = 16  # images, or crops of one image


class Value(NamedTuple):
    """An input or output, as ONNX Runtime describes it."""

    name: str
    type: str
    shape: list[int | str]


@dataclass(eq=False)
class _Request:
    images: NDArray[np.uint8]
    found: list[NDArray[np.float32]] | None = None
    error: Exception | None = None


class TorchSession:
    """What `Network` uses of a session of ONNX Runtime; the images of several threads run as one batch.

    A thread that asks waits until the device is free, and then runs all waiting images that have the size of its own.
    Arithmetic is float32 in full, without TF32.

    Args:
        graph: with all outputs of the file.
        inputs: of the file, and so `outputs`.
        device: torch's.
    """

    def __init__(self, graph: Graph, inputs: list[Value], outputs: list[Value], device: torch.device) -> None:
        self._graph, self._inputs, self._outputs, self._device = graph.to(device), inputs, outputs, device
        self._waiting: list[_Request] = []
        self._device_is_free = threading.Lock()

    def get_inputs(self) -> list[Value]:
        """As of ONNX Runtime's session."""
        return self._inputs

    def get_outputs(self) -> list[Value]:
        """As of ONNX Runtime's session."""
        return self._outputs

    def run(self, names: Sequence[str], feed: dict[str, NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """The outputs `names` for the input's images (N, H, W, 3); raises what torch raises."""
        (images,) = feed.values()
        request = _Request(images)
        self._waiting.append(request)
        with self._device_is_free:
            if request.found is None and request.error is None:
                self._serve(request)
        if request.found is None:
            raise request.error or RuntimeError("no answer")
        return [request.found[self._graph.outputs.index(name)] for name in names]

    def _serve(self, first: _Request) -> None:
        """Run the request, and with it those that wait and fit."""
        batch, count = [first], len(first.images)
        for other in [one for one in self._waiting if one is not first]:
            if other.images.shape[1:] == first.images.shape[1:] and count + len(other.images) <= BATCH:
                batch.append(other)
                count += len(other.images)
        try:
            found = self._forward(np.concatenate([one.images for one in batch]))
            ends = np.cumsum([len(one.images) for one in batch])[:-1]
            for one, parts in zip(batch, zip(*(np.split(each, ends) for each in found), strict=True), strict=True):
                one.found = list(parts)
        except Exception as error:
            for one in batch:
                one.error = error
        for one in batch:
            self._waiting.remove(one)

    def _forward(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        try:
            with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
                pixels = torch.from_numpy(images).to(self._device)
                return [value.float().cpu().numpy() for value in self._graph(pixels.float())]
        except torch.OutOfMemoryError:
            if len(images) == 1:
                raise
        halves = [self._forward(half) for half in np.array_split(images, 2)]
        return [np.concatenate(pair) for pair in zip(*halves, strict=True)]


def open_session(path: Path, content: bytes, device: str) -> TorchSession:
    """The session of a model file's bytes on one of torch's devices, such as `cuda`, `cuda:1` or `mps`.

    Raises:
        OptionError: torch has no such device here.
        ModelError: the file is broken or its graph has an operator that has no torch twin; names `path`.
    """
    try:
        place = torch.device(device)
        torch.zeros(1, device=place)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise OptionError(f"device {device}: torch cannot use it here: {str(error).partition(chr(10))[0]}") from error
    model = parse(content, path)
    inputs, outputs = ([_described(value) for value in values] for values in (model.graph.input, model.graph.output))
    return TorchSession(torch_graph(model, path), inputs, outputs, place)


def _described(value: onnx.ValueInfoProto) -> Value:
    tensor = value.type.tensor_type
    kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    return Value(value.name, f"tensor({kind})", [side.dim_param or side.dim_value for side in tensor.shape.dim])
