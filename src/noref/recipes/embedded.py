"""The model inside the package: all stages of a MobileNetV2, tuned on human scores and on degraded photographs.

1. The frozen stages run once over every image and its mirror image (`chilled.py`).
2. Ridge regression of quality on the statistics of all stages gives the linear layer its start. Tuning from a
   head that already works keeps what ImageNet taught (Kumar et al. 2022, https://arxiv.org/abs/2202.10054).
3. AdamW, one cosine, later stages faster than early ones; each step sees windows of rated images (score loss)
   and versions of one photograph (`lessons.py`: ranking loss, and rating loss through a head of their own, for
   their ratings are on another scale). The weights are averaged over steps.
4. Ridge regression on the tuned features gives the linear layer its last values, from the human scores, with a
   penalty on ladder steps that do not lower the score; behind it a logistic curve, fitted on the training part to
   what the ridge says of images that it was not fitted to (the stages were, so the curve is somewhat too steep).

The last epoch is the result: nothing is picked by the test part.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn

from noref import images
from noref.card import Card, Preprocessing, digest
from noref.data.readers import photos as read_photos
from noref.data.records import Record
from noref.data.splits import Split
from noref.errors import DataError, OptionError
from noref.evaluate.correlation import fit_logistic4, srcc
from noref.models.stages import RidgeHead, StageRegressor, mobilenet_stages
from noref.models.weights import origin, read
from noref.objectives.rated import lesson_losses, score_loss
from noref.recipes.chilled import (
    Chilled,
    chill,
    drops_of,
    exact_features,
    features_of,
    held_out_predictions,
    kept,
    key,
    rated_batch,
)
from noref.recipes.judge import finish_exported
from noref.recipes.lessons import LADDERS, PRISTINE, STEPS, TYPES, kept_apart, make_lesson, mean_ratings, pick_versions
from noref.recipes.run import DataSet, Run, choose_split
from noref.scoring.export import export_onnx
from noref.train.loop import Loaders, Pace, Report, fit
from noref.train.state import State, follow

CHECKPOINT = "checkpoint.safetensors"
LESSONS_IN_RIDGE = 150  # enough for a start


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
    epochs: int = 6
    batch: int = 16
    rate: float = 3e-4
    stage_decay: float = 0.7
    head_rate: float = 3e-6
    weight_decay: float = 0.05
    alpha: float = 30_000.0
    window: float = 0.8
    agreement: float = 0.05
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


def build(config: Config) -> StageRegressor:
    """The untrained network on the ImageNet weights."""
    return StageRegressor(mobilenet_stages(read(Path(config.weights))[0]), frozen=config.frozen)


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


@torch.no_grad()
def predict(model: StageRegressor, items: Sequence[Chilled]) -> NDArray[np.float64]:
    """(len(items),) quality of each item's first image."""
    found = []
    for item in items:
        with torch.autocast("cpu", torch.bfloat16):
            features = model.features(item.full[:1], item.half[:1], item.cold[:1])
        found.append(float(model.head(features)))
    return np.array(found)


Watch = Callable[[StageRegressor], Mapping[str, float]]
Batch = tuple[list[tuple[Tensor, ...]], Tensor, tuple[Tensor, ...] | None]


def batches(config: Config, rated: Sequence[Chilled], lessons: Sequence[Chilled], epoch: int) -> Iterator[Batch]:
    """An epoch of windows with labels, each with versions of one photograph; a pure function of the epoch."""
    rng = np.random.default_rng([31, config.seed, epoch])
    order = rng.permutation(len(rated))
    for at in range(0, len(rated) - config.batch + 1, config.batch):
        parts, quality = rated_batch(rated, order[at : at + config.batch], config.window, rng)
        if not lessons:
            yield parts, quality, None
            continue
        lesson = lessons[int(rng.integers(len(lessons)))]
        some = torch.from_numpy(pick_versions(rng, len(lesson.quality), config.versions))
        yield parts, quality, (lesson.full[some], lesson.half[some], lesson.cold[some], lesson.quality[some])


class Tuned(nn.Module):
    """What is trained: the network, and a second head that speaks the lessons' scale and is thrown away afterwards."""

    def __init__(self, regressor: StageRegressor) -> None:
        super().__init__()
        self.regressor, self.lessons = regressor, RidgeHead(len(regressor.head.center))

    def forward(self, full: Tensor, half: Tensor, cold: Tensor) -> tuple[Tensor, Tensor]:
        """Chilled images -> (N,) quality by the human scores' head, (N,) by the lessons' head."""
        with torch.autocast("cpu", torch.bfloat16):
            features = self.regressor.features(full, half, cold)
        return self.regressor.head(features), self.lessons(features)


