"""A model file as the `onnx` package sees it (extra `train`)."""

from __future__ import annotations

from pathlib import Path

import onnx

from noref.errors import ModelError


def parse(content: bytes, path: Path) -> onnx.ModelProto:
    """The graph in a file's bytes.

    Raises:
        ModelError: they are no ONNX file; names `path`.
    """
    try:
        return onnx.load_from_string(content)
    except Exception as error:  # protobuf's own classes
        raise ModelError(f"{path}: not an ONNX model: {error}") from error
