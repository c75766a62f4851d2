from __future__ import annotations

import copy
import math
import os
import signal

import pytest
import torch
from torch import nn

from noref.errors import OptionError
from noref.train.loop import Loaders, Schedule, fit, predict
from noref.train.state import State


def data(epoch, batches=5):
    generator = torch.Generator().manual_seed(epoch)
    return [(torch.randn(4, 3, generator=generator), torch.randn(4, generator=generator)) for _ in range(batches)]


def squared(network, batch):
    return {"loss": (network(batch[0])[:, 0] - batch[1]).square().mean()}


def fresh(fabric, lr=0.1, optimizer=torch.optim.SGD):
    torch.manual_seed(0)
    network = nn.Linear(3, 1)
    return State(*fabric.setup(network, optimizer(network.parameters(), lr=lr)))


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.network.parameters(), second.network.parameters(), strict=True))


def test_plain_steps_are_those_of_a_plain_loop(fabric):
    state = fresh(fabric)
    network = copy.deepcopy(state.network.module)
    fit(squared, Loaders(data, 5), state, fabric, schedule=Schedule(2, lr=lambda epoch: 0.1 / (1 + epoch)))
    losses = []
    for epoch in range(2):
        for place, batch in enumerate(data(epoch)):
            loss = squared(network, batch)["loss"]
            losses.append(loss.item())
            gradients = torch.autograd.grad(loss, list(network.parameters()))
            with torch.no_grad():
                for parameter, gradient in zip(network.parameters(), gradients, strict=True):
                    parameter -= 0.1 / (1 + epoch + place / 5) * gradient
    for ours, expected in zip(state.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(ours, expected)
    assert [row["loss"] for row in state.log] == pytest.approx([sum(losses[:5]) / 5, sum(losses[5:]) / 5])
    assert (state.epoch, state.step) == (2, 10)


@pytest.mark.parametrize("batches", [4, 5])
def test_accumulated_batches_are_one_large_batch(fabric, batches):
    pieces = data(0, batches)
    state, whole = fresh(fabric), fresh(fabric)
    fit(
        squared, Loaders(lambda _: pieces, batches), state, fabric, schedule=Schedule(1, lr=lambda _: 0.1, accumulate=2)
    )
    joined = [
        tuple(torch.cat(parts) for parts in zip(*pieces[at : at + 2], strict=True)) for at in range(0, batches, 2)
    ]
    fit(squared, Loaders(lambda _: joined, len(joined)), whole, fabric, schedule=Schedule(1, lr=lambda _: 0.1))
    for ours, expected in zip(state.network.parameters(), whole.network.parameters(), strict=True):
        torch.testing.assert_close(ours, expected)
    assert state.step == whole.step == math.ceil(batches / 2)


def test_clipping_bounds_the_step(fabric):
    state = fresh(fabric)
    before = [parameter.detach().clone() for parameter in state.network.parameters()]
    fit(squared, Loaders(lambda _: data(0, 1), 1), state, fabric, schedule=Schedule(1, lr=lambda _: 2.0, clip=1e-3))
    moved = torch.cat([(b - a).flatten() for a, b in zip(before, state.network.parameters(), strict=True)])
    assert moved.norm().item() == pytest.approx(2e-3, rel=1e-3)


def test_hooks_are_called_in_their_places(fabric):
    calls = []
    fit(
        squared,
        Loaders(data, 5, validate=lambda state: calls.append(("validate", state.epoch)) or {"srcc": 0.5}),
        fresh(fabric),
        fabric,
        schedule=Schedule(2, lr=lambda _: 0.1, accumulate=3),
        after_step=lambda state: calls.append(("step", state.step)),
        after_epoch=lambda state: calls.append(("epoch", len(state.log), state.log[-1]["srcc"])),
    )
    first = [("step", 1), ("step", 2), ("validate", 1), ("epoch", 1, 0.5)]
    assert calls == [*first, ("step", 3), ("step", 4), ("validate", 2), ("epoch", 2, 0.5)]


class KilledError(Exception):
    pass


def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path, fabric):
    """AdamW and dropout; killed in the middle of the third epoch, resumed from the end of the second."""
    path = tmp_path / "c.safetensors"

    def start():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.3), nn.Linear(8, 1))
        return State(*fabric.setup(network, torch.optim.AdamW(network.parameters(), lr=0.1)))

    def run(state, kill=None):
        def dying(epoch):
            for place, batch in enumerate(data(epoch)):
                if (epoch, place) == kill:
                    raise KilledError
                yield batch

        schedule = Schedule(4, lr=lambda epoch: 0.1 / (1 + epoch), clip=1.0)
        return fit(
            squared, Loaders(dying, 5), state, fabric, schedule=schedule, after_epoch=lambda s: s.save(path, fabric)
        )

    unbroken = run(start())
    with pytest.raises(KilledError):
        run(start(), kill=(2, 3))
    torch.manual_seed(1234)
    resumed = start()
    resumed.restore(path, fabric)
    assert resumed.epoch == 2
    run(resumed)
    assert resumed.log == unbroken.log  # bit for bit
    assert same(resumed, unbroken)


