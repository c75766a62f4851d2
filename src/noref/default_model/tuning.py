"""Tuning all stages of a network on human scores and on degraded photographs: what happens within `embedded`.

A step sees windows of rated images and versions of one photograph, both after the frozen stages. It follows the human
scores (score loss), sets the images of the batch apart by them (CSIQA's quality context, eq. 5, on the means of the
last stage's map), and follows ratings and order of the versions through a head of their own.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn

from noref.default_model.cached_features import Chilled, features_of, rated_batch
from noref.default_model.distorted_views import STEPS, pick_versions
from noref.errors import DataError
from noref.models.stages import RidgeHead, StageRegressor, mobilenet_stages
from noref.models.weights import read
from noref.objectives.csiqa import quality_context_loss, select_pairs
from noref.objectives.rated import lesson_losses, score_loss
from noref.train.loop import Loaders, Report, Schedule, fit
from noref.train.run_folder import Run
from noref.train.state import State, update_ema

if TYPE_CHECKING:
    from noref.default_model.training import Config

CHECKPOINT = "checkpoint.safetensors"
LESSONS_IN_RIDGE = 150  # enough for a start
Watch = Callable[[StageRegressor], Mapping[str, float]]
Batch = tuple[list[tuple[Tensor, ...]], Tensor, tuple[Tensor, ...] | None]


def build(config: Config) -> StageRegressor:
    """The untrained network on the ImageNet weights."""
    return StageRegressor(mobilenet_stages(read(Path(config.weights))[0]), frozen=config.frozen)


@torch.no_grad()
def predict(model: StageRegressor, items: Sequence[Chilled]) -> NDArray[np.float64]:
    """(len(items),) quality of each item's first image."""
    found = []
    for item in items:
        with torch.autocast("cpu", torch.bfloat16):
            features = model.features(item.full[:1], item.half[:1], item.cold[:1])
        found.append(float(model.head(features)))
    return np.array(found)


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

    def forward(self, full: Tensor, half: Tensor, cold: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Chilled images -> (N,) quality by the human scores' head, (N,) by the lessons' head, (N, C) embedding."""
        with torch.autocast("cpu", torch.bfloat16):
            features, embedding = self.regressor.with_embedding(full, half, cold)
        return self.regressor.head(features), self.lessons(features), embedding


def step(config: Config, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """The losses of one batch."""
    parts, quality, lesson = batch
    scores, _, embeddings = (torch.cat(each) for each in zip(*(network(*part) for part in parts), strict=True))
    losses = {"score": score_loss(scores, quality, config.agreement)}
    total = losses["score"]
    if config.contrast != "none":
        pairs = select_pairs(quality)
        losses["contrast"] = quality_context_loss(embeddings, *pairs, temperature=config.temperature)
        total = total + config.contrast_weight * losses["contrast"]
    if lesson is not None:
        score, rating, _ = network(*lesson[:3])
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
    state = State(network, wrapped, ema=average)
    if run is not None and done:
        state.restore(run.file(CHECKPOINT), fabric)

    def after_step(state: State) -> None:
        update_ema(average, model, decay=min(config.averaging, (1 + state.step) / (10 + state.step)))

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
        schedule=Schedule(config.epochs, lambda epoch: cosine(config, epoch), clip=5.0),
        after_step=after_step,
        after_epoch=after_epoch,
        report=report,
    )
    return average.regressor.eval()
