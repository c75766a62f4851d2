"""Work through the cells: claim one, train it or go on with it, test it, write its rows; the next."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from noref.bench.grid import Cell, Grid, json_options, keep_splits, split_name
from noref.bench.table import collect_predictions, done_cells, write_rows
from noref.checkout import commit
from noref.data.splits import load_split
from noref.errors import DataError, NorefError, OptionError
from noref.evaluate.metrics import metrics, outside_scale
from noref.methods import launch, page
from noref.report.run_results import describe_data, describe_split, prediction_rows
from noref.report.table import read_json
from noref.scoring.progress import duration
from noref.train.evaluate_export import evaluate
from noref.train.options import before
from noref.writing import write_text

FORMAT = 1
Say = Callable[[str], None]


@dataclass
class Outcome:
    """How far a bench is."""

    wanted: int  # cells of this call
    done: list[str] = field(default_factory=list)  # those that are done, by whatever process
    failed: dict[str, str] = field(default_factory=dict)  # cell -> why
    elsewhere: list[str] = field(default_factory=list)  # cells that another process holds


def bench(grid: Grid, out: Path, *, say: Say = lambda text: None) -> Outcome:
    """Train and test every cell that is not done yet. Call it again, or elsewhere at the same time, to go on.

    A later call on the same folder may ask for more repeats, variants or data sets. `say` gets a line for each cell.

    Raises:
        OptionError: what cannot work, such as a fraction that leaves nothing, or a folder of other options.
        DataError: what is wrong with the data, or splits that are not those in the folder.
    """
    grid.check()
    splits = {name: grid.protocol.splits(data.records) for name, data in grid.data.items()}
    facts = _facts(grid)
    grid = _open(grid, out, facts)
    for name, data in grid.data.items():
        keep_splits(name, data, grid.protocol, splits[name], out / "splits")
    cells = list(grid.cells({name: len(own) for name, own in splits.items()}))
    outcome, took = Outcome(len(cells)), list[float]()
    for cell in cells:
        try:
            with FileLock(out / "claims" / f"{cell.folder.replace('/', '~')}.lock").acquire(blocking=False):
                to_do = not (out / cell.folder / "cell.json").exists()
                if to_do:
                    took.append(_run_cell(grid, cell, out))
                outcome.done.append(cell.folder)
        except Timeout:
            outcome.elsewhere.append(cell.folder)
            continue
        except NorefError as error:  # the other cells go on
            outcome.failed[cell.folder] = str(error)
            say(f"FAILED {cell.folder}: {error}")
        else:
            left = len(cells) - len(outcome.done) - len(outcome.failed) - len(outcome.elsewhere)
            ahead = f"; about {duration(left * sum(took) / len(took))} to go" if took and left else ""
            say(f"[{len(outcome.done)}/{len(cells)}] {_cell_line(out, cell)}{ahead}")
        if to_do:
            _update(grid, out, facts, outcome)
    _update(grid, out, facts, outcome)
    outcome.elsewhere = [name for name in outcome.elsewhere if not (out / name / "cell.json").exists()]
    return outcome


def _cell_line(out: Path, cell: Cell) -> str:
    """A finished cell for people."""
    found = read_json(out / cell.folder / "cell.json")
    parts = [f"{name} SRCC {own['srcc']:.4f} PLCC {own['plcc']:.4f}" for name, own in found["figures"].items()]
    leaving = [f"; {name}: {sentence}" for name, sentence in found.get("outside_scale", {}).items()]
    return f"{cell.folder.removeprefix('runs/')}: {', '.join(parts)}{''.join(leaving)}"


def _open(grid: Grid, out: Path, facts: Mapping[str, Any]) -> Grid:
    """Make the folder and say in `bench.json` what it holds, or check that it holds a bench of the same options.

    Gives the grid. Of a bench that was begun before an option was there, all cells are trained as the first ones were.
    """
    if (out / "bench.json").exists():
        try:
            earlier, other = read_json(out / "bench.json"), f"{out}: holds a bench of"
        except DataError as error:
            raise OptionError(f"{error}: not of a bench; choose another --out") from error
        common = {**before(page(grid.recipe).Config, grid.common, earlier.get("options", {})), **grid.common}
        grid = replace(grid, common=common)
        now = grid.options()
        if earlier.get("recipe") != grid.recipe:
            raise OptionError(f"{other} {earlier.get('recipe')}, not {grid.recipe}; choose another --out")
        held = {**_options_of(grid, earlier), **(earlier.get("division") or {})}
        wanted = {**now["options"], **_division(grid)}
        for name in dict.fromkeys([*wanted, *held]):
            if held.get(name) != wanted.get(name):
                raise OptionError(f"{other} {name} {held.get(name)}, not {wanted.get(name)}; choose another --out")
        for name in now["variants"].keys() & earlier.get("variants", {}).keys():
            if _options_of(grid, earlier, name) != _options_of(grid, now, name):
                raise OptionError(f"{out}: its variant {name!r} has other options; choose another --out")
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OptionError(f"{out}: not an empty folder, and no bench")
    (out / "claims").mkdir(parents=True, exist_ok=True)
    _update(grid, out, facts, Outcome(0))
    return grid


def _options_of(grid: Grid, content: Mapping[str, Any], variant: str | None = None) -> dict[str, Any]:
    """The options in the content of a `bench.json`, also an older one's: with today's names and new defaults."""
    own = {} if variant is None else content["variants"][variant]
    options = {**content.get("options", {}), **own}
    given = {name: (value, "bench.json: ") for name, value in options.items()}
    return json_options(launch.configured(grid.recipe, {**before(page(grid.recipe).Config, options), **given}))


def _run_cell(grid: Grid, cell: Cell, out: Path) -> float:
    """Train one cell, or go on with it, test it on every test set, and write its rows, `cell.json` last; in seconds."""
    data, folder, started = grid.data[cell.training_set], out / cell.folder, time.monotonic()
    split = out / "splits" / f"{split_name(cell.training_set, cell.split, cell.fraction)}.json"
    seed = grid.protocol.seed + cell.split + 1000 * cell.repeat
    resume = (folder / "config.yaml").exists()
    if folder.exists() and not resume:
        shutil.rmtree(folder)
    if not (folder / "results.json").exists():
        chosen = {**grid.given(cell.variant), "split": (str(split), ""), "seed": (str(seed), "")}
        where, options = f"{data.name}={data.path}", {} if resume else chosen
        launch.train(
            grid.recipe, data=where, table=data.table, out=str(folder), options=options, resume=resume, cautioned=True
        )
    config = grid.config(cell.variant)
    test_crops: Any = getattr(config, "protocol", "grid")
    selection = str(getattr(config, "select", "last"))
    shared = {"recipe": grid.recipe, "seed": seed, "protocol": test_crops, "selection": selection}
    rows, found, outside = list[dict[str, Any]](), dict[str, Any](), dict[str, str]()
    for name, tested in {cell.training_set: data, **grid.test_only}.items():
        own = name == cell.training_set
        indices = load_split(split, data.records).test if own else range(len(tested.records))
        file = folder / ("predictions.csv" if own else f"predictions-{name}.csv")
        if not file.exists():
            where = f"{tested.name}={tested.path}"
            evaluate(str(folder), data=where, table=tested.table, split="all", output=str(file), protocol=test_crops)
        head = {**asdict(cell), **shared, "cell": f"{cell.folder.removeprefix('runs/')} on {name}", "test_set": name}
        del head["repeat"]
        part = prediction_rows(file, indices, tested.records, head)
        quality, records = [float(row["quality"]) for row in part], [tested.records[index] for index in indices]
        found[name] = metrics(quality, records)
        if leaving := outside_scale(quality, records[0].scale):
            outside[name] = str(leaving)
        rows += part
    write_rows(folder / "cell.csv", rows)
    seconds = round(time.monotonic() - started, 1)
    facts = {**asdict(cell), "seed": seed, "resumed": resume, "seconds": seconds, "figures": found}
    write_text(folder / "cell.json", json.dumps({**facts, "outside_scale": outside}, indent=2) + "\n")
    return seconds


def _facts(grid: Grid) -> dict[str, Any]:
    """What `bench.json` says of program, machine and data sets; found once, as it reads the tables of all sets."""
    gpu = f", {torch.cuda.device_count()} x {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    machine = f"{platform.machine()} {platform.system()}, {os.cpu_count()} CPU cores{gpu}, torch {torch.__version__}"
    data = {name: describe_data(own) for name, own in {**grid.data, **grid.test_only}.items()}
    return {"noref": version("noref"), "commit": commit(), "hardware": machine, "data": data}


def _update(grid: Grid, out: Path, facts: Mapping[str, Any], outcome: Outcome) -> None:
    """Bring `predictions.csv` and `bench.json` up to date, with what other processes have done and failed at."""
    with FileLock(out / "claims" / "table.lock"):
        collect_predictions(out)
        file, options = out / "bench.json", grid.options()
        earlier = read_json(file) if file.exists() else {}
        cells = {str(path.parent.relative_to(out)): read_json(path) for path in done_cells(out)}
        before = earlier.get("cells", {})
        failed = {**{row["cell"]: row["reason"] for row in before.get("failed", [])}, **outcome.failed}
        content = {
            "format": FORMAT,
            "recipe": grid.recipe,
            **{key: facts[key] for key in ("noref", "commit", "hardware")},
            "created": earlier.get("created") or datetime.now(UTC).isoformat(timespec="seconds"),
            "protocol": {"division": str(grid.protocol), "trainings of each split": grid.repeats},
            "division": _division(grid),
            "options": options["options"],
            "variants": {**earlier.get("variants", {}), **options["variants"]},
            "data": {**earlier.get("data", {}), **facts["data"]},
            "splits": [_split_entry(path) for path in sorted((out / "splits").glob("*.json"))],
            "cells": {
                "wanted": max(outcome.wanted or before.get("wanted", 0), len(cells)),
                "done": len(cells),
                "failed": [{"cell": name, "reason": why} for name, why in failed.items() if name not in cells],
            },
            "seconds": {name.removeprefix("runs/"): cell["seconds"] for name, cell in cells.items()},
        }
        write_text(file, json.dumps(content, indent=2) + "\n")


def _split_entry(path: Path) -> dict[str, Any]:
    label, _, rest = path.stem.rpartition("-split")
    number, file = int(rest.split("-")[0]), f"splits/{path.name}"
    return {"split": number, "training_set": label, "file": file, **describe_split(path)}


def _division(grid: Grid) -> dict[str, Any]:
    """What must be the same in every call on one folder."""
    protocol = grid.protocol
    shares = {"test": protocol.test, "validation": protocol.validation} if protocol.kind == "random" else {}
    return {"kind": protocol.kind, **shares, "seed": protocol.seed, "paper selection": grid.paper_selection}