def step(config: Config, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """The losses of one batch."""
    parts, quality, lesson = batch
    losses = {"score": score_loss(torch.cat([network(*part)[0] for part in parts]), quality, config.agreement)}
    total = losses["score"]
    if lesson is not None:
        score, rating = network(*lesson[:3])
        losses |= lesson_losses(score, rating, lesson[3], ladder=1 + STEPS, margin=config.margin)
        total = total + config.lessons * losses["rating"] + config.ranking * losses["ranking"]
    return {"loss": total, **losses}


def optimizer_groups(network: Tuned, config: Config) -> list[dict[str, Any]]:
    """Later stages learn faster than early ones, the linear layers slowly: 7 000 features move together."""
    stages = network.regressor.warm
    heads = [*network.regressor.head.parameters(), *network.lessons.parameters()]
    return [
        *(
            {"params": list(stage.parameters()), "lr_scale": config.stage_decay ** (len(stages) - 1 - i)}
            for i, stage in enumerate(stages)
        ),
        {"params": heads, "lr_scale": config.head_rate / config.rate, "weight_decay": 0.0},
    ]


def cosine(config: Config, epoch: float) -> float:
    """The learning rate: up over the first 5 % of the epochs, then one cosine to nothing."""
    share = epoch / config.epochs
    return config.rate * min(1.0, share / 0.05 + 1e-3) * 0.5 * (1 + math.cos(math.pi * share))


def start(config: Config, rated: Sequence[Chilled], lessons: Sequence[Chilled]) -> Tuned:
    """The network on ImageNet's weights, both heads fitted to its features."""
    network = Tuned(build(config))
    found = features_of(network.regressor, rated, len(rated), "ridge on ImageNet's features")
    network.regressor.head.fit(*found, alpha=config.alpha)
    if some := lessons[:: max(1, len(lessons) // LESSONS_IN_RIDGE)]:
        network.lessons.fit(
            *features_of(network.regressor, some, len(some), "ridge for the lessons"), alpha=config.alpha
        )
    return network


def tune(
    config: Config,
    rated: Sequence[Chilled],
    lessons: Sequence[Chilled],
    fabric: Fabric,
    *,
    run: Run | None = None,
    watch: Watch | None = None,
    report: Report = lambda step, values: None,
    draw: Callable[[int], Iterator[Any]] | None = None,
    losses: Callable[[nn.Module, Any], dict[str, Tensor]] | None = None,
) -> StageRegressor:
    """Tune the network.

    Args:
        config: the recipe's settings.
        rated: the training part.
        lessons: of photographs; may be empty.
        fabric: launched already, one process on the CPU.
        run: where log and checkpoint are written after each epoch; one that is resumed goes on from there, exactly.
        watch: numbers for the log after each epoch, from the averaged network.
        report: gets values while an epoch runs.
        draw: an epoch's batches, as many as without it; none: `batches`.
        losses: of a batch, "loss" being what is minimised; none: `step`.

    Returns:
        The network with the averaged weights after the last epoch.

    Raises:
        DataError: fewer images than a batch.
    """
    if len(rated) < config.batch:
        raise DataError(f"{len(rated)} rated images do not fill a batch of {config.batch}")
    done = run is not None and run.resumed and run.file(CHECKPOINT).exists()
    model = Tuned(build(config)) if done else start(config, rated, lessons)
    average = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(optimizer_groups(model, config), lr=config.rate, weight_decay=config.weight_decay)
    network, wrapped = fabric.setup(model, optimizer)
    state = State(network, wrapped, teacher=average)
    if run is not None and done:
        state.restore(run.file(CHECKPOINT), fabric)

    def after_step(state: State) -> None:
        follow(average, model, decay=min(config.averaging, (1 + state.step) / (10 + state.step)))

    def after_epoch(state: State) -> None:
        if run is not None:
            run.write_table("log.csv", state.log)
            state.save(run.file(CHECKPOINT), fabric)

    loaders = Loaders(
        train=draw or (lambda epoch: batches(config, rated, lessons, epoch)),
        batches=len(rated) // config.batch,
        validate=None if watch is None else lambda state: watch(average.regressor),
    )
    fit(
        losses or (lambda network, batch: step(config, network, batch)),
        loaders,
        state,
        fabric,
        pace=Pace(config.epochs, lambda epoch: cosine(config, epoch), clip=5.0),
        after_step=after_step,
        after_epoch=after_epoch,
        report=report,
    )
    return average.regressor.eval()


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
