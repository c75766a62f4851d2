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


def quality_nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes that the quality needs, in the order of the file; not those of further outputs."""
    needed, found = {graph.output[0].name}, list[onnx.NodeProto]()
    for node in reversed(graph.node):
        if needed & {*node.output}:
            needed |= {*node.input}
            found.append(node)
    return found[::-1]


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


def feature_layers(model: onnx.ModelProto) -> list[tuple[int, float]]:
    """Which features come from how deep in the network, where they are layers side by side.

    Returns:
        Number of features and depth of each layer, in the order of the features: the depth is the number of layers with
        weights below it, as a share of the deepest one's, in [0, 1]. Empty where the features are no concatenation.
    """
    graph = onnx.shape_inference.infer_shapes(model).graph
    makers = {name: node for node in graph.node for name in node.output}
    node = makers.get(FEATURES)
    while node is not None and node.op_type in AFTER:
        made = [name for name in node.input if name in makers]
        node = makers[made[0]] if made else None
    if node is None or node.op_type != "Concat":
        return []
    shapes = {one.name: [side.dim_value for side in one.type.tensor_type.shape.dim] for one in graph.value_info}
    leaves = [leaf for name in node.input for leaf in _concatenated(name, makers)]
    sizes = [shapes.get(name, [0])[-1] for name in leaves]
    depths = [len(_weighted_below(name, makers)) for name in leaves]
    if not all(sizes) or not all(depths):
        return []
    return [(size, round(depth / max(depths), 4)) for size, depth in zip(sizes, depths, strict=True)]


def _concatenated(name: str, makers: dict[str, onnx.NodeProto]) -> list[str]:
    """The values that a value is put together from, side by side."""
    node = makers.get(name)
    if node is None or node.op_type != "Concat":
        return [name]
    return [leaf for each in node.input for leaf in _concatenated(each, makers)]


def _weighted_below(name: str, makers: dict[str, onnx.NodeProto]) -> set[str]:
    """Outputs of the convolutions and linear layers that a value depends on."""
    found, seen, left = set[str](), set[str](), [name]
    while left:
        node = makers.get(left.pop())
        if node is None or node.output[0] in seen:
            continue
        seen.add(node.output[0])
        left += node.input
        if node.op_type in {"Conv", *LINEAR}:
            found.add(node.output[0])
    return found


def rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Another name for a value of the graph, wherever it is made and used."""
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new
