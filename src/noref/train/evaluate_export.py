"""What one does with a trained model: behind `noref evaluate` and `noref export`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from lightning_fabric import Fabric
from numpy.typing import NDArray

from noref.card import Card
from noref.data.loading import Protocol
from noref.data.perceptual_hash import learnt_images
from noref.data.records import Record
from noref.data.splits import load_split
from noref.errors import DataError, OptionError
from noref.evaluate.metrics import metrics
from noref.models import arniqa_regressor
from noref.models import network as networks
from noref.models.arniqa_regressor import ARNIQA
from noref.models.network import FromBytes, QualityNet
from noref.scoring.export import export_onnx
from noref.scoring.export_folder import check_model, copy_model
from noref.scoring.scorer import Scorer
from noref.train.evaluator import Evaluator
from noref.train.run_folder import MODEL, DataSet, Run, is_predictions, read_data
from noref.writing import check_output

EXPORTED = "model.onnx"


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found."""

    model: str
    data: str
    part: str  # which of its images, in words
    metrics: dict[str, float]  # as `noref.evaluate.metrics.metrics` gives them
    caution: str | None = None  # what makes the metrics too good, where that is known
    taken: Sequence[str] = ()  # what was taken for granted in reading the data, one sentence each


def evaluate(
    model: str,
    *,
    data: str,
    table: Mapping[str, Any] | None = None,
    split: str | None = None,
    output: str | None = None,
    overwrite: bool = False,
    protocol: Protocol = "grid",
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

    Raises:
        OptionError: a model or data set that does not exist, a call that makes no sense, or an `output` that must not
            be replaced.
        ModelError, DataError, ImageError: a broken model, data set, split or image; says why.
    """
    found = read_data(data, table=table)
    if output is not None:
        inputs = [Path(found.path), *(record.path for record in found.records)]
        _check_predictions(Path(output), [*inputs, Path(split)] if split else inputs, overwrite)
    score, card, folder = _scorer_of(model, protocol)
    records, part = _part(list(found.records), split, folder)
    quality = score(records)
    caution = _caution(card, found, records, folder)
    result = Evaluation(card.name, found.name, part, metrics(quality, records), caution, found.cautions)
    if output is not None:
        path = Path(output)
        Run(path.parent).write_predictions(records, quality.tolist(), among=found.records, name=path.name)
    return result


def _check_predictions(output: Path, inputs: Sequence[Path], overwrite: bool) -> None:
    if not output.parent.is_dir():
        raise OptionError(f"{output}: there is no folder {output.parent}")
    check_output(output, inputs=inputs, ours=is_predictions, overwrite=overwrite)


def _scorer_of(
    model: str, protocol: Protocol
) -> tuple[Callable[[Sequence[Record]], NDArray[np.float64]], Card, Path | None]:
    """What scores records, the model's card, and its run's folder if it has one."""
    path = _model_file(model)
    if path.suffix != ".safetensors":
        scorer = Scorer(path if path.exists() else model)
        return partial(_with_scorer, scorer), scorer.card, path.parent if path.exists() else None
    if not path.exists():
        raise OptionError(f"{model}: no trained model: there is no {path}")
    network, card = load(path)
    fabric = Fabric(accelerator="auto", devices=1)
    network.to(fabric.device)

    def score(records: Sequence[Record]) -> NDArray[np.float64]:
        return Evaluator(records, preprocessing=card.preprocessing, protocol=protocol, fabric=fabric).scores(network)

    return score, card, path.parent


def load(path: Path) -> tuple[QualityNet | ARNIQA, Card]:
    """The network of a `.safetensors` file, whatever recipe it comes from, and its card; errors as `networks.load`."""
    return arniqa_regressor.load(path) if arniqa_regressor.is_arniqa(path) else networks.load(path)


def _model_file(model: str) -> Path:
    """A run's result, which is ONNX where a recipe trains whole pictures, or the file that was named."""
    folder = Path(model)
    if not folder.is_dir():
        return folder
    return folder / MODEL if (folder / MODEL).exists() or not (folder / EXPORTED).exists() else folder / EXPORTED


def _with_scorer(scorer: Scorer, records: Sequence[Record]) -> NDArray[np.float64]:
    return np.array([score.quality for score in scorer.score_many([record.path for record in records])])


def _caution(card: Card, data: DataSet, tested: Sequence[Record], folder: Path | None) -> str | None:
    """What is against these metrics: the model learnt from images that it is tested on.

    Found by their content; by the data set's name where the model's card has no hashes of its training images.
    """
    count = learnt_images(card, tested)
    if count is not None:
        words = f"learnt from {count} of these {len(tested)} images, or from copies of them"
        return f"{card.name} {words}: no test of it" if count else None
    learnt = {str(run.get("data set")) for run in (card.training, card.training.get("run") or {})}
    if data.name not in learnt:
        return None
    try:
        own = load_split((folder or Path()) / "split.json", data.records)
    except DataError:
        seen = data.name != "csv"  # a table of the same kind is not the same table
    else:
        unseen = {data.records[index].path for index in own.test}
        seen = any(record.path not in unseen for record in tested)
    return f"{card.name} learnt from {data.name} and may have seen these images: no test of it" if seen else None


def _part(records: list[Record], split: str | None, folder: Path | None) -> tuple[list[Record], str]:
    """The records to score, and which those are in words."""
    if split is None and folder is not None and (folder / "split.json").exists():
        try:
            own = load_split(folder / "split.json", records)
        except DataError:  # another data set: nothing of it was seen in training
            return records, "all images"
        return [records[index] for index in own.test], f"the run's own test part: {own.description}, seed {own.seed}"
    if split in (None, "all"):
        return records, "all images"
    chosen = load_split(Path(str(split)), records)
    return [records[index] for index in chosen.test], f"test part of {Path(str(split)).name}: {chosen.description}"


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
    return export_onnx(
        FromBytes(network), Path(out), card, example=_example(side), dynamic_size=not card.preprocessing.crop
    )


def _example(side: int) -> NDArray[np.uint8]:
    """(2, side, side, 3): a smooth picture and a noisy one; they need not be good, only different."""
    ramp = np.add.outer(np.arange(side), 2 * np.arange(side))[:, :, None] * np.array([1, 2, 3]) * 255 / (9 * side)
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3))
    return np.stack([ramp.clip(0, 255), noise]).astype(np.uint8)
