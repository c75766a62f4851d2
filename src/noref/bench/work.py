"""Work through the cells: claim one, train it or go on with it, judge it, table it; the next."""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from noref.bench import table
from noref.bench.grid import Cell, Grid, describe_data, keep_splits
from noref.checkout import commit
from noref.data.check import shortfall
from noref.data.loading import Protocol
from noref.data.readers import missing
from noref.data.splits import load_split
from noref.errors import NorefError, OptionError
from noref.evaluate.protocols import splits_of
from noref.methods import launch
from noref.train.evaluate_export import evaluate
from noref.train.evaluator import metrics
from noref.train.run_folder import DataSet

FORMAT = 1
Say = Callable[[str], None]


@dataclass
class Outcome:
    """How far a bench is.

    Attributes:
        wanted: cells of this call.
        done: those that are done, whoever did them.
        failed: cell -> why.
        elsewhere: cells that another process holds.
    """

    wanted: int
    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    elsewhere: list[str] = field(default_factory=list)


def bench(grid: Grid, out: Path, *, say: Say = lambda text: None) -> Outcome:
    """Train and judge every cell that is not done yet. Call it again, or elsewhere at the same time, to go on.

    Args:
        grid: what is to be done; a later call on the same folder may ask for more repeats, variants or data sets.
        out: the bench's folder.
        say: gets a line for each cell.

    Raises:
        OptionError: what cannot work, or a folder that holds a bench of other options.
        DataError: what is wrong with the data, or splits that are not those in the folder.
    """
    grid.check()
    drawn = {name: splits_of(data.records, grid.protocol) for name, data in grid.data.items()}
    facts = _facts(grid)
    begin(grid, out, facts)
    splits = {
        name: keep_splits(name, data, grid.protocol, drawn[name], out / "splits") for name, data in grid.data.items()
    }
    cells = list(grid.cells({name: len({number for number, _ in files}) for name, files in splits.items()}))
    outcome, took = Outcome(len(cells)), list[float]()
    for cell in cells:
        lock = FileLock(out / "claims" / f"{cell.folder.replace('/', '~')}.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            outcome.elsewhere.append(cell.folder)
            continue
        worked = not (out / cell.folder / "cell.json").exists()
        try:
            started = time.monotonic()
            if worked:
                work(grid, cell, splits[cell.training_set][cell.split, cell.fraction], out)
                took.append(time.monotonic() - started)
            outcome.done.append(cell.folder)
            left = len(cells) - len(outcome.done) - len(outcome.failed) - len(outcome.elsewhere)
            say(_line(out, cell, len(outcome.done), len(cells), took, left))
        except NorefError as error:  # one cell's trouble is not the others'
            outcome.failed[cell.folder] = str(error)
            say(f"FAILED {cell.folder}: {error}")
        finally:
            lock.release()
        if worked:
            conclude(grid, out, outcome, facts)
    conclude(grid, out, outcome, facts)
    outcome.elsewhere = [name for name in outcome.elsewhere if not (out / name / "cell.json").exists()]
    return outcome


def begin(grid: Grid, out: Path, facts: Mapping[str, Any]) -> None:
    """Make the folder and say in `bench.json` what it holds, or check that it holds a bench of the same options.

    Raises:
        OptionError: it holds something else.
    """
    if out.exists() and not (out / "bench.json").exists() and (not out.is_dir() or any(out.iterdir())):
        raise OptionError(f"{out}: not an empty folder, and no bench")
    words = grid.words()
    if (out / "bench.json").exists():
        earlier = table.read_json(out / "bench.json")
        options = {**grid.defaults(), **earlier.get("options", {})}  # noref may have learnt an option since
        was = [earlier.get("recipe"), options, earlier.get("division")]
        if was != [grid.recipe, words["options"], _division(grid)]:
            raise OptionError(f"{out}: holds a bench of {_difference(was, grid, words)}; choose another --out")
        for name, differing in words["variants"].items():
            if earlier["variants"].get(name, differing) != differing:
                raise OptionError(f"{out}: its variant {name!r} has other options; choose another --out")
    (out / "claims").mkdir(parents=True, exist_ok=True)
    conclude(grid, out, None, facts)


def work(grid: Grid, cell: Cell, split: Path, out: Path) -> None:
    """Train one cell, or go on with it, judge it on every test set, and write its part of the table."""
    data, folder, started = grid.data[cell.training_set], out / cell.folder, time.monotonic()
    seed = grid.protocol.seed + cell.split + 1000 * cell.repeat
    resume = (folder / "config.yaml").exists()
    if folder.exists() and not resume:
        shutil.rmtree(folder)
    chosen = {"split": (str(split), ""), "seed": (str(seed), "")}
    if not (folder / "results.json").exists():
        launch.train(
            grid.recipe,
            data=f"{data.name}={data.path}",
            out=str(folder),
            options={} if resume else {**grid.given(cell.variant), **chosen},
            resume=resume,
        )
    config = grid.config(cell.variant)
    protocol: Protocol = getattr(config, "protocol", "grid")
    selection = str(getattr(config, "select", "last"))
    rows, found = list[dict[str, Any]](), dict[str, Any]()
    for name, tested in {cell.training_set: data, **grid.others}.items():
        own = name == cell.training_set
        judged = load_split(split, data.records).test if own else range(len(tested.records))
        file = folder / ("predictions.csv" if own else f"predictions-{name}.csv")
        if not file.exists():
            where = f"{tested.name}={tested.path}"
            evaluate(str(folder), data=where, split="all", output=str(file), protocol=protocol)
        first = table.head(cell, name, grid.recipe, seed, protocol, selection)
        part = table.tidy(file, judged, tested.records, first)
        found[name] = metrics([float(row["quality"]) for row in part], [tested.records[index] for index in judged])
        rows += part
    table.write_rows(folder / "cell.csv", rows)
    seconds = round(time.monotonic() - started, 1)
    facts = {**asdict(cell), "seed": seed, "resumed": resume, "seconds": seconds, "figures": found}
    table.write_json(folder / "cell.json", facts)


def conclude(grid: Grid, out: Path, outcome: Outcome | None, facts: Mapping[str, Any]) -> None:
    """Bring `predictions.csv` and `bench.json` up to date; `outcome` None: nothing has been done yet.

    `facts` are those that do not change while a bench runs, see `_facts`.
    """
    with FileLock(out / "claims" / "table.lock"):
        finished = table.collect(out)
        file = out / "bench.json"
        earlier = table.read_json(file) if file.exists() else {}
        words = grid.words()
        wanted = outcome.wanted if outcome else earlier.get("cells", {}).get("wanted", 0)
        content = {
            "format": FORMAT,
            "recipe": grid.recipe,
            "noref": facts["noref"],
            "commit": facts["commit"],
            "hardware": facts["hardware"],
            "created": earlier.get("created") or datetime.now(UTC).isoformat(timespec="seconds"),
            "protocol": {"division": str(grid.protocol), "trainings of each split": grid.repeats},
            "division": _division(grid),
            "options": words["options"],
            "variants": {**earlier.get("variants", {}), **words["variants"]},
            "data": {**earlier.get("data", {}), **facts["data"]},
            "splits": [_split_words(path) for path in sorted((out / "splits").glob("*.json"))],
            "cells": {
                "wanted": max(wanted, finished),
                "done": finished,
                "failed": [{"cell": name, "reason": why} for name, why in (outcome.failed if outcome else {}).items()],
            },
            "seconds": {
                str(path.parent.relative_to(out / "runs")): table.read_json(path)["seconds"]
                for path in sorted(out.glob("runs/*/*/cell.json"))
            },
        }
        table.write_json(file, content)


def _facts(grid: Grid) -> dict[str, Any]:
    """What `bench.json` says of program, machine and data sets: found once, for it reads every table of theirs."""
    return {
        "noref": version("noref"),
        "commit": commit(),
        "hardware": _hardware(),
        "data": {name: _about(data) for name, data in {**grid.data, **grid.others}.items()},
    }


def _about(data: DataSet) -> dict[str, Any]:
    lacking = shortfall(data.name, len(data.records), len(missing(data.name, Path(data.path))))
    return describe_data(data, lacking)


def _split_words(path: Path) -> dict[str, Any]:
    content = table.read_json(path)
    label, _, rest = path.stem.rpartition("-split")
    kept = {key: content[key] for key in ("description", "seed", "checksum")}
    counts = {part: len(content[part]) for part in ("train", "validation", "test")}
    return {"split": int(rest.split("-")[0]), "training_set": label, "file": f"splits/{path.name}", **kept, **counts}


def _division(grid: Grid) -> dict[str, Any]:
    """What must be the same in every call on one folder."""
    protocol = grid.protocol
    shares = {"test": protocol.test, "validation": protocol.validation} if protocol.kind == "random" else {}
    return {"kind": protocol.kind, **shares, "seed": protocol.seed, "paper selection": grid.paper_selection}


def _difference(was: Sequence[Any], grid: Grid, words: Mapping[str, Any]) -> str:
    """What is different, as one would type it."""
    recipe, options, division = was
    if recipe != grid.recipe:
        return f"{recipe}, not {grid.recipe}"
    for before, now in ((options or {}, words["options"]), (division or {}, _division(grid))):
        for name, value in now.items():
            if before.get(name) != value:
                return f"{name} {before.get(name)}, not {value}"
    return "another kind"


def _line(out: Path, cell: Cell, done: int, wanted: int, took: Sequence[float], left: int) -> str:
    """One cell in words, with what is left to do."""
    found = table.read_json(out / cell.folder / "cell.json")["figures"]
    parts = [f"{name} SRCC {value['srcc']:.4f} PLCC {value['plcc']:.4f}" for name, value in found.items()]
    ahead = f"; about {left * sum(took) / len(took) / 60:.0f} min to go" if took and left else ""
    return f"[{done}/{wanted}] {cell.folder.removeprefix('runs/')}: {', '.join(parts)}{ahead}"


def _hardware() -> str:
    gpu = f", {torch.cuda.device_count()} x {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{platform.machine()} {platform.system()}, {os.cpu_count()} CPU cores{gpu}, torch {torch.__version__}"
