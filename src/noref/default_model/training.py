"""The model inside the package: all stages of a MobileNetV2, tuned on human scores and on degraded photographs.

1. The frozen stages run once over every image and its mirror image (`chilled.py`).
2. Ridge regression of quality on the statistics of all stages gives the linear layer its start. Tuning from a
   head that already works keeps what ImageNet taught (Kumar et al. 2022, https://arxiv.org/abs/2202.10054).
3. AdamW, one cosine, later stages faster than early ones (`tuning.py`); each step sees windows of rated images (score
   loss, and CSIQA's quality context between them) and versions of one photograph (`lessons.py`: ranking loss, and
   rating loss through a head of their own, for their ratings are on another scale). The weights are averaged over
   steps.
4. Ridge regression on the tuned features gives the linear layer its last values, from the human scores, with a
   penalty on ladder steps that do not lower the score; behind it a logistic curve, fitted on the training part to
   what the ridge says of images that it was not fitted to (the stages were, so the curve is somewhat too steep).

The last epoch is the result: nothing is picked by the test part.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from lightning_fabric import Fabric

from noref import images
from noref.card import Card, Preprocessing, digest
from noref.data.readers import photos as read_photos
from noref.data.records import Record
from noref.data.splits import Split
from noref.default_model.cached_features import (
    Chilled,
    chill,
    drops_of,
    exact_features,
    held_out_predictions,
    kept,
    key,
)
from noref.default_model.distorted_views import LADDERS, PRISTINE, TYPES, kept_apart, make_lesson, mean_ratings
from noref.default_model.tuning import build, predict, tune
from noref.errors import OptionError
from noref.evaluate.correlation import fit_logistic4, srcc
from noref.models.stages import StageRegressor
from noref.models.weights import origin
from noref.scoring.export import export_onnx
from noref.train.evaluator import finish_exported
from noref.train.run_folder import DataSet, Run, choose_split


@dataclass(frozen=True)
class Config:
    """Everything that decides a run.

    Args:
        weights: safetensors of timm's mobilenetv2_100 with TensorFlow padding, from ImageNet.
        photos: folder of photographs without scores for the lessons; none: no lessons.
        ratings: KADID-10k's score table, for the lessons.
        cache: folder that keeps what the frozen stages made, for the next run; none: the run's own.
        split: "random", "official", or a split file.
        test: share of the images that tests; 0: all images train, and the model has no figures of its own.
        validation: share that is scored after each epoch, taken from the training part; it picks nothing.
        frozen: stages that are not trained, of nine.
        epochs: passes over the training part.
        batch: rated images in a step.
        rate: AdamW's peak learning rate of the last stage.
        stage_decay: factor on it from each stage to the one before.
        head_rate: learning rate of the linear layer; 7 000 features move together, so a small one.
        weight_decay: of the stages.
        alpha: ridge penalty of the starting head; strong, so that something is left to learn.
        window: side of the random window as a share of the image's.
        agreement: weight of 1 - PLCC within the batch.
        contrast: an extra loss between the images of a batch: CSIQA's quality context, easy pairs.
        contrast_weight: of the contrast.
        temperature: of the contrast; smaller is sharper.
        lessons: weight of the rating loss on degraded versions.
        ranking: weight of the ranking loss on ladders.
        versions: of a photograph in a step.
        singles: single distortions made of each photograph.
        side: of the photographs' crops in px.
        margin: by which quality must fall from one ladder step to the next.
        averaging: decay of the averaged weights, a step.
        refit: ridge penalty of the head that is fitted once more at the end, on the tuned stages' features.
        drop: a ladder step that lowers quality by less is penalised in that fit; 0: not asked.
        seed: of split, windows, order and lessons.
        accelerator: cpu; the frozen maps and bfloat16 make this a recipe for it.
        devices: 1.
        precision: of what is not said otherwise; the stages run in bfloat16.
    """

    weights: str = "mobilenetv2_100_imagenet.safetensors"
    photos: str | None = None
    ratings: str | None = None
    cache: str | None = None
    split: str = "random"
    test: float = 0.2
    validation: float = 0.0
    frozen: int = 4
    epochs: int = 12
    batch: int = 16
    rate: float = 3e-4
    stage_decay: float = 0.7
    head_rate: float = 3e-6
    weight_decay: float = 0.05
    alpha: float = 30_000.0
    window: float = 0.8
    agreement: float = 0.05
    contrast: Literal["none", "quality-context"] = "quality-context"
    contrast_weight: float = 0.1
    temperature: float = 0.3
    lessons: float = 0.3
    ranking: float = 0.5
    versions: int = 9
    singles: int = 9
    side: int = 352
    margin: float = 0.04
    averaging: float = 0.995
    refit: float = 30_000.0
    drop: float = 0.02
    seed: int = 0
    accelerator: str = "cpu"
    devices: str = "1"
    precision: str = "32-true"


PREPROCESSING = Preprocessing(max_pixels=250_000, min_side=384, crop=None, resample="bicubic")


def chill_records(model: StageRegressor, config: Config, records: Sequence[Record], cache: Path) -> list[Chilled]:
    """Each rated image and its mirror image, after the frozen stages; kept in the folder `cache`."""

    def make() -> Iterator[Chilled]:
        for record in records:
            image = images.read(record.path, preprocessing=PREPROCESSING)
            yield chill(model, np.stack([image, image[:, ::-1]]), [record.quality] * 2)

    facts = [(record.path.name, record.path.stat().st_size, record.quality) for record in records]
    name = key(digest(Path(config.weights)), config.frozen, dataclasses.asdict(PREPROCESSING), facts)
    return kept(cache / f"rated-{name}.safetensors", len(records), make(), "frozen stages, rated images")


def chill_lessons(model: StageRegressor, config: Config, cache: Path) -> list[Chilled]:
    """One lesson of each photograph, after the frozen stages; kept in the folder `cache`.

    Raises:
        DataError: no photograph in the folder, or a rating table that lacks something.
    """
    if config.photos is None or config.ratings is None:
        return []
    ratings = mean_ratings(Path(config.ratings))
    photos = [path for path in read_photos(Path(config.photos)) if not kept_apart(path.name)]

    def make() -> Iterator[Chilled]:
        for i, path in enumerate(photos):
            rule = dataclasses.replace(PREPROCESSING, crop=config.side)  # enlarged to hold one crop
            rng = np.random.default_rng([11, i])
            photo = images.read(path, preprocessing=rule)
            lesson = make_lesson(photo, ratings, rng, size=config.side, singles=config.singles)
            yield chill(model, lesson.images, lesson.quality.tolist())

    drawn = (config.side, config.singles, PRISTINE, TYPES, LADDERS, dataclasses.asdict(PREPROCESSING))
    facts = [(path.name, path.stat().st_size) for path in photos]
    name = key(digest(Path(config.weights)), config.frozen, drawn, sorted(ratings.items()), facts)
    return kept(cache / f"lessons-{name}.safetensors", len(photos), make(), "frozen stages, lessons")


def train(config: Config, data: DataSet, run: Run, fabric: Fabric) -> dict[str, Any]:
    """Tune, refit the head, judge the test part, export; everything is kept in the run's folder.

    Args:
        config: every option.
        data: the rated images.
        run: begun already; a resumed one goes on from its checkpoint.
        fabric: launched already, one process on the CPU.

    Returns:
        The exported model's figures on the test part, and on the validation part as `validation_...`; nothing for
        a part that is empty.

    Raises:
        OptionError: options that do not go together.
        DataError: too few images, no photographs, or a rating that is missing.
        ImageError: an image cannot be read; names the file.
        ModelError: weights or a checkpoint that cannot be used.
    """
    if (config.accelerator, config.devices) != ("cpu", "1"):
        raise OptionError("the recipe `embedded` runs on one CPU process: accelerator cpu, devices 1")
    if config.temperature <= 0 or config.contrast_weight < 0:
        raise OptionError("temperature must be > 0, contrast_weight >= 0")
    if config.contrast != "none" and config.batch < 3:
        raise OptionError(
            f"contrast: needs three images in a batch, one to compare with two others, got {config.batch}"
        )
    if config.photos is not None and config.ratings is None:
        raise OptionError("photos need ratings: KADID-10k's score table")
    if not config.test and (config.validation or config.split != "random"):
        raise OptionError("test 0 means that all images train: no validation part and no split file go with it")
    everything = tuple(range(len(data.records)))
    split = choose_split(config, data.records, run) if config.test else Split(everything, (), (), None, "all images")
    cache = Path(config.cache) if config.cache else run.file("cache")
    untuned = build(config)
    rated = chill_records(untuned, config, data.records, cache)
    lessons = chill_lessons(untuned, config, cache)
    learning, held_out = [rated[i] for i in split.train], [rated[i] for i in split.validation]

    def watch(model: StageRegressor) -> Mapping[str, float]:
        return {"validation_srcc": srcc(predict(model, held_out), [float(item.quality[0]) for item in held_out])}

    with run.curves(0) as report:
        model = tune(config, learning, lessons, fabric, run=run, watch=watch if held_out else None, report=report)
    model.round_weights()
    drops = drops_of(model, lessons) if config.drop else None
    labelled = exact_features(model, [data.records[i] for i in split.train], PREPROCESSING)
    model.head.fit(*labelled, alpha=config.refit, drops=drops, margin=config.drop)
    curve = fit_logistic4(*held_out_predictions(*labelled, alpha=config.refit))
    if curve.top > curve.bottom:  # else the features say nothing of quality, and nothing is to be gained
        model.head.bend(bottom=curve.bottom, top=curve.top, centre=curve.centre, width=curve.width)
    example = images.read(data.records[0].path, preprocessing=PREPROCESSING)[None]
    out, card = run.file("model.onnx"), describe(config, data, split)
    export_onnx(model, out, card, example=example, dynamic_size=True)
    return finish_exported(out, card, data, split, run)


def describe(config: Config, data: DataSet, split: Split) -> Card:
    """The model's card, before its results are known: what it started from and what it learnt from."""
    options = dataclasses.asdict(config)
    paths = {name: Path(options[name]).name for name in ("weights", "photos", "ratings", "cache") if options[name]}
    training = {
        "recipe": "embedded",
        "initialised from": origin(config.weights, "mobilenetv2_100"),
        "data set": data.name,
        "images": len(split.train),
        "split": split.description,
        "options": options | paths,
    }
    method = "MobileNetV2, statistics of all stages at two scales, ridge, logistic curve"
    return Card("embedded", method, data.records[0].scale, PREPROCESSING, training=training)
