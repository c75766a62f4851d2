"""A model as a folder for other programs: the file, its card, and the rule from a picture to its score."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from string import Template
from typing import Any

from noref.card import Card, Preprocessing, card_path, is_card, read_card
from noref.errors import OptionError
from noref.images import LEAST_SIDE, MAX_ASPECT
from noref.scoring.network import MODELS, locate
from noref.writing import check_output, write_text

MODEL, README, BROWSER = "model.onnx", "README.md", "score.mjs"
TEMPLATES = Path(__file__).parent / "browser"
MARKS = {README: b"<!-- noref export -->", BROWSER: b"// Written by `noref export`."}  # how the files begin
SUPPORT = {"bicubic": 2, "lanczos": 3}  # how far a filter reaches, in pixels
KERNELS = {
    "bicubic": """\
f(x) = 1.5 x^3 - 2.5 x^2 + 1             for x < 1
       -0.5 x^3 + 2.5 x^2 - 4 x + 2      for 1 <= x < 2, else 0""",
    "lanczos": "f(x) = sinc(x) sinc(x / 3)  for x < 3, else 0, with sinc(x) = sin(pi x) / (pi x), sinc(0) = 1",
}
INDENT = "\n   "  # of the code in the README's list


def is_exported(model: str) -> bool:
    """Whether it is the name of a model or an ONNX file, and no run that has to be exported first."""
    return model in MODELS or model.endswith(".onnx")


@contextmanager
def exporting(out: str, *, overwrite: bool = False) -> Iterator[Path]:
    """Where the block writes the model: `out` itself, an .onnx file, or the file in the folder `out`.

    The folder is made, and completed after the block; if the block fails, an empty one is taken away again.

    Raises:
        OptionError: `out` looks like another kind of file, is in no folder, or has files that must not be replaced.
    """
    path = Path(out)
    if path.suffix == ".onnx":
        yield path
        return
    if path.suffix[1:].isalpha() and not path.is_dir():
        raise OptionError(f"{out}: an exported model's name ends in .onnx; a folder's has no {path.suffix}")
    for name, mark in MARKS.items():
        check_output(path / name, ours=partial(_begins, mark), overwrite=overwrite)
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise OptionError(f"{out}: cannot be made: {error.strerror}") from error
    try:
        yield path / MODEL
    except BaseException:
        with suppress(OSError):  # there are files in it
            path.rmdir()
        raise
    _describe(path / MODEL)


def _begins(mark: bytes, head: bytes) -> bool:
    return head.startswith(mark)


def copy_model(model: str, out: Path, *, overwrite: bool = False) -> Card:
    """Copy an ONNX file, given by path or name, with its card.

    Raises:
        OptionError: no such model, an `out` that is no .onnx file in a folder, or files that must not be replaced.
        ModelError: the model's file or card is broken.
    """
    path = locate(model)
    card = read_card(path)
    if out.suffix != ".onnx" or not out.parent.is_dir():
        raise OptionError(f"{out}: not an .onnx file in a folder that exists")
    check_model(out, path, overwrite=overwrite)
    shutil.copyfile(path, out)
    return card.write(out)


def check_model(out: Path, model: Path, *, overwrite: bool) -> None:
    """An `OptionError` where `out` or its card must not be written; an ONNX file is known by the card beside it."""
    inputs, card = [model, card_path(model)], card_path(out)
    check_output(card, inputs=inputs, ours=is_card, overwrite=True)
    check_output(out, inputs=inputs, ours=lambda _: card.exists(), overwrite=overwrite)


def _describe(model: Path) -> None:
    """Put the rule into a model's card, and beside it in words and for browsers."""
    card = read_card(model)
    card = dataclasses.replace(card, input_rule=input_rule(card.preprocessing)).write(model)
    write_text(model.with_name(README), _readme(card))
    write_text(model.with_name(BROWSER), (TEMPLATES / BROWSER).read_text(encoding="utf-8"))


def input_rule(preprocessing: Preprocessing) -> dict[str, Any]:
    """From a picture to the network's input and from its output to the score, for programs; README.md has the words."""
    sizes = {"max_pixels": preprocessing.max_pixels, "min_side": preprocessing.min_side, "crop": preprocessing.crop}
    return {
        "pixels": {"channels": "RGB", "bits": 8, "space": "sRGB", "orientation": "as EXIF says", "alpha": "on white"},
        "size": {**sizes, "least_side": LEAST_SIDE, "max_aspect": MAX_ASPECT, "rounding": "half to even"},
        "resize": {
            "filter": preprocessing.resample,
            "support": SUPPORT[preprocessing.resample],
            **({"a": -0.5} if preprocessing.resample == "bicubic" else {}),
            "antialias": True,
            "passes": ["horizontal", "vertical"],
            "rounding": "half up, after each pass",
        },
        "tensor": {"name": "image", "type": "uint8", "shape": ["N", "height", "width", 3], "levels": [0, 255]},
        "score": "100 * min(1, max(0, quality))",
    }


def _readme(card: Card) -> str:
    sizing = card.preprocessing
    words = {
        "name": card.name,
        "sha256": card.sha256,
        "max_aspect": MAX_ASPECT,
        "size_rule": INDENT.join(_size_rule(sizing)),
        "filter": sizing.resample,
        "support": SUPPORT[sizing.resample],
        "kernel": KERNELS[sizing.resample].replace("\n", INDENT),
        "crops": _crop_rule(sizing.crop) if sizing.crop else "",
    }
    return Template((TEMPLATES / README).read_text(encoding="utf-8")).substitute(words)


def _size_rule(sizing: Preprocessing) -> list[str]:
    """`noref.images.target_size` with this preprocessing, in lines."""
    least = f"max({sizing.min_side}, {sizing.crop}) / short" if sizing.crop else f"{sizing.min_side} / short"
    if sizing.max_pixels is None:
        return [f"scale = max(1, {least})"]
    within = least if sizing.crop else f"min({least}, max(fit, {LEAST_SIDE} / short))"
    return [
        f"fit   = sqrt({sizing.max_pixels} / (width * height))",
        "scale = min(1, fit)",
        f"if {least} > scale:",
        f"    scale = {within}",
    ]


def _crop_rule(side: int) -> str:
    return (
        f" It takes squares of {side} x {side}: cut the fewest that cover the picture, evenly spaced, and take the "
        f"mean of their qualities. Along a side of `n` pixels with `g = ceil(n / {side}) - 1` gaps they start at "
        f"`round(i * (n - {side}) / g)` for i = 0 ... g; where g is 0, at `floor((n - {side}) / 2)`."
    )
