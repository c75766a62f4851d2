"""How well a model's scores follow the human scores of a data set; for an exported model without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noref.card import Card
from noref.data.named import DataSet, read_data
from noref.data.perceptual_hash import learnt_images
from noref.data.predictions import as_csv, is_predictions, prediction_rows
from noref.data.records import Record
from noref.data.splits import load_split
from noref.errors import DataError, MissingExtraError, OptionError
from noref.scoring.progress import tracked
from noref.scoring.scorer import Scorer
from noref.writing import check_output, write_text

Qualities = NDArray[np.float64]


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found."""

    model: str
    data: str
    part: str  # which of its images, in words
    metrics: dict[str, float]  # as `noref.evaluate.metrics.metrics` gives them
    caution: str | None = None  # what makes the metrics too good, where that is known
    taken: Sequence[str] = ()  # what was taken for granted in reading the data, one sentence each
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)  # 95 %, of srcc, plcc and rmse


def is_exported(model: str) -> bool:
    """Whether a model is an ONNX file or the name of one, and no run's folder and no safetensors file."""
    return not Path(model).is_dir() and Path(model).suffix != ".safetensors"


def evaluate_exported(
    model: str,
    *,
    data: str,
    table: Mapping[str, Any] | None = None,
    split: str | None = None,
    output: str | None = None,
    overwrite: bool = False,
    intervals: bool = False,
) -> Evaluation:
    """How well an exported model's scores follow a data set's human scores; needs scipy, but no torch.

    Args:
        model: an `.onnx` file, or the name of a model in the package.
        data, table, split, output, overwrite, intervals: as of `noref.train.evaluate_export.evaluate`.

    Raises:
        OptionError: a model or data set that does not exist, a call that makes no sense, or an `output` that must not
            be replaced.
        ModelError, DataError, ImageError: a broken model, data set, split or image; says why.
        MissingExtraError: scipy is not installed.
    """
    if not find_spec("scipy"):
        raise MissingExtraError("evaluate", "noref evaluate")
    found = read_data(data, table=table)
    scorer = Scorer(Path(model) if Path(model).exists() else model)

    def score(records: Sequence[Record]) -> Qualities:
        paths = tracked([record.path for record in records], "scoring")
        return np.array([score.quality for score in scorer.score_many(paths)])

    folder = Path(model).parent if Path(model).exists() else None
    call: dict[str, Any] = {"split": split, "output": output, "overwrite": overwrite, "intervals": intervals}
    return compare(score, scorer.card, folder, data=found, **call)


def compare(
    score: Callable[[Sequence[Record]], Qualities],
    card: Card,
    folder: Path | None,
    *,
    data: DataSet,
    split: str | None,
    output: str | None,
    overwrite: bool,
    intervals: bool,
) -> Evaluation:
    """Score the images of a part and compare.

    Args:
        score: (M,) qualities of records.
        card: of the model that does so.
        folder: of its run, if it has one.
        data: what is scored.
        split: a split file, "all", or None: the run's own test part, otherwise every image.
        output: a CSV for the predictions.
        overwrite: predictions of noref at `output` are replaced.
        intervals: whether to give bootstrap intervals; a second or two for thousands of images.
    """
    from noref.evaluate.metrics import metrics

    if output is not None:
        inputs = [Path(data.path), *(record.path for record in data.records)]
        _check_predictions(Path(output), [*inputs, Path(split)] if split else inputs, overwrite)
    records, part = _part(list(data.records), split, folder)
    quality = score(records)
    if output is not None:
        write_text(Path(output), as_csv(prediction_rows(records, quality.tolist(), among=data.records)))
    found = _intervals(quality, records) if intervals else {}
    caution = _caution(card, data, records, folder)
    return Evaluation(card.name, data.name, part, metrics(quality, records), caution, data.cautions, found)


def _check_predictions(output: Path, inputs: Sequence[Path], overwrite: bool) -> None:
    if not output.parent.is_dir():
        raise OptionError(f"{output}: there is no folder {output.parent}")
    check_output(output, inputs=inputs, ours=is_predictions, overwrite=overwrite)


def _intervals(quality: Qualities, records: Sequence[Record]) -> dict[str, tuple[float, float]]:
    """Bootstrap over images, or over references where images have one."""
    from noref.evaluate.correlation import plcc, rmse, srcc
    from noref.evaluate.uncertainty import Part, mean_interval

    units = [record.reference or str(record.path) for record in records]
    raw = [record.scale.raw(float(value)) for record, value in zip(records, quality, strict=True)]
    part = Part(units, raw, [record.raw_score for record in records])
    same = Part(units, quality, [record.quality for record in records])
    return {
        "srcc": mean_interval([same], srcc),
        "plcc": mean_interval([same], plcc),
        "rmse": mean_interval([part], rmse),
    }


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
