"""The training loop, all of it visible; it knows batches, losses and steps, and no paper."""

from __future__ import annotations

import math
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from noref.errors import OptionError
from noref.scoring.progress import progress
from noref.train.optim import set_lr
from noref.train.state import State

Step = Callable[[nn.Module, Any], Mapping[str, Tensor]]  # network, batch -> "loss" and what else is to be logged
Report = Callable[[int, Mapping[str, float]], None]  # step number, values
Hook = Callable[[State], None]
CHECK_EVERY = 20  # optimiser steps between checks that the loss is finite: reading it makes the GPU wait


@dataclass(frozen=True)
class Loaders:
    """Where batches come from.

    `rest` gives the batches of an epoch without the first n, for a run that goes on in its middle; without it they are
    made and thrown away.
    """

    train: Callable[[int], Iterable[Any]]  # epoch number -> its batches on the CPU, the same whenever it is asked
    batches: int  # how many those are; a last epoch that is cut short gives fewer
    validate: Callable[[State], Mapping[str, float]] | None = None  # the run after an epoch -> numbers for the log
    rest: Callable[[int, int], Iterable[Any]] | None = None

    def left(self, epoch: int, done: int) -> Iterable[Any]:
        """The batches of an epoch after the first `done`."""
        if done and self.rest is not None:
            return self.rest(epoch, done)
        return islice(self.train(epoch), done, None)

    def through(self, change: Callable[[int, Callable[[], Iterable[Any]]], Iterable[Any]]) -> Loaders:
        """Loaders of what `change` makes of an epoch's batches: it gets the epoch and a call that gives them."""
        return replace(
            self,
            train=lambda epoch: change(epoch, lambda: self.train(epoch)),
            rest=lambda epoch, done: change(epoch, lambda: self.left(epoch, done)),
        )


@dataclass(frozen=True)
class Schedule:
    """How long and how fast."""

    epochs: int  # in all, those before an interruption included
    lr: Callable[[float], float]  # epochs done, as a fraction within an epoch -> learning rate
    clip: float | None = None  # the largest norm of a gradient; None: no limit
    accumulate: int = 1  # batches whose gradients make one optimiser step
    save_every: int = 0  # optimiser steps between saves in the middle of an epoch; 0: none but on Ctrl-C


def fit(
    step: Step,
    loaders: Loaders,
    state: State,
    fabric: Fabric,
    *,
    schedule: Schedule,
    before_epoch: Hook = lambda state: None,
    after_step: Hook = lambda state: None,
    after_epoch: Hook = lambda state: None,
    save: Hook | None = None,
    report: Report = lambda step, values: None,
) -> State:
    """Train from where `state` is to the last epoch.

    Args:
        step: forward pass and loss on one batch, already on the device.
        loaders: batches and validation.
        state: changed in place; fresh, or restored; it holds what the fabric's `setup` returned.
        fabric: device, precision and processes.
        schedule: epochs, learning rate, clipping, accumulation.
        before_epoch: called before the first batch of an epoch, and not where one is resumed in its middle: what it
            finds out belongs into `state.extras`.
        after_step: called after each optimiser step, for a teacher that follows.
        after_epoch: called after each epoch with its row in `state.log`: the place to save.
        save: called in the middle of epochs, every `schedule.save_every` steps and once on Ctrl-C, which then waits for
            the end of the step; a second Ctrl-C waits for nothing. None: only `after_epoch` saves.
        report: gets values while an epoch runs.

    Returns:
        `state`.

    Raises:
        OptionError: the loss is no number any more; the state of the last save stays on the disk.
        KeyboardInterrupt: on Ctrl-C, as ever.
    """
    begun = state.epoch * loaders.batches + state.done
    with _progress(fabric, schedule.epochs * loaders.batches, begun) as show, _pauses(save, schedule, fabric) as pause:
        while state.epoch < schedule.epochs:
            if state.done == 0:
                before_epoch(state)
            row = _epoch(step, loaders, state, fabric, schedule, (after_step, pause), report, show)
            state.epoch, state.done, state.sums = state.epoch + 1, 0, {}
            if loaders.validate is not None:
                row |= loaders.validate(state)
            state.log.append({"epoch": state.epoch, **row})
            report(state.step, row)
            after_epoch(state)
            show(0, _words(state.log[-1]), True)  # said only once it is saved
    return state


