"""What is to be done: the cells of a bench, each one training run, and where each lies."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from noref.data.readers import describe
from noref.data.records import names
from noref.data.splits import Split, checksum, load_split, save_split, thinned
from noref.errors import DataError, OptionError
from noref.evaluate.protocols import Protocol
from noref.methods import page
from noref.methods.launch import recipe_options
from noref.train.options import build, read_yaml
from noref.train.run_folder import DataSet

Given = Mapping[str, tuple[Any, str]]
OWN = ("split", "seed", "test", "validation")  # options that the bench sets for each cell


@dataclass(frozen=True)
class Cell:
    """One training run of a bench.

    Args:
        variant: name of a set of options; empty where there is only one.
        training_set: label of the data set that it learns from.
        split: number of the split.
        fraction: share of the training part that is used, in (0, 1].
        repeat: number of the training with this split, for runs that differ in the seed alone.
    """

    variant: str
    training_set: str
    split: int
    fraction: float = 1.0
    repeat: int = 0

    @property
    def folder(self) -> str:
        """Where its run lies, below the bench's folder; it is also the cell's name."""
        share = "" if self.fraction == 1 else f"-{100 * self.fraction:g}pct"
        again = f"-run{self.repeat}" if self.repeat else ""
        return f"runs/{plain(self.variant) or 'all'}/{self.training_set}-split{self.split:02d}{share}{again}"


@dataclass(frozen=True)
class Grid:
    """A recipe, data sets and a protocol: everything that decides the cells.

    Args:
        recipe: its name.
        data: label -> data set; each trains.
        protocol: how each is divided.
        common: options of every cell.
        variants: name -> options that differ; {"": {}} where there is one only.
        others: label -> data set that only judges, besides the own test part.
        repeats: trainings with each split, of different seeds.
        paper_selection: the epoch is the best on the test part.
    """

    recipe: str
    data: Mapping[str, DataSet]
    protocol: Protocol
    common: Given = field(default_factory=dict)
    variants: Mapping[str, Given] = field(default_factory=lambda: {"": {}})
    others: Mapping[str, DataSet] = field(default_factory=dict)
    repeats: int = 1
    paper_selection: bool = False

    def config(self, variant: str) -> Any:
        """The recipe's config of a variant, before a cell sets its split and seed.

        Raises:
            OptionError: an option that the recipe does not have, or a value that it cannot have.
        """
        return build(self.module.Config, self.given(variant))

    def given(self, variant: str) -> dict[str, tuple[Any, str]]:
        """The options of a variant, as `noref.train.options.build` takes them."""
        paper = {"select": ("test", "--paper-selection: ")} if self.paper_selection else {}
        return {**self.common, **self.variants[variant], **paper}

    @property
    def module(self) -> ModuleType:
        """The recipe."""
        return page(self.recipe)

    def check(self) -> None:
        """Find what cannot work before the first hour is spent.

        Raises:
            OptionError: an unknown recipe or option, an option that the bench sets itself, or two names alike.
        """
        known = {option.name for option in recipe_options(self.recipe)}
        if self.paper_selection and "select" not in known:
            raise OptionError(f"--paper-selection: {self.recipe} chooses no epoch")
        for variant in self.variants:
            for name in OWN:
                if name in self.given(variant):
                    raise OptionError(
                        f"{name}: a bench sets it for each cell; say --parts, --seed, --split to the bench"
                    )
            self.config(variant)
        if self.repeats < 1:
            raise OptionError(f"{self.repeats} trainings of each split: at least 1")
        if len({plain(name) for name in self.variants}) < len(self.variants):
            raise OptionError(f"names of variants differ in letters and digits: {', '.join(self.variants)}")

    def cells(self, splits: Mapping[str, int]) -> Iterator[Cell]:
        """Every cell; split by split, so that an unfinished bench can compare its variants.

        Args:
            splits: label -> number of splits.
        """
        for label, count in splits.items():
            for split in range(count):
                for repeat in range(self.repeats):
                    for fraction in self.protocol.fractions:
                        for variant in self.variants:
                            yield Cell(variant, label, split, fraction, repeat)

    def defaults(self) -> dict[str, Any]:
        """Every option of the recipe at its default, but those that the bench sets."""
        return {key: value for key, value in _plain(self.module.Config()).items() if key not in OWN}

    def words(self) -> dict[str, Any]:
        """The options for `bench.json`: those that all cells share, and what differs in each variant."""
        shared = _plain(build(self.module.Config, self.common))
        variants = {name: _plain(self.config(name)) for name in self.variants}
        return {
            "options": {key: value for key, value in shared.items() if key not in OWN},
            "variants": {
                name: {key: value for key, value in options.items() if value != shared[key]}
                for name, options in variants.items()
            },
        }


def keep_splits(
    label: str, data: DataSet, protocol: Protocol, splits: Sequence[Split], folder: Path
) -> dict[tuple[int, float], Path]:
    """Write a data set's splits to files, or check that the files that are there are the same.

    Args:
        label: of the data set.
        data: the data set.
        protocol: how it is divided.
        splits: by that protocol, with whole training parts.
        folder: for the files; made.

    Returns:
        (number of the split, fraction) -> its file.

    Raises:
        OptionError: a fraction that leaves nothing to train on.
        DataError: the folder holds splits of other images or another protocol.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for number, split in enumerate(splits):
        for fraction in protocol.fractions:
            share = "" if fraction == 1 else f"-{100 * fraction:g}pct"
            file = folder / f"{label}-split{number:02d}{share}.json"
            chosen = thinned(split, data.records, fraction, seed=protocol.seed + number)
            _keep(chosen, data, file)
            found[number, fraction] = file
    return found


