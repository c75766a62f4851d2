"""What is to be done: the cells of a bench, each one training run, and where each lies."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from noref.data.splits import PARTS, Split, load_split, save_split, thinned
from noref.errors import DataError, OptionError
from noref.evaluate.split_protocol import SplitProtocol
from noref.methods.launch import configured, recipe_options
from noref.train.options import Given, read_yaml
from noref.train.run_folder import DataSet

SET_BY_BENCH = ("split", "seed", "test", "validation")  # options that the bench sets for each cell


@dataclass(frozen=True)
class Cell:
    """One training run of a bench."""

    variant: str  # name of a set of options; empty where there is only one
    training_set: str  # label of the data set that it learns from
    split: int  # number of the split
    fraction: float = 1.0  # share of the training part that is used, in (0, 1]
    repeat: int = 0  # number of the training with this split, for runs that differ in the seed alone

    @property
    def folder(self) -> str:
        """Where its run lies, below the bench's folder; it is also the cell's name."""
        name = split_name(self.training_set, self.split, self.fraction)
        return f"runs/{safe_name(self.variant) or 'all'}/{name}{f'-run{self.repeat}' if self.repeat else ''}"


@dataclass(frozen=True)
class Grid:
    """A recipe, data sets and splits: everything that decides the cells."""

    recipe: str  # its name
    data: Mapping[str, DataSet]  # label -> data set; each trains
    protocol: SplitProtocol  # how each is divided
    common: Given = field(default_factory=dict)  # options of every cell
    variants: Mapping[str, Given] = field(default_factory=lambda: {"": {}})  # name -> options that differ
    test_only: Mapping[str, DataSet] = field(default_factory=dict)  # label -> data set that tests every model
    repeats: int = 1  # trainings with each split, of different seeds
    paper_selection: bool = False  # the epoch is the best on the test part

    def given(self, variant: str) -> dict[str, tuple[Any, str]]:
        """The options of a variant, before a cell sets its split and seed."""
        paper = {"select": ("test", "--paper-selection: ")} if self.paper_selection else {}
        return {**self.common, **self.variants[variant], **paper}

    def config(self, variant: str) -> Any:
        """The recipe's config of a variant; an OptionError where it has no such option, or cannot have such a value."""
        return configured(self.recipe, self.given(variant))

    def check(self) -> None:
        """An OptionError for what cannot work: unknown recipe or option, one that the bench sets, two names alike."""
        if self.paper_selection and "select" not in {option.name for option in recipe_options(self.recipe)}:
            raise OptionError(f"--paper-selection: {self.recipe} chooses no epoch")
        for variant in self.variants:
            if taken := [name for name in SET_BY_BENCH if name in self.given(variant)]:
                raise OptionError(
                    f"{taken[0]}: a bench sets it for each cell; say --parts, --seed, --split to the bench"
                )
            self.config(variant)
        if self.repeats < 1:
            raise OptionError(f"{self.repeats} trainings of each split: at least 1")
        if len({safe_name(name) for name in self.variants}) < len(self.variants):
            raise OptionError(f"names of variants differ in letters and digits: {', '.join(self.variants)}")

    def cells(self, splits: Mapping[str, int]) -> Iterator[Cell]:  # label -> how many
        """Every cell; split by split, so that an unfinished bench can compare its variants."""
        for label, count in splits.items():
            places = product(range(count), range(self.repeats), self.protocol.fractions, self.variants)
            for split, repeat, fraction, variant in places:
                yield Cell(variant, label, split, fraction, repeat)

    def options(self) -> dict[str, Any]:
        """For `bench.json`: `options` that all cells share, and in `variants` what differs in each of them."""
        shared = json_options(configured(self.recipe, self.common))
        own = {name: json_options(self.config(name)).items() for name in self.variants}
        differing = {
            name: {key: value for key, value in items if key not in shared or value != shared[key]}
            for name, items in own.items()
        }
        return {"options": shared, "variants": differing}


def json_options(config: Any) -> dict[str, Any]:
    """A config as JSON holds it, without what the bench sets; of a file or folder that exists only the name."""
    values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    for key, value in values.items():
        if isinstance(value, str) and os.sep in value and Path(value).exists():
            values[key] = Path(value).name
    return {key: value for key, value in values.items() if key not in SET_BY_BENCH}


def keep_splits(label: str, data: DataSet, protocol: SplitProtocol, splits: Sequence[Split], folder: Path) -> None:
    """Write a data set's splits to files named by `split_name`, or check that those that are there are the same."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, split in enumerate(splits):
        for fraction in protocol.fractions:
            file = folder / f"{split_name(label, number, fraction)}.json"
            chosen = thinned(split, data.records, fraction, seed=protocol.seed + number)
            if not file.exists():
                save_split(chosen, data.records, file)
            earlier = load_split(file, data.records)
            if any(getattr(earlier, part) != getattr(chosen, part) for part in PARTS):
                raise DataError(f"{file}: another split ({earlier.description}) than this call's; choose another --out")


def split_name(label: str, number: int, fraction: float) -> str:
    """How files and folders name a split of a data set.

    Example:
        >>> split_name("livec", 3, 0.2)
        'livec-split03-20pct'
    """
    return f"{label}-split{number:02d}" + ("" if fraction == 1 else f"-{100 * fraction:g}pct")


def read_variants(path: Path) -> dict[str, Given]:
    """A YAML file with a line for each variant, such as `no clipping: {clip: none}`; `baseline: {}` changes nothing.

    Raises:
        DataError: missing, or not such a file; names file and line.
    """
    variants: dict[str, Given] = {}
    for name, (options, place) in read_yaml(path).items():
        if not isinstance(options, dict) or not all(isinstance(key, str) for key in options):
            raise DataError(f"{place}a variant is 'name: {{option: value, ...}}'")
        variants[name] = {key.replace("-", "_"): (value, place) for key, value in options.items()}
    if not variants:
        raise DataError(f"{path}: no variants in it")
    return variants


def labelled(sets: Sequence[DataSet]) -> dict[str, DataSet]:
    """Label -> data set: the name of its reader, or of its CSV file; two of one label are an OptionError."""
    labels = [safe_name(Path(data.path).stem) if data.name == "csv" else data.name for data in sets]
    if len(set(labels)) < len(labels):
        raise OptionError(f"two data sets of one name: {', '.join(labels)}")
    return dict(zip(labels, sets, strict=True))


def safe_name(name: str) -> str:
    """A name that can be a folder's.

    Example:
        >>> safe_name("+ random crop, 40 %")
        '+_random_crop_40'
    """
    return re.sub(r"[^\w.+=-]+", "_", name).strip("_.")
