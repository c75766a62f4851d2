"""Fine-tuning the network, step 3 of the recipe `embedded`, on human scores and on distorted views.

The losses of a step: the human scores; CSIQA's quality context between the images of the batch (eq. 5, on the means of
the last stage's map); ratings and order of one photograph's views, the ratings through a head of their own.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from noref.default_model.cached_features import Cached
from noref.default_model.config import TIMM, Config
from noref.default_model.distorted_views import STEPS, pick_views
from noref.default_model.head_fit import fit_head
from noref.errors import DataError
from noref.models.backbones import load_backbone, normalisation
from noref.models.stages import RidgeHead, StageRegressor, cnn_stages
from noref.objectives.csiqa import quality_context_loss, select_pairs
from noref.objectives.rated import distorted_view_losses, score_loss
from noref.train.loop import Loaders, Report, Schedule, fit
from noref.train.run_folder import Run
from noref.train.state import State, update_ema

CHECKPOINT = "checkpoint.safetensors"
Tensors = tuple[Tensor, ...]
VIEWS_IN_RIDGE = 150  # photographs; enough for a start


def build_network(config: Config) -> StageRegressor:
    """The network on ImageNet's weights, its head still at zero; errors as `load_backbone`."""
    if config.weights != TIMM:
        backbone = load_backbone("mobilenetv2_100", weights=config.weights, pad_type="same")
        return StageRegressor(cnn_stages(backbone.net), frozen=config.frozen)
    backbone = load_backbone("mobilenetv2_100", weights=TIMM)
    mean, std = normalisation(backbone)
    return StageRegressor(cnn_stages(backbone.net), frozen=config.frozen, mean=mean, std=std)


@torch.no_grad()
def predict(model: StageRegressor, items: Cached) -> NDArray[np.float64]:
    """(len(items),) quality of each item's first image, in bfloat16."""
    with torch.autocast("cpu", torch.bfloat16):
        features = [model.features(*item.inputs(slice(1))) for item in items]
    return np.array([float(model.head(feature)) for feature in features])


class Batch(NamedTuple):
    """Of one step: windows of rated images, and some views of one photograph."""

    images: list[Tensors]  # as `StageRegressor.features` takes them, stacked where their shapes agree
    quality: Tensor  # (N,) of these images, in this order
    views: Tensors | None  # likewise, and (V,) their ratings, NaN where there is none


def batches(config: Config, rated: Cached, views: Cached, epoch: int) -> Iterator[Batch]:
    """An epoch of windows with labels, each batch with views of one photograph; a pure function of the epoch."""
    rng = np.random.default_rng([31, config.seed, epoch])
    order = rng.permutation(len(rated))
    for at in range(0, len(rated) - config.batch + 1, config.batch):
        images, quality = rated_batch(rated, order[at : at + config.batch], config.window, rng)
        yield Batch(images, quality, draw_views(config, views, rng))


def rated_batch(items: Cached, picked: NDArray[np.int64], share: float, rng: Generator) -> tuple[list[Tensors], Tensor]:
    """Windows of the picked images or their mirror images, stacked where shapes agree; labels in the same order."""
    shapes: dict[tuple[int, ...], list[Tensors]] = {}
    for i in picked:
        side = int(rng.integers(2))
        full, half, frozen = items[i].inputs(slice(side, side + 1))
        one = (random_window(full, share, rng), half, frozen, items[i].quality[side : side + 1])
        shapes.setdefault(tuple(one[0].shape + half.shape), []).append(one)
    stacked = [tuple(torch.cat(part) for part in zip(*group, strict=True)) for group in shapes.values()]
    return [group[:3] for group in stacked], torch.cat([group[3] for group in stacked])


def random_window(full: Tensor, share: float, rng: Generator) -> Tensor:
    """A window of a (1, C, h, w) map, its sides a share of the map's."""
    height, width = (max(1, round(side * share)) for side in full.shape[2:])
    top, left = (int(rng.integers(s - n + 1)) for s, n in zip(full.shape[2:], (height, width), strict=True))
    return full[:, :, top : top + height, left : left + width]


def draw_views(config: Config, views: Cached, rng: Generator) -> Tensors | None:
    """Some views of one photograph, as `Batch` has them; None where there are no views."""
    if not views:
        return None
    item = views[int(rng.integers(len(views)))]
    some = torch.from_numpy(pick_views(rng, len(item.quality), config.views))
    return (*item.inputs(some), item.quality[some])


