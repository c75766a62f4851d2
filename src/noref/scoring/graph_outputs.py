"""Further outputs of an exported graph, beside `quality`: what the model also knows of a picture, from the same run.

Arithmetic of the graph stays as it is, so `quality` does not change by a bit.
"""

from __future__ import annotations

from pathlib import Path

import onnx

from noref.errors import ModelError
from noref.scoring.network import FEATURES

# what may stand between the linear layer and the score
AFTER = {"Add", "Sub", "Mul", "Div", "Sigmoid", "Clip", "Identity", "Squeeze", "Reshape", "ReduceMean", "Cast"}
LINEAR = {"MatMul", "Gemm"}


def last_linear(model: onnx.ModelProto, path: Path) -> onnx.NodeProto:
    """The linear layer from which the score comes; its first input is the feature.

    Raises:
        ModelError: the score does not come from one linear layer with fixed weights; names `path`.
    """
    fixed = {tensor.name for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    node: onnx.NodeProto | None = makers.get(model.graph.output[0].name)
    while node is not None and node.op_type in AFTER:
        varying = [name for name in node.input if name in makers and name not in fixed]
        node = makers[varying[0]] if len(varying) == 1 else None
    if node is None or node.op_type not in LINEAR or node.input[1] not in fixed:
        reason = "its score does not come from one linear layer on a feature"
        raise ModelError(f"{path}: {reason}: name the run that it came from")
    return node


def add_features(model: onnx.ModelProto, path: Path) -> None:
    """Give the graph the output `features`, (N, D) float32: the input of its last linear layer.

    Raises:
        ModelError: as `last_linear`, or a feature of another rank, as of a head that scores several tokens.
    """
    graph = model.graph
    if any(output.name == FEATURES for output in graph.output):
        return
    node = last_linear(model, path)
    weight = next(tensor for tensor in graph.initializer if tensor.name == node.input[1])
    shaped = onnx.shape_inference.infer_shapes(model).graph
    ranks = {one.name: len(one.type.tensor_type.shape.dim) for one in shaped.value_info}
    if ranks.get(node.input[0], 2) != 2:
        raise ModelError(f"{path}: the input of its last linear layer has {ranks[node.input[0]]} dimensions, not 2")
    rename(graph, node.input[0], FEATURES)
    graph.output.append(onnx.helper.make_tensor_value_info(FEATURES, onnx.TensorProto.FLOAT, ["batch", weight.dims[0]]))


def rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Another name for a value of the graph, wherever it is made and used."""
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new
