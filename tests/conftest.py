"""A model worked out by hand: quality = the image's mean grey level / 255."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import onnx.parser
import pytest

from noref.card import Card, Preprocessing, Scale

BRIGHTNESS = """
<ir_version: 8, opset_import: ["" : 17]>
brightness (uint8[n, {height}, {width}, 3] image) => (float[n] quality)
{{
    level = Cast<to = 1>(image)
    mean = ReduceMean<axes = [1, 2, 3], keepdims = 0>(level)
    top = Constant<value_float = 255.0>()
    quality = Div(mean, top)
}}
"""


def write_model(path: Path, text: str, preprocessing: Preprocessing | None = None) -> Path:
    """An ONNX file from its text form, with a card beside it."""
    onnx.save(onnx.parser.parse_model(text), path)
    Card(path.stem, "mean grey level", Scale(1.0, 5.0), preprocessing or Preprocessing()).write(path)
    return path


@pytest.fixture(scope="session")
def brightness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of any size whose score is 100 * mean / 255."""
    path = tmp_path_factory.mktemp("models") / "brightness.onnx"
    return write_model(path, BRIGHTNESS.format(height="h", width="w"))


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., Path]:
    """Write another model: `make_model(text, preprocessing)`; the text form is that of the ONNX parser."""

    def make(text: str, preprocessing: Preprocessing | None = None, name: str = "other") -> Path:
        return write_model(tmp_path / f"{name}.onnx", text, preprocessing)

    return make
