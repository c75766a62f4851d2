"""From the words of a command line to a method that trains. Behind `noref train`."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from noref.data.check import shortfall
from noref.errors import NorefError, OptionError
from noref.methods import page
from noref.train.options import Given, Option, build, convert, options_of, read_yaml
from noref.train.run_folder import open_run, read_data, read_run, resumed_config
from noref.train.setup import make_fabric


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
    table: Mapping[str, Any] | None = None,
    config: str | None = None,
    options: Mapping[str, tuple[Any, str]] | None = None,
    resume: bool = False,
    cautioned: bool = False,
) -> dict[str, Any]:
    """Train a recipe on a data set and keep the run in a folder.

    Args:
        recipe: its name.
        data: `NAME=PATH`; a resumed run knows its own.
        out: the run's folder; new, or one to resume.
        table: what is said of a csv, as `noref.data.own_csv.options` gives it; a resumed run knows that too.
        config: a YAML file of the recipe's options.
        options: more of them, as `noref.train.options.given_pairs` returns; they win over the file.
        resume: go on with the run in `out`, from its last epoch.
        cautioned: the caller has said already what is taken for granted in reading the data.

    Returns:
        The metrics on the test part; nothing in processes other than the first.

    Raises:
        OptionError: an unknown name, or a value that makes no sense.
        DataError: what is wrong with the data set or the config file.
        ImageError: an unreadable image; names the file.
        ModelError: weights or a checkpoint that are broken or do not fit the network.
    """
    run = open_run(Path(out), resume=resume)
    given = {**(read_config(Path(config)) if config else {}), **(options or {})}
    if resume:
        head, saved = read_run(run.folder)
        was = str(head["recipe"])
        if was not in (recipe, plug_in(recipe, saved)[0]):
            raise OptionError(f"{run.folder}: a run of {was}, not of {recipe}")
        recipe, saved = plug_in(was, saved)
        chosen = resumed_config(page(recipe).Config, saved, given)
        data, table = data or str(head["data"]), table or head["table"]
    else:
        recipe, given = plug_in(recipe, given)
        chosen = build(page(recipe).Config, given)
    module = page(recipe)
    if data is None:
        raise OptionError("a new run needs --data NAME=PATH")
    found = read_data(data, photos=getattr(module, "PHOTOS", False), table=table)
    console = Console(stderr=True, soft_wrap=True)
    if found.name != "photos" and (lacking := shortfall(found.name, Path(found.path), **found.table)):
        console.print(f"{found.name}: {lacking}", highlight=False)
    for caution in () if cautioned else found.cautions:
        console.print(f"CAUTION: {caution}", highlight=False, markup=False)
    fabric = make_fabric(chosen.accelerator, chosen.devices, chosen.precision)
    run = dataclasses.replace(run, writes=fabric.is_global_zero)
    run.begin(recipe, found, chosen)
    try:
        results: dict[str, Any] = module.train(chosen, found, run, fabric)
    except NorefError:
        run.abandon()
        raise
    return results if run.writes else {}


def configured(recipe: str, given: Given) -> Any:
    """The config of a run with these options, of the method that has them, see `plug_in`.

    Raises:
        OptionError: an unknown name, or a value that makes no sense.
    """
    recipe, given = plug_in(recipe, given)
    return build(page(recipe).Config, given)


def read_config(path: Path) -> dict[str, tuple[Any, str]]:
    """The options in a config file; one copied from a run also names recipe and data, which the call says.

    Raises:
        DataError: missing, unreadable, or not such a file; names file and line.
    """
    return {key: value for key, value in read_yaml(path).items() if key not in ("recipe", "data", "table")}


def plug_in(recipe: str, given: Given) -> tuple[str, Given]:
    """DEIQT with an option of CSIQA is CSIQA's plug-in (Table 2): `csiqa --mask none --head panel`.

    Args:
        recipe: a method's name.
        given: its options, as `given_pairs` and `read_yaml` return them.

    Returns:
        The method that has these options, and the options. Those of CSIQA that say what DEIQT does anyway, as in the
        config.yaml of old runs, are left out.
    """
    if recipe != "deiqt":
        return recipe, given
    plain, other = page("deiqt").Config, page("csiqa").Config
    hints = typing.get_type_hints(other)
    own = {field.name for field in dataclasses.fields(plain)}
    off = {field.name: field.default for field in dataclasses.fields(other) if field.name not in own}
    off |= {"contrast": "none", "mask": None}
    more = {key: value for key, (value, _) in given.items() if key in off}
    try:
        changes = [key for key, value in more.items() if convert(value, hints[key]) != off[key]]
    except (TypeError, ValueError):
        changes = list(more)  # CSIQA's page says what is wrong with the value
    if not changes:
        return recipe, {key: value for key, value in given.items() if key not in more}
    base: Given = {"contrast": ("none", ""), "mask": ("none", ""), "head": ("panel", "")}
    return "csiqa", {**base, **given}
