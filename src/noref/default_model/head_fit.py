"""Fitting the linear layers by ridge regression: on cached features before fine-tuning, on exact ones after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from noref import images
from noref.data.records import Record
from noref.default_model.cached_features import Cached, progress
from noref.default_model.config import PREPROCESSING, Config
from noref.default_model.distorted_views import FIRST_SINGLE, STEPS
from noref.evaluate.correlation import fit_logistic4
from noref.models.stages import RidgeHead, StageRegressor

FOLDS = 5


@torch.no_grad()
def fit_head(head: RidgeHead, model: StageRegressor, items: Cached, alpha: float, what: str) -> None:
    """Ridge regression, with penalty `alpha`, on those of `items` that have labels; `what` names the progress bar."""
    features, labels = [], []
    with torch.autocast("cpu", torch.bfloat16):
        for item in progress(items, what):
            rated = torch.nonzero(~torch.isnan(item.quality)).flatten()
            features.append(model.features(*item.inputs(rated)))
            labels.append(item.quality[rated])
    head.fit(torch.cat(features), torch.cat(labels), alpha=alpha)


@torch.no_grad()
def refit_head(model: StageRegressor, config: Config, records: Sequence[Record], views: Cached) -> None:
    """Give the fine-tuned model's linear layer its last values, and put a logistic curve behind it.

    In float32, as the exported model runs: a head fitted to bfloat16 features lost 0.003 to 0.008 of SRCC. The curve is
    fitted to predictions for held-out folds of the training part, `records`. The stages were fine-tuned on them all the
    same, so the curve is somewhat too steep. Severity series count only where there are `views`.
    """
    steps = severity_steps(model, views) if config.refit_margin and views else None
    features = torch.cat(list(_exact_features(model, records)))  # (2M, F), an image and its mirror image one by one
    labels = torch.tensor([record.quality for record in records]).repeat_interleave(2)
    model.head.fit(features, labels, alpha=config.refit_alpha, steps=steps, margin=config.refit_margin)
    fold, predicted = torch.arange(len(labels)) // 2 % FOLDS, torch.zeros(len(labels))
    for held_out in (fold == number for number in range(FOLDS)):
        head = RidgeHead(features.shape[1])
        head.fit(features[~held_out], labels[~held_out], alpha=config.refit_alpha)
        predicted[held_out] = head(features[held_out])
    curve = fit_logistic4(predicted.double().numpy(), labels.double().numpy())
    if curve.top > curve.bottom:  # else the features say nothing of quality
        model.head.set_curve(bottom=curve.bottom, top=curve.top, centre=curve.centre, width=curve.width)


def _exact_features(model: StageRegressor, records: Sequence[Record]) -> Iterator[Tensor]:
    for record in progress(records, "ridge, fine-tuned features"):
        image = images.read(record.path, preprocessing=PREPROCESSING)
        for side in (image, np.ascontiguousarray(image[:, ::-1])):
            yield model.features(*model.frozen_features(torch.from_numpy(side[None])))


@torch.no_grad()
def severity_steps(model: StageRegressor, views: Cached) -> Tensor:
    """Features of each step of the severity series minus those of the next stronger one, over all views: (K, F)."""
    found = []
    with torch.autocast("cpu", torch.bfloat16):
        for item in progress(views, "severity series, fine-tuned features"):
            features = model.features(*item.inputs(slice(FIRST_SINGLE)))
            for first in range(1, FIRST_SINGLE, STEPS):
                series = torch.cat([features[:1], features[first : first + STEPS]])
                found.append(series[:-1] - series[1:])
    return torch.cat(found)
