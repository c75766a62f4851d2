from __future__ import annotations

import copy
import dataclasses
from collections import Counter

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from noref.card import Preprocessing, Scale
from noref.data.loading import Batch
from noref.data.readers import READERS
from noref.errors import OptionError
from noref.methods import csiqa, lml_iqa
from noref.methods.deiqt import Config, score_term
from noref.train import setup, supervised
from noref.train.options import build
from noref.train.setup import new_state, random_crops, schedule
from noref.train.supervised import step_of

RULE = Preprocessing(min_side=64, crop=64)


@pytest.fixture
def config(small):
    return build(Config, small)


def batches(config, records, fabric):
    return setup.batches(config, random_crops(config, records, RULE), fabric)


def whole(state):
    return setup.trained(state).whole


def test_the_defaults_are_the_papers():
    config = Config()
    assert (config.backbone, config.heads, setup.plan(config).queries) == ("deit3_small_patch16_224.fb_in1k", 6, 6)
    assert (config.lr, config.weight_decay, config.epochs, config.clip) == (2e-4, 0.05, 9, 5.0)
    assert (config.batch, config.crops, config.crop) == (64, 10, 224)


def test_the_schedule_is_the_papers():
    rate = schedule(Config()).lr
    assert [rate(epoch) for epoch in (0, 3, 6)] == pytest.approx([2e-7, 2e-5, 2e-6])
    assert max(rate(step / 100) for step in range(900)) == pytest.approx(2e-4, rel=0.01)


class Constant(nn.Module):
    """Says each crop's first pixel, as a share of 255."""

    def forward(self, images):
        return images[:, 0, 0, 0].double() / 255


@pytest.mark.parametrize(
    ("loss", "beta", "expected"),
    [
        # errors in raw units: 0.2, 10, 50, 50 of 100; smooth L1: x * x / 2 / beta below beta, x - beta / 2 above
        ("l1", 1.0, (0.2 + 10 + 50 + 50) / 4),
        ("smooth_l1", 1.0, (0.2 * 0.2 / 2 + 9.5 + 49.5 + 49.5) / 4),
        ("smooth_l1", 20.0, (0.2 * 0.2 / 40 + 100 / 40 + 40 + 40) / 4),
    ],
)
def test_the_loss_is_in_units_of_the_data_sets_scale(loss, beta, expected):
    pixels = torch.tensor([[24.99, 51], [0, 255]]).view(2, 2, 1, 1, 1)  # says 0.098 0.2 | 0 1
    quality = torch.tensor([0.1, 0.5], dtype=torch.float64)
    step = step_of([score_term(Scale(0, 100, higher_is_better=False), distance=loss, beta=beta)], 2)
    found = step(Constant(), Batch(pixels, quality, torch.tensor([0, 1])))["loss"]
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_an_epoch_takes_every_crop_of_every_image(config, rated, fabric):
    records = READERS["csv"](rated)
    for together in (1, 2):
        chosen = dataclasses.replace(config, together=together, crops=4)
        loaders = batches(chosen, records, fabric)
        found = list(loaders.train(0))
        assert len(found) == loaders.batches
        seen = Counter(int(i) for batch in found for i in batch.indices.repeat_interleave(batch.crops.shape[1]))
        assert seen == dict.fromkeys(range(len(records)), 4)
        assert all(batch.crops.shape[:2].numel() <= config.batch for batch in found)
        assert found[0].crops.shape[1:] == (together, 3, 64, 64)


def test_crops_are_new_in_each_pass_and_the_same_when_asked_again(config, rated, fabric):
    records = READERS["csv"](rated)[:8]
    loaders = batches(config, records, fabric)
    first, second, other = list(loaders.train(0)), list(loaders.train(0)), list(loaders.train(1))
    assert all(torch.equal(a.crops, b.crops) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0].crops, other[0].crops)
    of_zero = [batch.crops[batch.indices == 0] for batch in first if (batch.indices == 0).any()]
    assert len(of_zero) == 2
    assert not torch.equal(of_zero[0], of_zero[1])


