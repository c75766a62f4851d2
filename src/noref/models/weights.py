"""Tensors in safetensors files beside their cards: found, checked, loaded. Nothing is ever unpickled."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as pack
from torch import Tensor, nn

from noref.card import Card, digest, read_card
from noref.errors import ModelError, OptionError
from noref.writing import replacing

Built = TypeVar("Built", bound=nn.Module)

ENCODER = "arniqa encoder"  # the kind in the header of such a file
# zero in files without them: a counter that some exporters drop and no batch norm here uses; a head's offset, in files
# from before heads had one
OPTIONAL = ("num_batches_tracked", "head.offset")


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A safetensors file's tensors, on the CPU, and its header; a `ModelError` if it cannot be read."""
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118


def read_plan(path: Path) -> dict[str, Any]:
    """The numbers that a saved network is built from, without its tensors; empty in other files; errors as `read`."""
    with _opened(path) as file:
        return plan_in(file.metadata() or {})


def plan_in(header: Mapping[str, str]) -> dict[str, Any]:
    """The same from a header."""
    with suppress(ValueError):
        found = json.loads(header.get("network", ""))
        return found if isinstance(found, dict) else {}
    return {}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}") from error
    except SafetensorError as error:
        raise ModelError(f"{path}: not a safetensors file: {error}") from error


def write(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    """Write a safetensors file whole or not at all."""
    content = pack({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, dict(header))
    with replacing(path) as partial, partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def fill(module: nn.Module, tensors: Mapping[str, Tensor], *, source: Path, skip: tuple[str, ...] = ()) -> None:
    """Overwrite a module's parameters and buffers, all of them, with tensors that have the same names.

    Args:
        module: unchanged if anything does not fit.
        tensors: by name.
        source: their file, for messages.
        skip: beginnings of names to leave out, such as "classifier.".

    Raises:
        ModelError: a tensor that is missing, unknown or of another shape; it is named.
    """
    given = {name: tensor for name, tensor in tensors.items() if not name.startswith(skip)}
    wanted = module.state_dict()
    for name, tensor in wanted.items():
        if name not in given:
            if name.endswith(OPTIONAL):
                given[name] = torch.zeros_like(tensor)
                continue
            raise ModelError(f"{source}: tensor {name!r} is missing")
        if given[name].shape != tensor.shape:
            found, right = tuple(given[name].shape), tuple(tensor.shape)
            raise ModelError(f"{source}: tensor {name!r} has shape {found}, the network needs {right}")
    if left := sorted(given.keys() - wanted.keys()):
        raise ModelError(f"{source}: tensor {left[0]!r} and {len(left) - 1} more are not in the network")
    module.load_state_dict(given, strict=False)


def save(module: nn.Module, path: Path, card: Card, *, network: Mapping[str, Any]) -> Card:
    """Write a network's weights to `*.safetensors` with its plan, `network`, in the header; the card as written beside.

    The plan holds what `load` needs to build the network again.
    """
    write(path, module.state_dict(), {"network": json.dumps(dict(network))})
    return card.write(path)


def load(path: Path, make: Callable[[dict[str, Any]], Built], *, kind: str | None, called: str) -> tuple[Built, Card]:
    """The network that `save` wrote, built again from the plan in its header, in evaluation mode, and its card.

    Args:
        path: the file.
        make: the plan without its kind -> the network, its weights still random.
        kind: that the plan must have; None: none.
        called: what such a network is, for messages.

    Raises:
        ModelError: no card, a card of other bytes, a file that `save` did not write or another kind of network,
            numbers that `make` cannot build from, or tensors that do not fit.
    """
    card = read_card(path)
    tensors, header = read(path)
    plan = plan_in(header)
    if not plan:
        raise ModelError(f"{path}: its header does not say what network it is")
    if plan.pop("kind", None) != kind:
        raise ModelError(f"{path}: no {called}")
    try:
        network = make(plan)
    except (OptionError, TypeError, KeyError) as error:
        raise ModelError(f"{path}: its header's plan cannot be built: {error}") from error
    fill(network, tensors, source=path)
    return network.eval(), card


def origin(weights: str, backbone: str) -> str:
    """Where a backbone's weights come from, for a card: timm's page, a file by name and checksum, or nowhere.

    Example:
        >>> origin("none", "resnet50")
        'random weights'
    """
    if weights == "none":
        return "random weights"
    if weights == "timm":
        return f"timm {backbone}, under the licence on its page"
    return f"{Path(weights).name}, sha256 {digest(Path(weights))}"
