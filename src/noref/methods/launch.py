"""From the words of a command line to a running recipe. Behind `noref train`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.console import Console

from noref.data.check import shortfall
from noref.data.readers import missing
from noref.errors import NorefError, OptionError
from noref.methods import page
from noref.train.options import Option, build, options_of, read_yaml
from noref.train.run_folder import open_run, read_data, read_run, resumed_config


def recipe_options(name: str) -> list[Option]:
    """Every option of a recipe, for help.

    Raises:
        OptionError: no such recipe.
    """
    return options_of(page(name).Config)


def train(
    recipe: str,
    *,
    data: str | None,
    out: str,
    config: str | None = None,
    options: Mapping[str, tuple[Any, str]] | None = None,
    resume: bool = False,
) -> dict[str, Any]:
    """Train a recipe on a data set and keep the run in a folder.

    Args:
        recipe: its name.
        data: `NAME=PATH`; a resumed run knows its own.
        out: the run's folder; new, or one to resume.
        config: a YAML file of the recipe's options.
        options: more of them, as `noref.train.options.given_pairs` returns; they win over the file.
        resume: go on with the run in `out`, from its last epoch.

    Returns:
        The figures on the test part; nothing in processes other than the first.

    Raises:
        OptionError: a name or value that cannot be.
        DataError: what is wrong with the data set or the config file.
        ImageError: an image that cannot be read.
        ModelError: weights or a checkpoint that cannot be used.
    """
    module = page(recipe)
    run = open_run(Path(out), resume=resume)
    given = {**(read_config(Path(config)) if config else {}), **(options or {})}
    if resume:
        chosen = resumed_config(run.folder, module.Config, recipe, given)
        data = data or str(read_run(run.folder)[0]["data"])
    else:
        chosen = build(module.Config, given)
    if data is None:
        raise OptionError("a new run needs --data NAME=PATH")
    found = read_data(data, photos=getattr(module, "PHOTOS", False))
    rated = found.name != "photos"
    if rated and (lacking := shortfall(found.name, len(found.records), len(missing(found.name, Path(found.path))))):
        Console(stderr=True, soft_wrap=True).print(f"{found.name}: {lacking}", highlight=False)
    fabric = make_fabric(chosen.accelerator, chosen.devices, chosen.precision)
    run = dataclasses.replace(run, writes=fabric.is_global_zero)
    run.begin(recipe, found, chosen)
    try:
        results: dict[str, Any] = module.train(chosen, found, run, fabric)
    except NorefError:
        run.abandon()
        raise
    return results if run.writes else {}


def make_fabric(accelerator: str = "auto", devices: str = "auto", precision: str = "auto") -> Fabric:
    """Device, processes and precision, launched: with several devices this starts the other processes.

    Args:
        accelerator: "cpu", "cuda", or "auto".
        devices: how many, or "auto": all there are.
        precision: Fabric's names; "auto" is bf16-mixed on a GPU that has it, else 32-true.

    Raises:
        OptionError: what this machine does not have.
    """
    gpu = accelerator in ("auto", "cuda", "gpu") and torch.cuda.is_available()
    if precision == "auto":
        precision = "bf16-mixed" if gpu and torch.cuda.is_bf16_supported() else "32-true"
    count: Any = int(devices) if devices.isdecimal() else devices
    try:
        fabric = Fabric(accelerator=accelerator, devices=count, precision=precision)  # type: ignore[arg-type]
        fabric.launch()
    except (ValueError, RuntimeError, TypeError) as error:
        raise OptionError(f"accelerator {accelerator}, devices {devices}, precision {precision}: {error}") from error
    return fabric


def read_config(path: Path) -> dict[str, tuple[Any, str]]:
    """The options in a config file; one copied from a run also names recipe and data, which the call says.

    Raises:
        DataError: missing, unreadable, or not such a file; names file and line.
    """
    return {key: value for key, value in read_yaml(path).items() if key not in ("recipe", "data")}