def _epoch(
    step: Step,
    loaders: Loaders,
    state: State,
    fabric: Fabric,
    schedule: Schedule,
    hooks: tuple[Hook, ...],
    report: Report,
    show: Callable[[int, str, bool], None],
) -> dict[str, float]:
    """What is left of one pass over the batches; the mean of every value that `step` gave in all of it."""
    state.network.train()
    updates, count = math.ceil(loaders.batches / schedule.accumulate), state.done - 1
    for count, batch in enumerate(loaders.left(state.epoch, state.done), state.done):
        group, place = divmod(count, schedule.accumulate)
        size = min(schedule.accumulate, loaders.batches - group * schedule.accumulate)  # the last group may be smaller
        ready = place == size - 1
        with fabric.no_backward_sync(state.network, enabled=not ready):  # type: ignore[arg-type]
            values = step(state.network, fabric.to_device(batch))
            fabric.backward(values["loss"] / size)
        for name, value in values.items():
            state.sums[name] = state.sums.get(name, torch.zeros((), device=value.device)) + value.detach()
        if ready:
            lr = schedule.lr(state.epoch + group / updates)
            _update(state, fabric, lr, schedule.clip)
            state.done = count + 1
            if state.step % CHECK_EVERY == 0:
                report(state.step, {"loss": _finite(values["loss"].detach(), state.step), "lr": lr})
            for hook in hooks:
                hook(state)
        show(1, f"epoch {state.epoch + 1}", False)
    means = {name: fabric.all_reduce(total / (count + 1), reduce_op="mean") for name, total in state.sums.items()}
    return {name: _finite(mean, state.step) for name, mean in means.items()}


@contextmanager
def _pauses(save: Hook | None, schedule: Schedule, fabric: Fabric) -> Iterator[Hook]:
    """What is called between steps: it saves when the time has come, and lets Ctrl-C through once all is saved.

    Several processes get a Ctrl-C at different steps, so with them it stops at once, as it does without `save`.
    """
    asked = threading.Event()
    waits = save is not None and fabric.world_size == 1 and threading.current_thread() is threading.main_thread()
    waits = waits and signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def ask(number: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        asked.set()

    def pause(state: State) -> None:
        due = schedule.save_every > 0 and state.step % schedule.save_every == 0
        if save is not None and (due or asked.is_set()):
            for value in state.sums.values():
                _finite(value, state.step)
            save(state)
        if asked.is_set():
            raise KeyboardInterrupt

    if waits:
        signal.signal(signal.SIGINT, ask)
    try:
        yield pause
        if asked.is_set():
            raise KeyboardInterrupt
    finally:
        if waits:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _update(state: State, fabric: Fabric, lr: float, clip: float | None) -> None:
    set_lr(state.optimizer, lr)
    if clip is not None:
        fabric.clip_gradients(state.network, state.optimizer, max_norm=clip, error_if_nonfinite=False)
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    state.step += 1


def _finite(value: Any, step: int) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise OptionError(f"the loss is {number} at step {step}: lower the learning rate, or clip the gradient")
    return number


def _words(row: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in row.items())


@contextmanager
def _progress(fabric: Fabric, total: int, done: int) -> Iterator[Callable[[int, str, bool], None]]:
    """The progress of all batches, and a line an epoch, on stderr; nothing from processes other than the first."""
    first = fabric.is_global_zero
    with progress(total if first else 0, sys.stderr, title="training", unit="batches", done=done) as advance:

        def show(count: int, words: str, keep: bool) -> None:
            if keep and first:
                print(words, file=sys.stderr, flush=True)
            elif not keep:
                advance(count, title=words)

        yield show


@torch.inference_mode()
def predict(network: nn.Module, batches: Iterable[Any], count: int, fabric: Fabric) -> Tensor:
    """The network's score of every image: the mean over its crops, in full precision.

    Args:
        network: (B, 3, S, S) -> (B,) quality; bare, on the fabric's device.
        batches: of `noref.data.loading.Batch`; with several processes, each brings its own share of the images.
        count: M, how many images there are in all.

    Returns:
        (M,) float64 on the CPU, at each image's `index`, about [0, 1], higher is better; the same in every process.
    """
    was_training = network.training
    network.eval()
    scores = torch.zeros(count, dtype=torch.float64, device=fabric.device)
    for batch in batches:
        crops, _, index = fabric.to_device(batch)
        flat = network(crops.flatten(0, 1))  # (N * C,)
        scores[index] = flat.view(crops.shape[:2]).double().mean(dim=1)
    network.train(was_training)
    return cast(Tensor, fabric.all_reduce(scores, reduce_op="sum")).cpu()