class TwoHeads(nn.Module):
    """What is trained: the network, and a second head on the scale of the views' ratings, dropped after training."""

    def __init__(self, regressor: StageRegressor) -> None:
        super().__init__()
        self.regressor, self.view_head = regressor, RidgeHead(len(regressor.head.center))

    def forward(self, full: Tensor, half: Tensor, frozen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cached features -> (N,) quality by the human scores' head, (N,) by the views' head, (N, C) embedding."""
        with torch.autocast("cpu", torch.bfloat16):
            features, embedding = self.regressor.with_embedding(full, half, frozen)
        return self.regressor.head(features), self.view_head(features), embedding


def step(config: Config, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """The losses of one batch."""
    scores, _, embeddings = (torch.cat(each) for each in zip(*(network(*part) for part in batch.images), strict=True))
    losses = {"score": score_loss(scores, batch.quality, config.plcc_weight)}
    if config.contrast != "none":
        pairs, temperature = select_pairs(batch.quality), config.temperature
        losses["contrast"] = quality_context_loss(embeddings, *pairs, temperature=temperature)
    losses |= view_losses(config, network, batch.views)
    return {"loss": weighted_sum(config, losses), **losses}


def view_losses(config: Config, network: nn.Module, views: Tensors | None) -> dict[str, Tensor]:
    """The rating loss of the single distortions and the ranking loss of the severity series; nothing without views."""
    if views is None:
        return {}
    score, rating, _ = network(*views[:3])
    return distorted_view_losses(score, rating, views[3], series=1 + STEPS, margin=config.margin)


def weighted_sum(config: Config, losses: Mapping[str, Tensor], **weights: float) -> Tensor:
    """The losses by their weights: those of the recipe, and `weights` for others."""
    weights |= {"contrast": config.contrast_weight, "rating": config.distorted_weight, "ranking": config.ranking_weight}
    return sum((weights.get(name, 1.0) * value for name, value in losses.items()), start=torch.zeros(()))


def optimizer_groups(network: TwoHeads, config: Config) -> list[dict[str, Any]]:
    """Later stages learn faster than early ones, the linear layers slowly: 7 000 features move together."""
    stages = network.regressor.tuned_stages
    heads = [*network.regressor.head.parameters(), *network.view_head.parameters()]
    scales = [config.layer_decay**place for place in reversed(range(len(stages)))]
    groups = [{"params": list(s.parameters()), "lr_scale": scale} for s, scale in zip(stages, scales, strict=True)]
    return [*groups, {"params": heads, "lr_scale": config.head_lr / config.lr, "weight_decay": 0.0}]


def learning_rate(config: Config, epoch: float) -> float:
    """Of the last stage: up over the first 5 % of the epochs, then one cosine to nothing."""
    share = epoch / config.epochs
    return config.lr * min(1.0, share / 0.05 + 1e-3) * 0.5 * (1 + math.cos(math.pi * share))


def fine_tune(
    regressor: StageRegressor,
    config: Config,
    rated: Cached,
    views: Cached,
    fabric: Fabric,
    *,
    run: Run | None = None,
    validate: Callable[[StageRegressor], Mapping[str, float]] | None = None,
    report: Report = lambda step, values: None,
    draw: Callable[[int], Iterator[Any]] | None = None,
    losses: Callable[[nn.Module, Any], dict[str, Tensor]] | None = None,
) -> StageRegressor:
    """Fine-tune a network behind its frozen stages; the result is a copy with the averaged weights of the last epoch.

    Args:
        regressor: as `build_network` makes it; changed.
        config: every option.
        rated: the training part.
        views: may be empty.
        fabric: launched already, one process on the CPU.
        run: where log and checkpoint are written after each epoch; one that is resumed goes on from there, exactly.
        validate: averaged network -> numbers for the log after each epoch.
        report: gets values while an epoch runs.
        draw: an epoch's batches, as many as without it, in place of `batches`.
        losses: of a batch, "loss" being what is minimised, in place of `step`.

    Raises:
        DataError: fewer images than a batch.
    """
    if len(rated) < config.batch:
        raise DataError(f"{len(rated)} rated images do not fill a batch of {config.batch}")
    done = run is not None and run.resumed and run.file(CHECKPOINT).exists()
    model = TwoHeads(regressor)
    if not done:
        fit_head(regressor.head, regressor, rated, config.alpha, "ridge, ImageNet's features")
        if some := views[:: max(1, len(views) // VIEWS_IN_RIDGE)]:
            fit_head(model.view_head, regressor, some, config.alpha, "ridge, distorted views")
    average = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(optimizer_groups(model, config), lr=config.lr, weight_decay=config.weight_decay)
    network, wrapped = fabric.setup(model, optimizer)
    state = State(network, wrapped, ema=average)
    if run is not None and done:
        state.restore(run.file(CHECKPOINT), fabric)

    def after_step(state: State) -> None:
        update_ema(average, model, decay=min(config.ema_decay, (1 + state.step) / (10 + state.step)))

    def after_epoch(state: State) -> None:
        if run is not None:
            run.write_table("log.csv", state.log)
            state.save(run.file(CHECKPOINT), fabric)

    draw = draw or (lambda epoch: batches(config, rated, views, epoch))
    losses = losses or (lambda network, batch: step(config, network, batch))
    validation = None if validate is None else lambda state: validate(average.regressor)
    loaders = Loaders(train=draw, batches=len(rated) // config.batch, validate=validation)
    schedule = Schedule(config.epochs, lambda epoch: learning_rate(config, epoch), clip=5.0)
    fit(
        losses, loaders, state, fabric, schedule=schedule, after_step=after_step, after_epoch=after_epoch, report=report
    )
    return average.regressor.eval()
