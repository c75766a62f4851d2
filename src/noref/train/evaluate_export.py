"""What one does with a trained model: behind `noref evaluate` and `noref export`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning_fabric import Fabric
from numpy.typing import NDArray

from noref.agreement import Evaluation, compare, evaluate_exported
from noref.card import Card
from noref.data.loading import Protocol
from noref.data.records import Record
from noref.errors import OptionError
from noref.models import arniqa_regressor
from noref.models import network as networks
from noref.models.arniqa_regressor import ARNIQA
from noref.models.network import FromBytes, QualityNet
from noref.scoring.export import export_onnx
from noref.scoring.export_folder import check_model, copy_model
from noref.scoring.progress import progress
from noref.train.evaluator import Evaluator
from noref.train.run_folder import MODEL, read_data

EXPORTED = "model.onnx"


def evaluate(
    model: str,
    *,
    data: str,
    table: Mapping[str, Any] | None = None,
    split: str | None = None,
    output: str | None = None,
    overwrite: bool = False,
    protocol: Protocol = "grid",
    intervals: bool = False,
) -> Evaluation:
    """How well a model's scores follow a data set's human scores.

    Args:
        model: a run's folder, its `model.safetensors`, an `.onnx` file, or the name of an embedded model.
        data: `NAME=PATH`.
        table: what is said of a csv, as `noref.data.own_csv.options` gives it.
        split: a split file: its test part is evaluated; "all": every image. None: the run's own test part where the
            model is a run and these are the images that it was trained on, otherwise every image.
        output: a CSV for the predictions.
        overwrite: predictions of noref at `output` are replaced.
        protocol: crops for a network whose input is a crop; an ONNX file always uses the grid.
        intervals: whether to give 95 % bootstrap intervals of SRCC, PLCC and RMSE.

    Raises:
        OptionError: a model or data set that does not exist, a call that makes no sense, or an `output` that must not
            be replaced.
        ModelError, DataError, ImageError: a broken model, data set, split or image; says why.
    """
    path = _model_file(model)
    call: dict[str, Any] = {"split": split, "output": output, "overwrite": overwrite, "intervals": intervals}
    if path.suffix != ".safetensors":
        return evaluate_exported(str(path), data=data, table=table, **call)
    found = read_data(data, table=table)
    if not path.exists():
        raise OptionError(f"{model}: no trained model: there is no {path}")
    network, card = load(path)
    fabric = Fabric(accelerator="auto", devices=1)
    network.to(fabric.device)

    def score(records: Sequence[Record]) -> NDArray[np.float64]:
        return Evaluator(records, preprocessing=card.preprocessing, protocol=protocol, fabric=fabric).scores(network)

    return compare(score, card, path.parent, data=found, **call)


def load(path: Path) -> tuple[QualityNet | ARNIQA, Card]:
    """The network of a `.safetensors` file, whatever recipe it comes from, and its card; errors as `networks.load`."""
    return arniqa_regressor.load(path) if arniqa_regressor.is_arniqa(path) else networks.load(path)


def _model_file(model: str) -> Path:
    """A run's result, which is ONNX where a recipe trains whole pictures, or the file that was named."""
    folder = Path(model)
    if not folder.is_dir():
        return folder
    return folder / MODEL if (folder / MODEL).exists() or not (folder / EXPORTED).exists() else folder / EXPORTED


def export(model: str, *, out: str, overwrite: bool = False) -> Card:
    """Write a trained model as an ONNX file that `noref score --model` uses, with its card beside it.

    Args:
        model: a run's folder, or its `model.safetensors`.
        out: the file to write, `*.onnx`.
        overwrite: a model with its card at `out` is replaced.

    Raises:
        OptionError: no such model, or an `out` that is no .onnx file in a folder, or must not be replaced.
        ModelError: the model cannot be trusted, or its ONNX file would score otherwise than it does.
    """
    path = _model_file(model)
    if not path.exists():
        raise OptionError(f"{model}: no trained model: there is no {path}")
    if path.suffix == ".onnx":
        return copy_model(str(path), Path(out), overwrite=overwrite)
    check_model(Path(out), path, overwrite=overwrite)
    network, card = load(path)
    side = card.preprocessing.crop or max(card.preprocessing.min_side, 64)  # a free size: none that is special
    with progress(1, sys.stderr, title="export", unit="models"):
        return export_onnx(
            FromBytes(network), Path(out), card, example=_example(side), dynamic_size=not card.preprocessing.crop
        )


def _example(side: int) -> NDArray[np.uint8]:
    """(2, side, side, 3): a smooth picture and a noisy one; they need not be good, only different."""
    ramp = np.add.outer(np.arange(side), 2 * np.arange(side))[:, :, None] * np.array([1, 2, 3]) * 255 / (9 * side)
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3))
    return np.stack([ramp.clip(0, 255), noise]).astype(np.uint8)
