"""The head that names faults: two small layers on features and tones, for a model whose network stays as it is.

1. Ridge regression of each type's and group's severity and presence on both: Z = 2 x (24 + 7) numbers.
2. A layer of hidden units on these and the tones, learnt from predictions for held-out photos: on photos that the ridge
   has seen its numbers are too good. It gives the severity of each group, and which of the group's types it is.

A composition has at most one type of a group, so the likeliest type of a group gets the group's severity, the others
as much less as they are less likely.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor, nn

from noref.default_model.tones import CENTERS, EPSILON, SLOPES, STRIDE
from noref.degrade.pipeline import GROUPS

Array = NDArray[np.float32]
LIMIT = 6.0  # features are cut off there: a few are far out on degraded pictures
ALPHA = 3.0  # of the ridge, per feature
TONE_WEIGHT = 7.0  # there are a hundred times more features than tones
FOLDS = 4  # of photos
SIZES = [len(names) for names in GROUPS.values()]
HIDDEN, DROP, EPOCHS, BATCH, LR, TYPE_WEIGHT = 128, 0.2, 60, 256, 3e-3, 0.3


@dataclass(frozen=True)
class FaultHead:
    """The numbers of both layers; see `severities` for what is done with them."""

    first: Array  # (D + 76, Z)
    first_bias: Array  # (Z,)
    second: Array  # (Z + 76, HIDDEN)
    second_bias: Array  # (HIDDEN,)
    last: Array  # (HIDDEN + Z + 76, 7 + 24)
    last_bias: Array  # (7 + 24,)

    def severities(self, features: Array, tones: Array) -> Array:
        """(N, D) features and (N, 76) tones -> (N, 24) severities in [0, 1]."""
        z = np.clip(np.concatenate([features, tones], 1), -LIMIT, LIMIT) @ self.first + self.first_bias
        known = np.concatenate([z, tones], 1)
        hidden = np.maximum(known @ self.second + self.second_bias, 0)
        out = np.concatenate([hidden, known], 1) @ self.last + self.last_bias
        groups, types = 1 / (1 + np.exp(-out[:, : len(SIZES)])), np.split(out[:, len(SIZES) :], _ends(), 1)
        parts = [groups[:, [g]] * np.exp(t - t.max(1, keepdims=True)) for g, t in enumerate(types)]
        found: Array = np.concatenate(parts, 1, dtype=np.float32)
        return found


def graph_numbers(head: FaultHead) -> dict[str, Any]:
    """The numbers that `noref.scoring.graph_outputs.add_faults` puts into a graph."""
    slopes, scaled_centers = SLOPES[:, None], (CENTERS * SLOPES)[:, None]
    of_tones = {"stride": [STRIDE] * 2, "slopes": slopes, "scaled_centers": scaled_centers, "epsilon": EPSILON}
    return {**vars(head), **of_tones, "limit": LIMIT, "lowest": -LIMIT}


def _ends() -> NDArray[np.int64]:
    return np.cumsum(SIZES)[:-1]


def learn(features: Array, tones: Array, severities: Array, photos: Sequence[str], *, seed: int = 0) -> FaultHead:
    """Fit both layers.

    Args:
        features: (N, D) of the views.
        tones: (N, 76) of the views.
        severities: (N, 24) of their faults.
        photos: (N,) the photo that each is a view of: its views are in one fold.
        seed: of the second layer.
    """
    x = np.concatenate([np.clip(features, -LIMIT, LIMIT), tones], 1)
    count = features.shape[1]
    center, scale = x.mean(0), x.std(0) + np.where(np.arange(x.shape[1]) < count, 0.05, 1e-3)
    weighted = scale / np.where(np.arange(x.shape[1]) < count, 1.0, TONE_WEIGHT)
    x = ((x - center) / weighted).astype(np.float32)
    kernel, targets = x @ x.T / count, _targets(severities)
    fold = np.unique(photos, return_inverse=True)[1] % FOLDS
    held_out = np.zeros_like(targets)
    for number in range(FOLDS):
        inside, outside = fold != number, fold == number
        duals, mean = _ridge(kernel[np.ix_(inside, inside)], targets[inside])
        held_out[outside] = kernel[np.ix_(outside, inside)] @ duals + mean
    duals, mean = _ridge(kernel, targets)
    first = x.T @ duals / count / weighted[:, None]
    layers = _second_layer(np.concatenate([held_out, tones], 1), severities, seed)
    return FaultHead(*(part.astype(np.float32) for part in (first, mean - center @ first, *layers)))


def _targets(severities: Array) -> Array:
    """Severity and presence of each type and of each group, (N, 2 x (24 + 7))."""
    both = np.concatenate([severities, _of_groups(severities)], 1)
    return np.concatenate([both, both > 0], 1).astype(np.float32)


def _of_groups(severities: Array) -> Array:
    return np.stack([part.max(1) for part in np.split(severities, _ends(), 1)], 1)


def _ridge(kernel: Array, targets: Array) -> tuple[Array, Array]:
    mean = targets.mean(0)
    duals = np.linalg.solve(kernel + ALPHA * np.eye(len(kernel), dtype=np.float32), targets - mean)
    return duals, mean


class _Second(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.hidden, self.last = nn.Linear(size, HIDDEN), nn.Linear(HIDDEN + size, len(SIZES) + sum(SIZES))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(torch.cat([torch.relu(self.hidden(x)), x], 1))
        return found


def _second_layer(inputs: Array, severities: Array, seed: int) -> tuple[Array, Array, Array, Array]:
    """Weights and biases of both matrices, for inputs as they are: centring and scaling are folded into them."""
    torch.manual_seed(seed)
    center, scale = inputs.mean(0), inputs.std(0) + 1e-3
    x, wanted = torch.from_numpy((inputs - center) / scale), torch.from_numpy(severities)
    groups = torch.from_numpy(_of_groups(severities))
    net, batch = _Second(x.shape[1]), min(BATCH, len(x))
    optimizer = torch.optim.AdamW(net.parameters(), LR, weight_decay=1e-3)
    steps = EPOCHS * (len(x) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps, pct_start=0.1)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x))[: len(x) // batch * batch].view(-1, batch):
            optimizer.zero_grad()
            _loss(net(functional.dropout(x[rows], DROP)), groups[rows], wanted[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    layers = [net.hidden.weight.T, net.hidden.bias, net.last.weight.T, net.last.bias]
    second, second_bias, last, last_bias = (layer.detach().numpy().copy() for layer in layers)
    second /= scale[:, None]
    last[HIDDEN:] /= scale[:, None]
    return second, second_bias - center @ second, last, last_bias - center @ last[HIDDEN:]


def _loss(out: Tensor, groups: Tensor, severities: Tensor) -> Tensor:
    """Severities of the groups, and the type in each group that has a fault, the more the stronger it is."""
    loss = functional.binary_cross_entropy_with_logits(out[:, : len(SIZES)], groups)
    logits, wanted = torch.split(out[:, len(SIZES) :], SIZES, 1), torch.split(severities, SIZES, 1)
    for of_group, truth in zip(logits, wanted, strict=True):
        strength = truth.amax(1)
        errors = functional.cross_entropy(of_group, truth.argmax(1), reduction="none")
        loss = loss + TYPE_WEIGHT * (errors * strength).mean()
    return loss
