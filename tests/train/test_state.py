from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file, save_file
from torch import nn

from noref.errors import ModelError
from noref.models import weights
from noref.train.state import State, update_ema


def fresh(fabric, ema=True):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 1))
    network.to(memory_format=torch.channels_last)
    follower = copy.deepcopy(network) if ema else None
    wrapped, optimizer = fabric.setup(network, torch.optim.AdamW(network.parameters(), lr=1e-2))
    return State(wrapped, optimizer, follower)


def train(state, steps):
    losses = []
    for _ in range(steps):
        images = torch.randn(4, 3, 4, 4) * random.random() + float(np.random.rand())  # noqa: NPY002
        loss = state.network(images).square().mean()
        loss.backward()
        state.optimizer.step()
        state.optimizer.zero_grad()
        update_ema(state.ema, state.network, decay=0.9)
        state.step += 1
        losses.append(loss.item())
    return losses


def test_a_restored_run_is_the_run_itself(tmp_path, fabric):
    state = fresh(fabric)
    random.gauss(0, 1)  # leaves a spare number in Python's generator
    np.random.standard_normal()  # noqa: NPY002 - and in numpy's
    train(state, 3)
    state.epoch, state.log = 1, [{"epoch": 1, "loss": 0.25}]
    state.save(tmp_path / "c.safetensors", fabric)
    expected = train(state, 4), random.gauss(0, 1), np.random.standard_normal()  # noqa: NPY002

    other = fresh(fabric)
    torch.manual_seed(99)
    random.seed(99)
    other.restore(tmp_path / "c.safetensors", fabric)
    assert (other.epoch, other.step, other.log) == (1, 3, [{"epoch": 1, "loss": 0.25}])
    assert (train(other, 4), random.gauss(0, 1), np.random.standard_normal()) == expected  # noqa: NPY002
    for part in ("network", "ema"):
        ours, theirs = getattr(other, part).state_dict(), getattr(state, part).state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_middle_of_an_epoch_is_kept_too(tmp_path, fabric):
    state = fresh(fabric)
    state.done, state.sums = 7, {"loss": torch.tensor(0.1)}
    state.extras = {"windows": torch.tensor([[1, 2], [3, 4]]), "map": torch.rand(2, 3)}
    state.save(tmp_path / "c.safetensors", fabric)
    other = fresh(fabric)
    other.extras = {"stale": torch.zeros(1)}
    other.restore(tmp_path / "c.safetensors", fabric)
    assert (other.done, other.sums) == (7, {"loss": torch.tensor(0.1)})
    assert other.extras.keys() == state.extras.keys()
    assert all(torch.equal(other.extras[name], value) for name, value in state.extras.items())


def test_an_average_after_many_steps_is_the_closed_form():
    """decay^n of its start, and of each of the network's weights a share that falls with its age."""
    network, average = nn.Linear(3, 2).double(), nn.Linear(3, 2).double()
    start, path, decay = average.weight.detach().clone(), [], 0.9
    for _ in range(25):
        with torch.no_grad():
            network.weight.add_(torch.randn(2, 3))
        path.append(network.weight.detach().clone())
        update_ema(average, network, decay=decay)
    expected = decay**25 * start + sum((1 - decay) * decay ** (24 - k) * weight for k, weight in enumerate(path))
    torch.testing.assert_close(average.weight.detach(), expected)
    torch.testing.assert_close(network.weight.detach(), path[-1])


def test_saving_leaves_one_file_and_no_pickle(tmp_path, fabric):
    state = fresh(fabric)
    train(state, 1)
    for _ in range(2):
        state.save(tmp_path / "c.safetensors", fabric)
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]
    assert any(name.startswith("optimizer.0.") for name in load_file(tmp_path / "c.safetensors"))


def test_an_interrupted_save_leaves_the_old_file(tmp_path, fabric, monkeypatch):
    state, path = fresh(fabric), tmp_path / "c.safetensors"
    state.save(path, fabric)
    before = path.read_bytes()

    def dies(file):
        raise OSError("no space left")

    monkeypatch.setattr(weights.os, "fsync", dies)
    with pytest.raises(OSError, match="no space"):
        state.save(path, fabric)
    assert path.read_bytes() == before


def test_the_learning_rate_is_the_recipes_not_the_files(tmp_path, fabric):
    state = fresh(fabric)
    train(state, 1)
    state.save(tmp_path / "c.safetensors", fabric)
    other = fresh(fabric)
    other.optimizer.param_groups[0]["lr"] = 0.5
    other.restore(tmp_path / "c.safetensors", fabric)
    assert other.optimizer.param_groups[0]["lr"] == 0.5


def test_checkpoints_of_something_else_are_model_errors(tmp_path, fabric):
    path = tmp_path / "c.safetensors"
    with pytest.raises(ModelError, match="No such file"):
        fresh(fabric).restore(path, fabric)
    path.write_bytes(b"half a file")
    with pytest.raises(ModelError, match="not a safetensors file"):
        fresh(fabric).restore(path, fabric)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(ModelError, match="not a checkpoint"):
        fresh(fabric).restore(path, fabric)
    fresh(fabric, ema=False).save(path, fabric)
    with pytest.raises(ModelError, match="missing"):
        fresh(fabric).restore(path, fabric)
    other = State(nn.Linear(2, 1), torch.optim.SGD([torch.zeros(1)], lr=1))
    with pytest.raises(ModelError, match="missing"):
        other.restore(path, fabric)


def test_another_number_of_processes_is_refused(tmp_path, fabric):
    path, state = tmp_path / "c.safetensors", fresh(fabric)
    state.save(path, fabric)
    tensors, words = weights.read(path)
    doubled = {n: t.repeat(2, 1) if n.startswith("random.") else t for n, t in tensors.items()}
    weights.write(path, doubled, words)
    with pytest.raises(ModelError, match="2 processes, not 1"):
        state.restore(path, fabric)


def test_update_ema_by_hand():
    average, network = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
    nn.init.constant_(average.weight, 1.0)
    nn.init.constant_(network.weight, 3.0)
    network.running_mean.fill_(10.0)
    network.num_batches_tracked.fill_(7)
    update_ema(average, network, decay=0.75)
    assert average.weight.item() == 1.5
    assert average.running_mean.item() == 2.5
    assert average.num_batches_tracked.item() == 7
    update_ema(average, network, decay=0.0)
    assert average.weight.item() == 3.0


class Scaler:
    """As fp16's plugin: what it holds moves with the steps and decides the next ones."""

    precision = "16-mixed"

    def __init__(self, scale):
        self.scale = scale

    def state_dict(self):
        return {"scale": self.scale, "growth_factor": 2.0, "growth_interval": 2000, "_growth_tracker": 7}

    def load_state_dict(self, state):
        self.loaded, self.scale = dict(state), state["scale"]


def test_the_gradient_scaler_is_kept(tmp_path):
    fabric = Fabric(accelerator="cpu", devices=1)
    state, other = fresh(fabric), fresh(fabric)
    plain = fabric._precision
    fabric._precision = Scaler(scale=512.0)
    state.save(tmp_path / "c.safetensors", fabric)
    fabric._precision = resumed = Scaler(scale=65536.0)
    other.restore(tmp_path / "c.safetensors", fabric)
    assert resumed.loaded == Scaler(512.0).state_dict()

    fabric._precision = plain  # a checkpoint without a scaler, as of fp32 or of an earlier version
    state.save(tmp_path / "plain.safetensors", fabric)
    fabric._precision = untouched = Scaler(scale=65536.0)
    other.restore(tmp_path / "plain.safetensors", fabric)
    assert untouched.scale == 65536.0
