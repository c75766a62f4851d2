"""The folder of one training run: what is in it, how it is begun, resumed and finished.

config.yaml              recipe, data set, and every option: what `--resume` goes on with
split.json               which image was in which part
log.csv                  a row an epoch
checkpoint.safetensors   the run at the end of its last epoch
best.safetensors         weights of the best epoch on the validation part, where there is one
model.safetensors        the result, with model.card.json beside it
predictions.csv          the test part: image, predicted and true raw score
results.json             correlations on the test part
tensorboard/             curves
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from noref.data.named import DataSet as DataSet
from noref.data.named import read_all as read_all
from noref.data.named import read_data as read_data
from noref.data.predictions import as_csv, prediction_rows
from noref.data.records import Record
from noref.data.splits import Split, load_split, official_split, random_split, save_split
from noref.errors import DataError, OptionError
from noref.train.options import Given, before, build, read_yaml, to_yaml
from noref.writing import write_text

HARDWARE = ("workers", "accelerator", "devices")  # a resumed run may change these
FEWEST = 3  # images of a part on which correlations are computed
CHECKPOINT, MODEL = "checkpoint.safetensors", "model.safetensors"


@dataclass(frozen=True)
class Run:
    """A run's folder. Only the first of several processes writes into it."""

    folder: Path
    resumed: bool = False  # whether it goes on with an earlier run
    writes: bool = True  # false in processes other than the first

    def file(self, name: str) -> Path:
        """A file in the folder."""
        return self.folder / name

    def begin(self, recipe: str, data: DataSet, config: Any) -> None:
        """Make the folder and write `config.yaml`; a resumed run's says what it goes on with.

        Raises:
            DataError: a resumed run's split is of other images; its `config.yaml` stays.
        """
        if self.resumed and (split := self.file("split.json")).exists():
            load_split(split, data.records)
        if self.writes:
            self.folder.mkdir(parents=True, exist_ok=True)
            head: dict[str, Any] = {"recipe": recipe, "data": f"{data.name}={data.path}"}
            head |= {"table": dict(data.table)} if data.table else {}
            self.write("config.yaml", yaml.safe_dump(head, sort_keys=False) + to_yaml(config))

    def abandon(self) -> None:
        """Empty the folder of a new run that has come to nothing but options and split: another may go there."""
        if self.writes and not self.resumed and self.folder.is_dir():
            made = list(self.folder.iterdir())
            if {path.name for path in made} <= {"config.yaml", "split.json"}:
                for path in made:
                    path.unlink()

    def write(self, name: str, text: str) -> None:
        """Write a file in one step."""
        if self.writes:
            write_text(self.file(name), text)

    def write_table(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write rows as CSV in one step; columns in the order in which they first appear."""
        self.write(name, as_csv(rows))

    def write_predictions(
        self,
        records: Sequence[Record],
        quality: Sequence[float],
        *,
        among: Sequence[Record],
        name: str = "predictions.csv",
    ) -> None:
        """Write a row an image, as `prediction_rows` gives them."""
        self.write_table(name, prediction_rows(records, quality, among=among))

    @contextmanager
    def curves(self, step: int) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
        """TensorBoard's curves from optimiser step `step` on, as a function of step and values."""
        if not self.writes:
            yield lambda step, values: None
            return
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(str(self.file("tensorboard")), purge_step=step if self.resumed else None) as writer:

            def report(step: int, values: Mapping[str, float]) -> None:
                for name, value in values.items():
                    writer.add_scalar(name, value, step)
                writer.flush()

            yield report

    def write_results(self, results: Mapping[str, Any]) -> None:
        """Write `results.json`."""
        self.write("results.json", json.dumps(dict(results), indent=2) + "\n")


def choose_split(config: Any, records: Sequence[Record], run: Run) -> Split:
    """The run's split, kept in its `split.json`; a resumed run has its own already.

    Args:
        config: its `split` ("random", "official" or a file), `test`, `validation` and `seed` decide.
        records: all images.
        run: where it is kept.

    Raises:
        OptionError, DataError: shares out of range, a part too small, no official split, or one of other images.
    """
    file = run.file("split.json")
    if run.resumed and file.exists():
        return load_split(file, records)
    if config.split == "random":
        split = random_split(records, test=config.test, validation=config.validation, seed=config.seed)
    elif config.split == "official":
        split = official_split(records)
    else:
        split = load_split(Path(config.split), records)
    parts = {"test": split.test}
    if getattr(config, "select", None) == "validation" and split.validation:
        parts["validation"] = split.validation
    for name, part in parts.items():
        if len(part) < FEWEST:
            more = f"give --{name} a larger share" if config.split == "random" else "--split names another split"
            count = f"{len(part)} of {len(records)} images"
            raise OptionError(f"the {name} part has {count}, and a correlation needs {FEWEST}: {more}")
    if run.writes:
        save_split(split, records, file)
    return split


def open_run(out: Path, *, resume: bool) -> Run:
    """The folder of a new run, or of one that goes on. Nothing is written yet.

    Raises:
        OptionError: a new run where something lies already, or nothing to resume.
    """
    begun = (out / "config.yaml").exists()
    if resume and not begun:
        raise OptionError(f"{out}: no run to resume: there is no config.yaml")
    if not resume and begun:
        raise OptionError(f"{out}: already holds a run; --resume goes on with it, another --out begins a new one")
    if not resume and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OptionError(f"{out}: not an empty folder")
    return Run(out, resumed=resume)


def read_run(folder: Path) -> tuple[dict[str, Any], Given]:
    """What `config.yaml` of a run says: recipe, data, and what was said of a csv; and the rest for `build`.

    Raises:
        DataError: missing or broken.
    """
    given = read_yaml(folder / "config.yaml")
    try:
        head = {key: given.pop(key)[0] for key in ("recipe", "data")}
    except KeyError as error:
        raise DataError(f"{folder / 'config.yaml'}: not of a run: {error} is missing") from error
    return {**head, "table": given.pop("table", ({}, ""))[0]}, given


def resumed_config(kind: type[Any], saved: Given, given: Given) -> Any:
    """The config of a run that goes on; what is given besides may change the hardware, or ask for more epochs.

    Args:
        kind: the method's config; its `EXTENDABLE`, where it has one, names what a resumed run may have more of.
        saved: the options of the run so far, as `read_run` gives them.
        given: those of this call.

    Raises:
        OptionError: an option that would make it another run.
    """
    now = build(kind, before(kind, saved), saved, given)
    check_resumed(saved, now)
    return now


def check_resumed(saved: Given, now: Any) -> None:
    """Refuse to go on with a run under options that would make it another one.

    Args:
        saved: its options so far, as `read_run` gives them.
        now: the config that it is to go on with.

    Raises:
        OptionError: says which option.
    """
    held = build(type(now), before(type(now), saved), saved)
    for field in dataclasses.fields(now):
        old, new = getattr(held, field.name), getattr(now, field.name)
        longer = field.name in getattr(now, "EXTENDABLE", ()) and None not in (old, new) and new > old
        if old != new and not longer and field.name not in HARDWARE:
            raise OptionError(f"--{field.name} {new}: the run to resume has {old}; a run goes on with its own options")
