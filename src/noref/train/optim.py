"""Which parameter learns how fast: groups for AdamW, and the learning rate over time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer

NO_DECAY = ("pos_embed", "cls_token")


def parameter_groups(
    network: nn.Module, *, weight_decay: float, depths: Mapping[str, int] | None = None, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """The trainable parameters of a network in groups of one weight decay and one share of the learning rate.

    Biases, norms and other 1-D parameters, position embeddings and class tokens are not decayed.

    Args:
        network: parameters that do not require gradients are left out.
        weight_decay: of the others.
        depths: layer number of each parameter by name, 0 the first layer; parameters without one, such as the
            head's, are one layer behind the last.
        layer_decay: a parameter d layers before those learns with layer_decay**d of the learning rate.

    Returns:
        Groups for an optimiser, each with `params`, `weight_decay`, and `lr_scale` in (0, 1] for `set_lr`.

    Example:
        >>> [group["weight_decay"] for group in parameter_groups(nn.Linear(2, 1), weight_decay=0.05)]
        [0.0, 0.05]
    """
    depths = depths or {}
    deepest = max(depths.values(), default=-1) + 1
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        spared = parameter.ndim <= 1 or name.rpartition(".")[2] in NO_DECAY
        decay = 0.0 if spared else weight_decay
        scale = layer_decay ** (deepest - depths.get(name, deepest))
        group = groups.setdefault((scale, decay), {"params": [], "weight_decay": decay, "lr_scale": scale})
        group["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """Give every group its share of the learning rate from now on."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)


@dataclass(frozen=True)
class StepDecay:
    """A line up from almost nothing, then a drop by a factor every few epochs; set at every optimiser step.

    By default the drops are counted from the start of training, warm-up included: with 3 and 3, epochs 0-2 climb,
    epochs 3-5 run at a tenth, epochs 6-8 at a hundredth. So timm's `StepLRScheduler` did up to 0.5, which DEIQT's
    successor pins; later versions count from the end of the warm-up (`after_warmup`). DEIQT names no version.

    Args:
        lr: the learning rate that the warm-up climbs to.
        warmup_epochs: length of the climb; 0: none.
        warmup_lr: where it starts.
        every: epochs between drops.
        factor: of a drop.
        after_warmup: count the epochs between drops from the end of the warm-up.

    Example:
        >>> schedule = StepDecay(2e-4, warmup_epochs=3, warmup_lr=2e-7, every=3, factor=0.1)
        >>> [f"{schedule(epoch):.3g}" for epoch in (0, 1.5, 3, 6)]
        ['2e-07', '0.0001', '2e-05', '2e-06']
    """

    lr: float
    warmup_epochs: float = 3
    warmup_lr: float = 2e-7
    every: float = 3
    factor: float = 0.1
    after_warmup: bool = False

    def __call__(self, epoch: float) -> float:
        """The learning rate after `epoch` epochs; a step within an epoch is a fraction."""
        if epoch < self.warmup_epochs:
            return self.warmup_lr + (self.lr - self.warmup_lr) * epoch / self.warmup_epochs
        counted = epoch - self.warmup_epochs if self.after_warmup else epoch
        return self.lr * self.factor ** int(counted // self.every)


@dataclass(frozen=True)
class WarmRestarts:
    """A cosine from `lr` down to `lowest`, again and again, each stretch `factor` times as long as the one before.

    Args:
        lr: the learning rate at the start of each stretch.
        first: epochs of the first stretch.
        factor: of the lengths.
        lowest: where each stretch ends.

    Source:
        Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983, eq. 5.

    Example:
        >>> [round(WarmRestarts(0.1)(epoch), 3) for epoch in (0, 0.5, 1, 2, 3)]
        [0.1, 0.05, 0.1, 0.05, 0.1]
    """

    lr: float
    first: float = 1.0
    factor: float = 2.0
    lowest: float = 1e-6

    def __call__(self, epoch: float) -> float:
        """The learning rate after `epoch` epochs; a step within an epoch is a fraction."""
        start, length = 0.0, self.first
        while epoch >= start + length:
            start, length = start + length, length * self.factor
        share = (epoch - start) / length
        return self.lowest + (self.lr - self.lowest) * 0.5 * (1 + math.cos(math.pi * share))
