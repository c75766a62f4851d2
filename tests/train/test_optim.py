from __future__ import annotations

import pytest
import torch
from timm.scheduler import StepLRScheduler
from torch import nn

from noref.train.optim import StepDecay, parameter_groups, set_lr


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, 4, 8))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 8))
        self.queries = nn.Parameter(torch.zeros(1, 6, 8))
        self.first, self.norm, self.last = nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 1)


def named(network, groups):
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return [
        ({names[id(p)] for p in group["params"]}, group["weight_decay"], pytest.approx(group["lr_scale"]))
        for group in groups
    ]


def test_only_matrices_are_decayed():
    network = Small()
    spared = {"pos_embed", "cls_token", "first.bias", "norm.weight", "norm.bias", "last.bias"}
    groups = named(network, parameter_groups(network, weight_decay=0.05))
    assert groups == [(spared, 0.0, 1.0), ({"queries", "first.weight", "last.weight"}, 0.05, 1.0)]


def test_deeper_layers_learn_faster():
    network = Small()
    depths = {"pos_embed": 0, "cls_token": 0, "first.weight": 1, "first.bias": 1, "norm.weight": 2, "norm.bias": 2}
    found = named(network, parameter_groups(network, weight_decay=0.1, depths=depths, layer_decay=0.5))
    assert sorted((scale.expected, decay, sorted(names)) for names, decay, scale in found) == [
        (0.125, 0.0, ["cls_token", "pos_embed"]),
        (0.25, 0.0, ["first.bias"]),
        (0.25, 0.1, ["first.weight"]),
        (0.5, 0.0, ["norm.bias", "norm.weight"]),
        (1.0, 0.0, ["last.bias"]),
        (1.0, 0.1, ["last.weight", "queries"]),
    ]


def test_what_is_frozen_has_no_group():
    network = Small()
    network.first.requires_grad_(False)
    parameters = [p for group in parameter_groups(network, weight_decay=0.1) for p in group["params"]]
    assert len(parameters) == len(list(network.parameters())) - 2
    assert all(p.requires_grad for p in parameters)


def test_the_rate_reaches_each_group_by_its_share():
    network = Small()
    groups = parameter_groups(network, weight_decay=0.1, depths={"pos_embed": 0, "first.weight": 1}, layer_decay=0.1)
    optimizer = torch.optim.AdamW(groups, lr=1.0)
    set_lr(optimizer, 2e-4)
    assert sorted({group["lr"] for group in optimizer.param_groups}) == pytest.approx([2e-6, 2e-5, 2e-4])


@pytest.mark.parametrize(
    ("epoch", "lr"),
    [
        (0, 2e-7),
        (1, 2e-7 + (2e-4 - 2e-7) / 3),
        (2.5, 2e-7 + (2e-4 - 2e-7) * 2.5 / 3),
        (3, 2e-5),
        (5.99, 2e-5),
        (6, 2e-6),
        (8.99, 2e-6),
        (9, 2e-7),
    ],
)
def test_step_decay_by_hand(epoch, lr):
    assert StepDecay(2e-4)(epoch) == pytest.approx(lr)


def test_without_warm_up_it_starts_at_the_top():
    assert StepDecay(1e-3, warmup_epochs=0, every=2, factor=0.5)(0) == 1e-3
    assert StepDecay(1e-3, warmup_epochs=0, every=2, factor=0.5)(4.5) == pytest.approx(2.5e-4)


@pytest.mark.parametrize("after_warmup", [False, True])
def test_step_decay_is_timms_at_every_step(after_warmup):
    steps = 7
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2e-4)
    theirs = StepLRScheduler(
        optimizer,
        decay_t=3 * steps,
        decay_rate=0.1,
        warmup_t=3 * steps,
        warmup_lr_init=2e-7,
        warmup_prefix=after_warmup,
        t_in_epochs=False,
    )
    for step in range(9 * steps):
        theirs.step_update(step)
        assert StepDecay(2e-4, after_warmup=after_warmup)(step / steps) == pytest.approx(
            optimizer.param_groups[0]["lr"]
        )
