"""A linear layer put behind the outputs of an ONNX file; reads and writes the file's wire format, as `onnx` is no part
of the base install.

Source:
    https://protobuf.dev/programming-guides/encoding/, and the field numbers of onnx.proto
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noref.errors import ModelError
from noref.scoring.network import FEATURES

GRAPH, NODE, INITIALIZER, OUTPUT = 7, 1, 5, 12  # of ModelProto; of GraphProto
NODE_INPUT, NODE_OUTPUT, NODE_NAME, NODE_KIND = 1, 2, 3, 4
VALUE_NAME = 1
TENSOR_DIMS, TENSOR_KIND, TENSOR_NAME, TENSOR_DATA, FLOAT = 1, 2, 8, 9, 1
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types
FIXED = {FIXED64: 8, FIXED32: 4}
UNCALIBRATED = "uncalibrated"


@dataclass(frozen=True)
class Line:
    """quality = `intercept` + `slope` * quality of the model + clip(features, -`clip`, `clip`) . `weight`."""

    intercept: float
    slope: float
    weight: NDArray[np.float64]  # (D,)
    clip: float

    def __call__(self, quality: NDArray[np.float64], features: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """(N,) qualities of the model and (N, D) features -> (N,) quality."""
        clipped = np.clip(features.astype(np.float64), -self.clip, self.clip)
        return self.intercept + self.slope * quality + clipped @ self.weight


def with_line(content: bytes, line: Line, path: Path) -> bytes:
    """An ONNX file whose `quality` is the old one behind `line`; its other outputs stay.

    Raises:
        ModelError: no ONNX file, or one without the output `features`; names `path`.
    """
    try:
        model = list(_fields(content))
        graph = list(_fields(next(value for number, _, value in model if number == GRAPH)))
        outputs = [_text(value, VALUE_NAME) for number, _, value in graph if number == OUTPUT]
    except (IndexError, StopIteration, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: not an ONNX model") from error
    if FEATURES not in outputs:
        raise ModelError(f"{path}: has no output `{FEATURES}`; export the model again with this version of noref")
    quality, old = outputs[0], UNCALIBRATED
    taken = {name for number, _, value in graph if number == NODE for name in _texts(value, NODE_OUTPUT)}
    while old in taken:
        old += "_"
    graph = [(n, kind, _renamed(value, quality, old) if n == NODE else value) for n, kind, value in graph]
    graph += _layer(line, old, quality)
    changed = _message(graph)
    return _message([(n, kind, changed if n == GRAPH else value) for n, kind, value in model])


def _layer(line: Line, old: str, new: str) -> list[tuple[int, int, bytes]]:
    """Nodes and initialisers of `line`, from the value `old` and the features to the value `new`."""
    place = f"{old}.line."
    constants = {"low": -line.clip, "high": line.clip, "slope": line.slope, "intercept": line.intercept}
    tensors = [_tensor(place + name, np.float32(value)) for name, value in constants.items()]
    tensors.append(_tensor(place + "weight", line.weight.astype(np.float32)))
    steps = [
        ("Clip", [FEATURES, place + "low", place + "high"], place + "clipped"),
        ("MatMul", [place + "clipped", place + "weight"], place + "sum"),
        ("Mul", [old, place + "slope"], place + "scaled"),
        ("Add", [place + "scaled", place + "intercept"], place + "moved"),
        ("Add", [place + "moved", place + "sum"], new),
    ]
    nodes = [_node(*step, name=f"{place}{number}") for number, step in enumerate(steps)]
    return [(NODE, BYTES, node) for node in nodes] + [(INITIALIZER, BYTES, tensor) for tensor in tensors]


def _node(kind: str, inputs: list[str], output: str, name: str) -> bytes:
    texts = [*((NODE_INPUT, value) for value in inputs), (NODE_OUTPUT, output), (NODE_NAME, name), (NODE_KIND, kind)]
    return _message([(number, BYTES, text.encode()) for number, text in texts])


def _tensor(name: str, values: NDArray[np.float32] | np.float32) -> bytes:
    shape = [(TENSOR_DIMS, VARINT, _varint(side)) for side in np.shape(values)]
    data = np.asarray(values).astype("<f4").tobytes()
    kind = (TENSOR_KIND, VARINT, _varint(FLOAT))
    return _message([*shape, kind, (TENSOR_NAME, BYTES, name.encode()), (TENSOR_DATA, BYTES, data)])


def _renamed(node: bytes, old: str, new: str) -> bytes:
    """A node that makes or takes the value `new` where it did `old`."""
    wanted = (NODE_INPUT, NODE_OUTPUT)
    fields = list(_fields(node))
    if not any(number in wanted and value == old.encode() for number, _, value in fields):
        return node
    return _message(
        [(n, kind, new.encode() if n in wanted and value == old.encode() else value) for n, kind, value in fields]
    )


def _texts(message: bytes, wanted: int) -> list[str]:
    return [value.decode() for number, _, value in _fields(message) if number == wanted]


def _text(message: bytes, wanted: int) -> str:
    return _texts(message, wanted)[0]


def _fields(message: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Field number, wire type and content of each field; an IndexError where the message is cut or none."""
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        kind, start = key & 7, at
        if kind == VARINT:
            _, at = _read_varint(message, at)
        elif kind == BYTES:
            size, start = _read_varint(message, at)
            at = start + size
        elif kind in FIXED:
            at += FIXED[kind]
        else:
            raise IndexError(f"wire type {kind}")
        if at > len(message):
            raise IndexError("a field is longer than its message")
        yield key >> 3, kind, message[start:at]


def _message(fields: list[tuple[int, int, bytes]]) -> bytes:
    parts = []
    for number, kind, value in fields:
        parts += [_varint(number << 3 | kind), _varint(len(value)) if kind == BYTES else b"", value]
    return b"".join(parts)


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    """A number, and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return value, at


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
