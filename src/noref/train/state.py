"""Everything that a training run is between two optimiser steps, in one object and one file."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from noref.errors import ModelError
from noref.models import weights as files


@dataclass
class State:
    """A run between two optimiser steps; its learning rate is a function of `epoch` and `done`."""

    network: nn.Module  # the one that learns, as `fabric.setup` returns it or bare
    optimizer: Optimizer  # over its parameters
    ema: nn.Module | None = None  # the exponential moving average of the first (see `update_ema`)
    epoch: int = 0  # epochs done
    step: int = 0  # optimiser steps done
    log: list[dict[str, float]] = field(default_factory=list)  # one row of numbers an epoch
    done: int = 0  # batches done of the epoch under way; 0 between two epochs
    sums: dict[str, Tensor] = field(default_factory=dict)  # of what these batches gave, for the epoch's row
    # what else must not be lost in the middle of an epoch, such as its salient windows; the same in every process
    extras: dict[str, Tensor] = field(default_factory=dict)

    def save(self, path: Path, fabric: Fabric) -> None:
        """Write it all, in one step: a reader sees the old file or the new one. Every process must call this.

        The file is safetensors: weights, optimiser and random generators (of all processes) as tensors, the
        rest as JSON in its header.
        """
        moments, numbers = _optimizer_out(self.optimizer)
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        if self.ema is not None:
            tensors |= {f"ema.{name}": value for name, value in self.ema.state_dict().items()}
        tensors |= {f"optimizer.{name}": value for name, value in moments.items()}
        tensors |= {f"extras.{name}": value for name, value in self.extras.items()}
        own = {f"random.{name}": value for name, value in _random_out(fabric.device).items()}
        for name, value in {**own, **{f"sums.{name}": value for name, value in self.sums.items()}}.items():
            gathered = cast(Tensor, fabric.all_gather(value.to(fabric.device)))
            tensors[name] = gathered.cpu().view(fabric.world_size, -1)
        if fabric.is_global_zero:
            rest = {"epoch": self.epoch, "step": self.step, "done": self.done, "log": self.log, "optimizer": numbers}
            rest["sums"] = list(self.sums)  # in their order, which is the log's
            rest["precision"] = fabric._precision.state_dict()  # of fp16's gradient scaler; empty without one
            files.write(path, {name: value.clone() for name, value in tensors.items()}, {"state": json.dumps(rest)})
        fabric.barrier()

    def restore(self, path: Path, fabric: Fabric) -> None:
        """Become what `save` wrote: a run that goes on from here is the run that was never interrupted.

        Raises:
            ModelError: missing, broken, of another network, or written by another number of processes.
        """
        tensors, words = files.read(path)
        try:
            rest = json.loads(words["state"])
            generators = _part(tensors, "random")
            if len(generators["torch"]) != fabric.world_size:
                raise ModelError(f"{path}: written by {len(generators['torch'])} processes, not {fabric.world_size}")
            files.fill(self.network, _part(tensors, "network"), source=path)
            if self.ema is not None:
                files.fill(self.ema, _part(tensors, "ema") or _part(tensors, "teacher"), source=path)  # its old name
            _optimizer_in(self.optimizer, _part(tensors, "optimizer"), rest["optimizer"])
            self.epoch, self.step, self.log = int(rest["epoch"]), int(rest["step"]), list(rest["log"])
            self.done, self.extras = int(rest.get("done", 0)), _part(tensors, "extras")
            sums = _part(tensors, "sums")
            own = {name: value[fabric.global_rank, 0].to(fabric.device) for name, value in sums.items()}
            self.sums = {name: own[name] for name in rest.get("sums", ())}
            if rest.get("precision"):
                fabric._precision.load_state_dict(rest["precision"])
            _random_in({name: value[fabric.global_rank] for name, value in generators.items()}, fabric.device)
        except (KeyError, ValueError, IndexError, TypeError, RuntimeError) as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(f"{path}: not a checkpoint of this run: {error}") from error


@torch.no_grad()
def update_ema(ema: nn.Module, network: nn.Module, *, decay: float) -> None:
    """Move the average towards the network: ema <- decay * ema + (1 - decay) * network.

    Buffers that are whole numbers are copied.

    Args:
        ema: changed in place.
        network: of the same shape.
        decay: in [0, 1]; 0 makes the average the network.

    Source:
        Tarvainen and Valpola 2017, https://arxiv.org/abs/1703.01780, eq. 2.
    """
    source = network.state_dict()
    for name, value in ema.state_dict().items():
        if value.is_floating_point():
            value.lerp_(source[name].to(value.dtype), 1 - decay)
        else:
            value.copy_(source[name])


def _part(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    return {name[len(part) + 1 :]: value for name, value in tensors.items() if name.startswith(f"{part}.")}


def _optimizer_out(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What an optimiser remembers of each parameter, as `number.key`: tensors, and all that is none."""
    remembered = optimizer.state_dict()["state"]
    flat = {f"{number}.{key}": value for number, entry in remembered.items() for key, value in entry.items()}
    tensors = {name: value for name, value in flat.items() if isinstance(value, Tensor)}
    return tensors, {name: value for name, value in flat.items() if not isinstance(value, Tensor)}


def _optimizer_in(optimizer: Optimizer, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
    remembered: dict[int, dict[str, Any]] = {}
    for name, value in {**tensors, **numbers}.items():
        place, _, key = name.partition(".")
        remembered.setdefault(int(place), {})[key] = value
    groups = optimizer.state_dict()["param_groups"]  # rates and decays come from the recipe, not from the file
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, entry in remembered.items():
        if "exp_avg" in entry and entry["exp_avg"].shape != parameters[number].shape:
            raise ValueError(f"the optimiser's memory of parameter {number} has another shape")
    optimizer.load_state_dict({"state": remembered, "param_groups": groups})


def _random_out(device: torch.device) -> dict[str, Tensor]:
    """The states of Python's, numpy's and torch's global generators."""
    version, words, spare = random.getstate()
    numpys: Any = np.random.get_state(legacy=True)  # noqa: NPY002 - the global one, which others may use
    _, keys, place, has_spare, cached = numpys
    states = {
        "python": torch.tensor([version, *words], dtype=torch.int64),
        "python_spare": torch.tensor([float("nan") if spare is None else spare], dtype=torch.float64),
        "numpy": torch.tensor([place, has_spare, *keys.tolist()], dtype=torch.int64),
        "numpy_spare": torch.tensor([cached], dtype=torch.float64),
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _random_in(states: dict[str, Tensor], device: torch.device) -> None:
    version, *words = states["python"].tolist()
    spare = states["python_spare"].item()
    random.setstate((version, tuple(words), None if spare != spare else spare))
    place, has_spare, *keys = states["numpy"].tolist()
    cached = states["numpy_spare"].item()
    np.random.set_state(("MT19937", np.array(keys, dtype=np.uint32), place, has_spare, cached))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
