"""A model worked out by hand (quality = mean grey level / 255), and what a training run of a second needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from PIL import Image, ImageFilter

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


SMALL = {
    "backbone": "test_resnet",
    "weights": "none",
    "width": 24,
    "heads": 3,
    "crop": 64,
    "crops": 2,
    "batch": 8,
    "epochs": 3,
    "warmup_epochs": 1,
    "lr": 1e-3,
    "validation": 0.2,
    "accelerator": "cpu",
}


@pytest.fixture(scope="session")
def rated(tmp_path_factory):
    """A CSV of 24 images of colour noise, the more blurred the worse."""
    folder = tmp_path_factory.mktemp("rated")
    rng = np.random.default_rng(0)
    rows = ["path,score"]
    for number in range(24):
        noise = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(
            (96, 72), Image.Resampling.BICUBIC
        )
        blur = number % 6
        noise.filter(ImageFilter.GaussianBlur(blur)).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{90 - 14 * blur + rng.integers(5)}")
    (folder / "scores.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "scores.csv"


@pytest.fixture(scope="session")
def small():
    """Options of a run that takes a second, as a command line gives them."""
    return {name: (str(value), f"--{name}: ") for name, value in SMALL.items()}


@pytest.fixture(scope="module")
def fabric():
    """One process on the CPU, launched."""
    from lightning_fabric import Fabric  # only training needs it

    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    return fabric
