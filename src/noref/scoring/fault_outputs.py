"""The outputs `faults` and `spread` as nodes of a graph, behind its features, its image and its quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx.parser

from noref.scoring.network import FAULTS, FEATURES, SPREAD

FIXED: dict[str, Any] = {
    "from": [0, 0], "to": [2**31, 2**31], "sides": [1, 2], "colours": [3], "axis": [1], "last_axis": [3],
    "bins_axis": [2], "flat": [0, -1, 4], "white": 255.0, "one": 1.0,
}  # fmt: skip
TONES = """
    some = Slice(image, from, to, sides, stride)
    grey = Cast<to = 1>(some)
    pixels = Div(grey, white)
    mean = ReduceMean<keepdims = 1>(pixels, colours)
    high = ReduceMax<keepdims = 1>(pixels, colours)
    low = ReduceMin<keepdims = 1>(pixels, colours)
    range = Sub(high, low)
    four = Concat<axis = 3>(mean, high, low, range)
    rows = Reshape(four, flat)
    columns = Transpose<perm = [0, 2, 1]>(rows)
    values = Unsqueeze(columns, bins_axis)
    scaled = Mul(values, slopes)
    away = Sub(scaled, scaled_centers)
    far = Abs(away)
    inside = Sub(one, far)
    near = Relu(inside)
    shares = ReduceMean<keepdims = 0>(near, last_axis)
    raised = Add(shares, epsilon)
    roots = Sqrt(raised)
    tones = Flatten<axis = 1>(roots)
"""  # noref.default_model.tones
LAYERS = """
    seen = Concat<axis = 1>(features, tones)
    clipped = Clip(seen, lowest, limit)
    z = Gemm(clipped, first, first_bias)
    known = Concat<axis = 1>(z, tones)
    inner = Gemm(known, second, second_bias)
    hidden = Relu(inner)
    both = Concat<axis = 1>(hidden, known)
    out = Gemm(both, last, last_bias)
"""  # noref.default_model.fault_head


def add_faults(model: onnx.ModelProto, numbers: Mapping[str, Any], sizes: Sequence[int]) -> None:
    """Give a graph that has `features` the output `faults`, (N, T) severities in [0, 1]; replace the one it has.

    Args:
        model: changed.
        numbers: arrays, by the names that they have in `TONES` and `LAYERS`.
        sizes: types in each of the groups, T in all.
    """
    drop_output(model, FAULTS)
    graph, count = model.graph, range(len(sizes))
    types, groups = ([f"{word}{number}" for number in count] for word in ("types", "group"))
    lines = [
        f"groups, {', '.join(types)} = Split<axis = 1>(out, sizes)",
        "severities = Sigmoid(groups)",
        f"{', '.join(groups)} = Split<axis = 1, num_outputs = {len(sizes)}>(severities)",
    ]
    for of_group, group in zip(types, groups, strict=True):
        lines += [
            f"{of_group}_max = ReduceMax<keepdims = 1>({of_group}, axis)",
            f"{of_group}_less = Sub({of_group}, {of_group}_max)",
            f"{of_group}_share = Exp({of_group}_less)",
            f"{of_group}_faults = Mul({of_group}_share, {group})",
        ]
    lines.append(f"faults = Concat<axis = 1>({', '.join(f'{of_group}_faults' for of_group in types)})")
    text = f"faults (uint8[n, h, w, 3] image) => (float[n, t] faults) {{{TONES}{LAYERS}" + "\n".join(lines) + "}"
    outside = {"image": graph.input[0].name, FEATURES: FEATURES, FAULTS: FAULTS}
    _append(graph, text, outside, {**FIXED, **numbers, "sizes": [len(sizes), *sizes]})
    graph.output.append(onnx.helper.make_tensor_value_info(FAULTS, onnx.TensorProto.FLOAT, ["batch", sum(sizes)]))


def add_spread(model: onnx.ModelProto, coefficients: Sequence[float]) -> None:
    """Give a graph the output `spread`, (N,): exp(a + b z + c z^2), z = 5 (quality - 1/2), quality clipped to [0, 1].

    Args:
        model: changed.
        coefficients: a, b and c.
    """
    drop_output(model, SPREAD)
    graph = model.graph
    text = """spread (float[n] quality) => (float[n] spread) {
        inside = Clip(quality, zero, one)
        above = Sub(inside, half)
        z = Mul(above, five)
        bent = Mul(z, c)
        slope = Add(bent, b)
        part = Mul(slope, z)
        log = Add(part, a)
        spread = Exp(log)
    }"""
    values = {"zero": 0.0, "one": 1.0, "half": 0.5, "five": 5.0, **dict(zip("abc", coefficients, strict=True))}
    _append(graph, text, {"quality": graph.output[0].name, SPREAD: SPREAD}, values)
    graph.output.append(onnx.helper.make_tensor_value_info(SPREAD, onnx.TensorProto.FLOAT, ["batch"]))


def _append(graph: onnx.GraphProto, text: str, outside: Mapping[str, str], numbers: Mapping[str, Any]) -> None:
    """Append the nodes of a text and its numbers; their names, but for those of `outside`, begin with the text's."""
    parsed = onnx.parser.parse_graph(text)
    for node in parsed.node:
        for names in (node.input, node.output):
            names[:] = [outside.get(name, f"{parsed.name}.{name}") for name in names]
        graph.node.append(node)
    for name, values in numbers.items():
        array = np.asarray(values)
        kind = np.int64 if array.dtype.kind == "i" else np.float32
        graph.initializer.append(onnx.numpy_helper.from_array(array.astype(kind), f"{parsed.name}.{name}"))


def drop_output(model: onnx.ModelProto, name: str) -> None:
    """Take an output that was added away, with the nodes and numbers that are named after it."""
    graph = model.graph
    for items in (graph.output, graph.initializer):
        for item in [item for item in items if item.name == name or item.name.startswith(f"{name}.")]:
            items.remove(item)
    for node in [node for node in graph.node if node.output[0] == name or node.output[0].startswith(f"{name}.")]:
        graph.node.remove(node)