def steps_of(state, fabric, path, *, every=0, accumulate=1, kill=None, interrupt=None, calls=None):
    """Four epochs of five batches; each epoch begins by drawing what it multiplies its targets with."""

    def before(state):
        calls.append(state.epoch) if calls is not None else None
        state.extras = {"factor": torch.rand(3)}

    def dying(epoch, start=0):
        for place, batch in enumerate(data(epoch)[start:], start):
            if (epoch, place) == kill:
                raise KilledError
            yield batch

    def step(network, batch):
        if (state.epoch, state.done) == interrupt:
            os.kill(os.getpid(), signal.SIGINT)
        loss = (network(batch[0])[:, 0] - batch[1] * state.extras["factor"].sum()).square().mean()
        return {"loss": loss, "twice": 2 * loss}

    schedule = Schedule(4, lr=lambda epoch: 0.1 / (1 + epoch), clip=1.0, accumulate=accumulate, save_every=every)
    save = lambda s: s.save(path, fabric)  # noqa: E731
    return fit(
        step,
        Loaders(dying, 5, rest=dying),
        state,
        fabric,
        schedule=schedule,
        before_epoch=before,
        after_epoch=save,
        save=save,
    )


def dropping(fabric):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.3), nn.Linear(8, 1))
    return State(*fabric.setup(network, torch.optim.AdamW(network.parameters(), lr=0.1)))


@pytest.mark.parametrize(
    ("accumulate", "every", "kill", "step", "done"),
    [(1, 3, (2, 3), 12, 2), (1, 1, (2, 0), 10, 0), (2, 2, (1, 3), 4, 2), (2, 3, (0, 4), 0, None)],
)
def test_a_run_killed_in_the_middle_of_an_epoch_goes_on_there(tmp_path, fabric, accumulate, every, kill, step, done):
    """What the epoch began with, its sums and its random numbers are those of the unbroken run, bit for bit."""
    path = tmp_path / "c.safetensors"
    unbroken = steps_of(dropping(fabric), fabric, tmp_path / "other.safetensors", accumulate=accumulate)
    with pytest.raises(KilledError):
        steps_of(dropping(fabric), fabric, path, every=every, accumulate=accumulate, kill=kill)
    if done is None:
        assert not path.exists()
        return
    torch.manual_seed(1234)
    resumed, calls = dropping(fabric), []
    resumed.restore(path, fabric)
    assert (resumed.step, resumed.done) == (step, done)
    steps_of(resumed, fabric, path, accumulate=accumulate, calls=calls)
    assert calls == list(range(kill[0] + (done > 0), 4))  # an epoch that had begun does not begin again
    assert resumed.log == unbroken.log
    assert same(resumed, unbroken)


def test_batches_are_thrown_away_where_nobody_can_leave_them_out():
    loaders = Loaders(lambda epoch: iter(range(5)), 5)
    assert list(loaders.left(0, 3)) == [3, 4]
    assert list(loaders.left(0, 5)) == []


def test_an_interrupted_run_saves_at_the_end_of_the_step(tmp_path, fabric):
    path = tmp_path / "c.safetensors"
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        unbroken = steps_of(dropping(fabric), fabric, tmp_path / "other.safetensors")
        with pytest.raises(KeyboardInterrupt):
            steps_of(dropping(fabric), fabric, path, interrupt=(1, 2))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    resumed = dropping(fabric)
    resumed.restore(path, fabric)
    assert (resumed.epoch, resumed.done) == (1, 3)
    assert same(steps_of(resumed, fabric, path), unbroken)


def test_a_state_that_is_no_number_is_not_saved_in_mid_epoch(fabric):
    saved = []
    with pytest.raises(OptionError, match=r"loss is (nan|inf)"):
        fit(
            squared,
            Loaders(lambda _: data(0, 15), 15),
            fresh(fabric),
            fabric,
            schedule=Schedule(1, lr=lambda _: 1e30, save_every=8),
            save=saved.append,
        )
    assert not saved


def test_a_run_that_is_done_does_nothing(fabric):
    state = fresh(fabric)
    state.epoch = 3
    assert fit(squared, Loaders(data, 5), state, fabric, schedule=Schedule(3, lr=lambda _: 0.1)).step == 0


def test_a_loss_that_is_no_number_stops_the_run_before_it_is_saved(fabric):
    saved = []
    with pytest.raises(OptionError, match=r"loss is (nan|inf)"):
        fit(
            squared,
            Loaders(data, 5),
            fresh(fabric),
            fabric,
            schedule=Schedule(9, lr=lambda _: 1e30),
            after_epoch=saved.append,
        )
    assert not saved


def test_nothing_is_drawn_where_there_is_no_terminal(fabric, capsys):
    fit(squared, Loaders(data, 5), fresh(fabric), fabric, schedule=Schedule(2, lr=lambda _: 0.1))
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split()[:3:2] for line in err.splitlines()] == [["epoch", "loss"], ["epoch", "loss"]]


def test_predict_averages_an_images_crops(fabric):
    class Mean(nn.Module):
        def forward(self, images):
            return images.float().mean(dim=(1, 2, 3))

    crops = torch.randint(0, 256, (3, 4, 3, 8, 8), dtype=torch.uint8)
    batches = [(crops[[2, 0]], torch.zeros(2), torch.tensor([2, 0])), (crops[[1]], torch.zeros(1), torch.tensor([1]))]
    network = Mean().train()
    found = predict(network, batches, 3, fabric)
    torch.testing.assert_close(found, crops.double().mean(dim=(1, 2, 3, 4)), rtol=1e-5, atol=0)
    assert network.training