@pytest.mark.parametrize("change", [{"together": 3}, {"batch": 7, "together": 2}, {"batch": 8, "accumulate": 3}])
def test_numbers_that_do_not_divide_are_option_errors(config, rated, fabric, change):
    with pytest.raises(OptionError, match="divide"):
        started(dataclasses.replace(config, **change), rated, fabric)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"together": 0}, "together 0 must divide"),
        ({"accumulate": 0}, "accumulate must be at least 1"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"epochs": -1}, "epochs must be at least 1, got -1"),
        ({"lr": -1.0}, "lr must be above 0, got -1"),
        ({"lr": 0.0}, "lr must be above 0"),
        ({"beta": 0.0}, "beta must be above 0"),
        ({"decay_every": 0.0}, "decay_every must be above 0"),
        ({"warmup_epochs": -1.0}, "warmup_epochs must be at least 0"),
        ({"weight_decay": -0.1}, "weight_decay must be at least 0"),
        ({"clip": 0.0}, "clip must be above 0"),
        ({"average": 1.0}, "average"),
        ({"layer_decay": 0.0}, "layer_decay"),
        ({"crop_sets": 0}, "crop_sets must be at least 1"),
    ],
)
def test_numbers_that_make_no_sense_are_option_errors(config, change, message):
    with pytest.raises(OptionError, match=message):
        supervised.check(dataclasses.replace(config, **change))


def started(config, rated, fabric):
    supervised.check(config)
    return batches(config, READERS["csv"](rated), fabric)


def test_the_same_seed_gives_the_same_start(config, fabric):
    first, again = new_state(config, fabric), new_state(config, fabric)
    other = new_state(dataclasses.replace(config, seed=1), fabric)
    key = "head.panel.queries"
    assert torch.equal(first.network.state_dict()[key], again.network.state_dict()[key])
    assert not torch.equal(first.network.state_dict()[key], other.network.state_dict()[key])


def test_groups_of_the_optimiser(config, fabric):
    state = new_state(config, fabric)
    names = {id(parameter): name for name, parameter in whole(state).named_parameters()}
    decayed = {names[id(p)] for g in state.optimizer.param_groups if g["weight_decay"] for p in g["params"]}
    assert "head.panel.queries" in decayed  # as in the paper's code
    assert not [name for name in decayed if name.endswith("bias") or "norm" in name or ".bn" in name]
    slowed = new_state(dataclasses.replace(config, layer_decay=0.5, frozen=1), fabric)
    assert {g["lr_scale"] for g in slowed.optimizer.param_groups} == {1.0, 0.5, 0.25, 0.125, 0.0625}
    assert len(names) > sum(len(g["params"]) for g in slowed.optimizer.param_groups)


def test_batch_norms_do_not_move_in_training(config, fabric):
    state = new_state(config, fabric)
    before = {n: v.clone() for n, v in whole(state).state_dict().items() if "running" in n}
    state.network.train()
    state.network(torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8))
    after = whole(state).state_dict()
    assert before
    assert all(torch.equal(after[name], value) for name, value in before.items())


@pytest.mark.parametrize("method", ["deiqt", "csiqa", "lml_iqa"])
def test_every_step_runs_in_the_precision_that_was_asked_for(rated, small, method):
    """A method other than `forward` would bypass Fabric's autocast on a single device, and take twice the time."""
    half = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    kind = lml_iqa.Config if method == "lml_iqa" else csiqa.Config
    words = {"together": "2", "mask": "none", "head": "panel", "distill": "0", "pairs": "easy"}
    words |= {"contrast": "none"} if method != "csiqa" else {}
    config, scale = build(kind, small, {name: (value, "") for name, value in words.items()}), Scale(0, 100)
    state, seen = new_state(config, half), []
    whole(state).backbone.register_forward_hook(lambda module, given, found: seen.append(found.tokens.dtype))
    terms = [score_term(scale), *csiqa.terms(config, scale, half)]
    terms = lml_iqa.terms(config, scale, half) if method == "lml_iqa" else terms
    crops = random_crops(config, READERS["csv"](rated)[:8], RULE, extra=int(method == "lml_iqa"))
    batch = next(iter(setup.batches(config, crops, half).train(0)))
    assert step_of(terms, 2)(state.network, batch)["loss"].dtype == torch.float32
    assert seen == [torch.bfloat16]


def test_each_process_has_random_numbers_of_its_own(config, fabric):
    """As two processes would: the same start, and other masks from there on."""

    class Second:
        """The same fabric in the second of two processes."""

        global_rank = 1

        def __getattr__(self, name):
            return getattr(fabric, name)

    states, drawn = [], []
    for process in (fabric, Second()):
        states.append(new_state(config, process))
        drawn.append(torch.rand(4))
    first, second = (state.network.state_dict() for state in states)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(*drawn)


def test_the_averaged_network_is_the_result_where_there_is_one(config, fabric):
    averaged = dataclasses.replace(config, average=0.9)
    state = new_state(averaged, fabric)
    assert supervised.result(averaged, state) is state.ema
    assert not [p for p in state.ema.parameters() if p.requires_grad]
    assert copy.deepcopy(state.ema).state_dict().keys() == state.network.state_dict().keys()