def _keep(split: Split, data: DataSet, file: Path) -> None:
    if not file.exists():
        save_split(split, data.records, file)
    earlier = load_split(file, data.records)
    if (earlier.train, earlier.validation, earlier.test) != (split.train, split.validation, split.test):
        raise DataError(f"{file}: another split ({earlier.description}) than this call's; choose another --out")


def read_variants(path: Path) -> dict[str, Given]:
    """A YAML file of `name: {option: value}` a variant.

    Raises:
        DataError: missing, or not such a file; names file and line.

    Example of such a file:
        baseline: {}
        no clipping: {clip: none}
    """
    variants: dict[str, Given] = {}
    for name, (options, place) in read_yaml(path).items():
        if not isinstance(options, dict) or not all(isinstance(key, str) for key in options):
            raise DataError(f"{place}a variant is 'name: {{option: value, ...}}'")
        variants[name] = {key.replace("-", "_"): (value, place) for key, value in options.items()}
    if not variants:
        raise DataError(f"{path}: no variants in it")
    return variants


def describe_data(data: DataSet, shortfall: str | None) -> dict[str, Any]:
    """A data set for `bench.json`."""
    scale = data.records[0].scale
    first, name = os.path.abspath(data.records[0].path), names(data.records)[0]
    return {
        "path": data.path,
        "root": first[: -len(name) - 1],
        "images": len(data.records),
        "scale": dataclasses.asdict(scale),
        "note": describe(data.name),
        "shortfall": shortfall,
        "checksum": checksum(data.records),
    }


def label(data: DataSet) -> str:
    """A data set's name in tables: that of its reader, or of its CSV file."""
    return plain(Path(data.path).stem) if data.name == "csv" else data.name


def labelled(sets: Sequence[DataSet]) -> dict[str, DataSet]:
    """Label -> data set.

    Raises:
        OptionError: two of one label.
    """
    found = {label(data): data for data in sets}
    if len(found) < len(sets):
        raise OptionError(f"two data sets of one name: {', '.join(label(data) for data in sets)}")
    return found


def plain(name: str) -> str:
    """A name that can be a folder's.

    Example:
        >>> plain("+ random crop, 40 %")
        '+_random_crop_40'
    """
    return re.sub(r"[^\w.+=-]+", "_", name).strip("_.")


def _plain(config: Any) -> dict[str, Any]:
    """A config as JSON would hold it; of a file or folder only the name, for where it lies is nobody's business."""
    values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    for key, value in values.items():
        if isinstance(value, str) and os.sep in value and Path(value).exists():
            values[key] = Path(value).name
    return values
