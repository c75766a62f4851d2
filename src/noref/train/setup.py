"""What every recipe does around its training on rated crops: split, size rule, resuming, watching, keeping."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal, Protocol

from lightning_fabric import Fabric

from noref.card import Preprocessing
from noref.data.splits import Split
from noref.errors import OptionError
from noref.models.network import QualityNet
from noref.train.evaluator import Judge, check_readable, keep_best
from noref.train.loop import Loaders
from noref.train.run_folder import DataSet, Run, Splitting, choose_split
from noref.train.state import State

CHECKPOINT = "checkpoint.safetensors"


class Options(Splitting, Protocol):
    """The options of a config that decide all this; `noref.methods.deiqt.Config` says what they mean."""

    @property
    def crop(self) -> int:
        """Side of the crops."""

    @property
    def max_pixels(self) -> int | None:
        """Larger images are shrunk."""

    @property
    def protocol(self) -> Literal["grid", "paper"]:
        """Crops at test."""

    @property
    def select(self) -> Literal["last", "validation", "test"]:
        """The epoch that becomes the model."""

    @property
    def batch(self) -> int:
        """Crops in an optimiser step."""

    @property
    def accumulate(self) -> int:
        """Parts that a batch is worked through in."""

    @property
    def workers(self) -> int:
        """Processes that decode."""


def prepare(config: Options, data: DataSet, run: Run) -> tuple[Split, Preprocessing]:
    """The split, and how images are brought to size; every image that judges was decoded once to see that it can be.

    Raises:
        OptionError: an epoch is to be chosen on a part that is empty.
        DataError: too few images for the split, or a split of other images.
        ImageError: an image cannot be read; names the file.
    """
    split = choose_split(config, data.records, run)
    if config.select == "validation" and not split.validation:
        raise OptionError("select validation needs a validation part: give --validation a share")
    rule = Preprocessing(max_pixels=config.max_pixels, min_side=config.crop, crop=config.crop)
    if not run.resumed:
        check_readable([data.records[index] for index in (*split.validation, *split.test)], rule)
    return split, rule


def images_in_batch(config: Options, fabric: Fabric, *, crops: int, called: str) -> int:
    """How many images a process has in one part of a batch.

    Args:
        config: its `batch` counts crops, over all processes and parts.
        fabric: how many processes there are.
        crops: of an image that come together.
        called: the option that says how many those are, for the message.

    Raises:
        OptionError: the batch does not divide.
    """
    share = crops * fabric.world_size * config.accumulate
    if config.batch < 1 or config.batch % share:
        parts = f"{called} {crops} x {fabric.world_size} processes x accumulate {config.accumulate}"
        raise OptionError(f"batch {config.batch} must divide by {parts}")
    return config.batch // share


def resumed(state: State, run: Run, fabric: Fabric) -> State:
    """The same state, as the run's checkpoint left it where there is one."""
    if run.resumed and run.file(CHECKPOINT).exists():
        state.restore(run.file(CHECKPOINT), fabric)
    return state


def watched(
    loaders: Loaders,
    config: Options,
    data: DataSet,
    split: Split,
    rule: Preprocessing,
    fabric: Fabric,
    *,
    network: Callable[[State], QualityNet],
) -> Loaders:
    """The same batches, with a figure after each epoch on the part that chooses it, if there is one."""
    choosing = split.test if config.select == "test" else split.validation
    if not choosing:
        return loaders
    held_out = [data.records[index] for index in choosing]
    judge = Judge(held_out, preprocessing=rule, protocol=config.protocol, workers=config.workers, fabric=fabric)
    name, follows = ("test_plcc", judge.plcc) if config.select == "test" else ("validation_srcc", judge.srcc)
    return dataclasses.replace(loaders, validate=lambda state: {name: follows(network(state))})


def keeper(run: Run, fabric: Fabric, *, network: Callable[[State], QualityNet]) -> Callable[[State], None]:
    """What is kept after an epoch: the best weights so far, the log, the checkpoint."""

    def keep(state: State) -> None:
        keep_best(network(state), state, run)
        run.write_table("log.csv", state.log)
        state.save(run.file(CHECKPOINT), fabric)

    return keep
