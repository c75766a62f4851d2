"""An ONNX graph as a torch module, operator by operator (extra `train`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noref.errors import MissingExtraError, ModelError

try:
    import onnx
    import torch
    from onnx import helper, numpy_helper
    from torch import Tensor, nn
except ImportError as error:
    raise MissingExtraError("train", "a model in torch") from error

from noref.scoring.torch_operators import SIZES, TENSORS


@dataclass
class _Step:
    """A node of the graph."""

    operator: str
    inputs: list[str]  # "" is an input that is left out
    outputs: list[str]
    attributes: dict[str, Any]
    spent: list[str] = field(default_factory=list)  # values that no later step reads


class Graph(nn.Module):
    """An ONNX graph with one input, computed by torch in the type and on the device of its weights.

    Only what the outputs need is kept. Weights are parameters without gradient, under the names of the file with `_`
    for `.`; single numbers and rows of whole numbers are Python's.

    Args:
        model: the graph.
        outputs: the names of the outputs, in the order wanted.

    Raises:
        ModelError: there is no such output, or an operator that `noref.scoring.torch_operators` does not have.
    """

    def __init__(self, model: onnx.ModelProto, outputs: Sequence[str]) -> None:
        super().__init__()
        self.input, self.outputs = model.graph.input[0].name, list(outputs)
        self._steps = _needed(model.graph, self.outputs)
        self._constants: dict[str, Any] = {"": None}
        self._places: dict[str, str] = {}  # a weight's name in the file -> its attribute
        used = {name for step in self._steps for name in step.inputs}.union(outputs)
        for name, value in _constants(model.graph).items():
            if name in used:
                self._keep(name, torch.from_numpy(np.array(value)))
        known = {self.input, *self._constants, *self._places}.union(*(step.outputs for step in self._steps))
        if missing := sorted(used - known):
            raise ModelError(f"its graph has no {', '.join(missing)}")
        later = set(outputs)
        for step in reversed(self._steps):
            step.spent = sorted({*step.inputs, *step.outputs} - later)
            later.update(step.inputs)

    def _keep(self, name: str, value: Tensor) -> None:
        if value.ndim == 0 or (value.ndim == 1 and not value.is_floating_point()):
            self._constants[name] = value.tolist()
            return
        place = name.replace(".", "_")
        while hasattr(self, place):
            place += "_"
        self._places[name] = place
        if value.is_floating_point():
            self.register_parameter(place, nn.Parameter(value.float(), requires_grad=False))
        else:
            self.register_buffer(place, value)

    def forward(self, image: Tensor) -> list[Tensor]:
        """What the graph's input is, as floats -> the outputs, in the order of `outputs`."""
        values = {**self._constants, self.input: image}
        values |= {name: getattr(self, place) for name, place in self._places.items()}
        for step in self._steps:
            found = _run(step, [values[name] for name in step.inputs])
            values |= zip(step.outputs, found, strict=True) if len(step.outputs) > 1 else {step.outputs[0]: found}
            for name in step.spent:
                values.pop(name, None)
        return [values[name] for name in self.outputs]


def _run(step: _Step, inputs: list[Any]) -> Any:
    table = TENSORS if any(isinstance(value, Tensor) for value in inputs) else SIZES
    if step.operator not in table:
        raise ModelError(f"the operator {step.operator} is not supported in torch for whole numbers")
    return table[step.operator](*inputs, **step.attributes)


def _needed(graph: onnx.GraphProto, outputs: Sequence[str]) -> list[_Step]:
    """The steps that the outputs need, in the order of the file."""
    needed, steps = set(outputs), list[_Step]()
    for node in reversed(graph.node):
        if node.op_type == "Constant" or not needed & {*node.output}:
            continue
        if node.domain or node.op_type not in TENSORS.keys() | SIZES.keys():
            raise ModelError(f"the operator {node.domain or 'ai.onnx'}.{node.op_type} is not supported in torch")
        needed |= {*node.input}
        kept = node.output if node.op_type == "Split" else node.output[:1]  # others: by-products for training
        attributes = {entry.name: _attribute(entry) for entry in node.attribute}
        steps.append(_Step(node.op_type, list(node.input), list(kept), attributes))
    return steps[::-1]


def _constants(graph: onnx.GraphProto) -> dict[str, NDArray[Any]]:
    """Weights, and what `Constant` nodes hold, by name."""
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            value = helper.get_attribute_value(node.attribute[0])
            is_tensor = isinstance(value, onnx.TensorProto)
            found[node.output[0]] = numpy_helper.to_array(value) if is_tensor else np.array(value)
    return found


def _attribute(entry: onnx.AttributeProto) -> Any:
    value = helper.get_attribute_value(entry)
    return value.decode() if isinstance(value, bytes) else value


def torch_graph(model: onnx.ModelProto, path: Path, *, count: int | None = None) -> Graph:
    """A parsed model with all its outputs or the first `count`, of which the first is its quality.

    Raises:
        ModelError: as `Graph`; names `path`.
    """
    try:
        return Graph(model, [value.name for value in model.graph.output][:count])
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
