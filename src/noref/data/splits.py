"""Training, validation and test parts: by reference, duplicates together, seeded, saved so that others can use them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from noref.data.records import Record, names
from noref.errors import DataError, OptionError
from noref.writing import write_text

FORMAT = 1
PARTS = ("train", "validation", "test")
Groups = Sequence[tuple[int, ...]]  # sets of indices of records


@dataclass(frozen=True)
class Split:
    """Which records train, validate and test: indices into one list of records, each part in rising order."""

    train: tuple[int, ...]
    validation: tuple[int, ...]  # settings and epochs may be chosen on it; may be empty
    test: tuple[int, ...]  # for the final metrics alone
    seed: int | None = None  # what the parts were drawn with; None for an official split
    description: str = ""  # how they were drawn, in words that a report can print


def groups(records: Sequence[Record]) -> list[tuple[int, ...]]:
    """Sets of records that belong on one side of a split: same reference, or files with the same bytes.

    Indices, in an order that depends on the images' names alone: neither on the order of `records` nor on the folder
    that they lie in. Reads the files that have the same size as another one; a DataError where one cannot be read.
    """
    group, first = [[index] for index in range(len(records))], dict[tuple[str, str], int]()
    for index, (record, same_bytes) in enumerate(zip(records, _duplicate_keys(records), strict=True)):
        for what, key in (("reference", record.reference), ("bytes", same_bytes)):
            own, other = group[index], group[index if key is None else first.setdefault((what, key), index)]
            if own is not other:
                other += own
                for member in own:
                    group[member] = other
    order = [(name.casefold(), name) for name in names(records)]
    together = {id(members): tuple(sorted(members)) for members in group}
    return sorted(together.values(), key=lambda members: min(order[index] for index in members))


def duplicates(records: Sequence[Record]) -> list[tuple[int, ...]]:
    """Sets of two and more records whose files have the same bytes, as indices; errors as `groups`."""
    same: dict[str, list[int]] = {}
    for index, key in enumerate(_duplicate_keys(records)):
        if key is not None:
            same.setdefault(key, []).append(index)
    return [tuple(members) for members in same.values() if len(members) > 1]


def _duplicate_keys(records: Sequence[Record]) -> list[str | None]:
    """SHA-256 of each file that shares its size with another record's file; None for the others."""
    try:
        sizes = [record.path.stat().st_size for record in records]
        count = Counter(sizes)
        return [
            hashlib.sha256(record.path.read_bytes()).hexdigest() if count[size] > 1 else None
            for size, record in zip(sizes, records, strict=True)
        ]
    except OSError as error:
        raise DataError(f"{error.filename}: {error.strerror or error}") from error


def random_split(
    records: Sequence[Record], *, test: float = 0.2, validation: float = 0.0, seed: int, together: Groups | None = None
) -> Split:
    """Draw a split by groups: all images of a reference and all files with the same bytes fall on the same side.

    The same seed gives the same test part whatever `validation` is.

    Args:
        records: all records of a data set.
        test: share of the groups that test, in (0, 1).
        validation: share of the groups that validate, in [0, 1); taken from what is left for training.
        seed: >= 0.
        together: `groups(records)`, where they are known already; finding them reads files.

    Raises:
        OptionError: a share outside of its range.
        DataError: too few groups to fill a part that was asked for.
    """
    if not (0 < test < 1 and 0 <= validation < 1 and test + validation < 1):
        raise OptionError(f"no split of test {test:g}, validation {validation:g}")
    order = _shuffled(groups(records) if together is None else together, seed)
    n_test, n_validation = round(test * len(order)), round(validation * len(order))
    parts = [order[n_test + n_validation :], order[n_test : n_test + n_validation], order[:n_test]]
    what = "by reference" if any(record.reference is not None for record in records) else "by image"
    left = 1 - test - validation
    shares = "/".join(f"{100 * share:g}" for share in ((left, validation, test) if validation else (left, test)))
    return _split(parts, seed, f"random {shares} {what}", validated=validation > 0)


def thinned(split: Split, records: Sequence[Record], fraction: float, *, seed: int) -> Split:
    """The same split with a share of its training part: of its references where it has them, else of its images.

    Files with the same bytes stay together. A smaller fraction, in (0, 1], is a subset of a larger one's. One that
    leaves nothing to train on is an OptionError.
    """
    if not 0 < fraction <= 1:
        raise OptionError(f"fractions of the training part are in (0, 1], got {fraction:g}")
    if fraction == 1:
        return split
    learning = [records[index] for index in split.train]
    together = groups(learning)
    order = np.random.default_rng([seed, 1]).permutation(len(together))
    used = [together[i] for i in order[: round(fraction * len(together))]]
    if not used:
        raise OptionError(f"{100 * fraction:g} % of {len(together)} training groups is none")
    train = tuple(sorted(split.train[index] for group in used for index in group))
    return replace(split, train=train, description=f"{split.description}, {100 * fraction:g} % of the training part")


def folds(records: Sequence[Record], k: int, seed: int, *, together: Groups | None = None) -> list[Split]:
    """k splits in which every record tests exactly once; groups as in `random_split`, fold sizes differ by one group.

    Raises:
        OptionError: k below 2.
        DataError: fewer groups than folds.
    """
    if k < 2:
        raise OptionError(f"at least 2 folds, got {k}")
    order = _shuffled(groups(records) if together is None else together, seed)
    if len(order) < k:
        raise DataError(f"{len(order)} groups of records do not fill {k} folds")
    found = []
    for fold in range(k):
        train = [members for number, members in enumerate(order) if number % k != fold]
        found.append(_split([train, [], order[fold::k]], seed, f"fold {fold + 1} of {k}"))
    return found


def official_split(records: Sequence[Record]) -> Split:
    """The split that the release brings, where each record names its part; one that is `unused` is in none.

    Raises:
        DataError: a record has no part, or the training or the test part is empty.
    """
    for record in records:
        if record.split is None:
            raise DataError(f"{record.path}: in no part of an official split")
    parts = [[(i,) for i, r in enumerate(records) if r.split == part] for part in ("training", "validation", "test")]
    unused = sum(record.split == "unused" for record in records)
    return _split(parts, None, f"official, {unused} images in none of its parts" if unused else "official")


def _shuffled(together: Groups, seed: int) -> list[tuple[int, ...]]:
    if seed < 0:
        raise OptionError(f"a seed is not negative, got {seed}")
    return [together[i] for i in np.random.default_rng(seed).permutation(len(together))]


def _split(groups: Sequence[Groups], seed: int | None, description: str, *, validated: bool = False) -> Split:
    """The split of these groups for training, validation and test; the second may be empty unless `validated`."""
    train, validation, test = (tuple(sorted(index for members in part for index in members)) for part in groups)
    for part, indices in (("training", train), ("test", test), ("validation", validation if validated else train)):
        if not indices:
            raise DataError(f"too few images for a split ({description}): the {part} part is empty")
    return Split(train, validation, test, seed, description)


def checksum(records: Sequence[Record]) -> str:
    """SHA-256, hex, of the images' names and raw scores; the order of the records does not matter."""
    lines = sorted(f"{name}\t{record.raw_score!r}\n" for name, record in zip(names(records), records, strict=True))
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def save_split(split: Split, records: Sequence[Record], path: Path) -> None:
    """Write a split as JSON: names of the images per part, and the checksum of the records that it belongs to."""
    keys = names(records)
    content = {
        "format": FORMAT,
        "description": split.description,
        "seed": split.seed,
        "records": len(records),
        "checksum": checksum(records),
        **{part: [keys[index] for index in getattr(split, part)] for part in PARTS},
    }
    write_text(path, json.dumps(content, indent=1) + "\n")


def load_split(path: Path, records: Sequence[Record]) -> Split:
    """Read a split and check that it was made for these records.

    Raises:
        DataError: no such file, no split file, other images, other scores, or an image in two parts.
    """
    content = _read_split(path)
    keys = {name: index for index, name in enumerate(names(records))}
    listed = [name for part in PARTS for name in content[part]]
    unknown = [name for name in listed if name not in keys]
    if unknown:
        share = f"{len(unknown)} of its {len(listed)} images"
        raise DataError(f"{path}: {share} are not among the {len(keys)} records, such as {unknown[0]}")
    if len(set(listed)) != len(listed):
        twice = next(name for name in listed if listed.count(name) > 1)
        raise DataError(f"{path}: {twice} is in it twice")
    if content["checksum"] != checksum(records):
        other = f"it was made for {content['records']} records, here are {len(records)}"
        why = other if content["records"] != len(records) else "the scores or images differ"
        raise DataError(f"{path}: not a split of these records: {why}")
    train, validation, test = (tuple(sorted(keys[name] for name in content[part])) for part in PARTS)
    return Split(train, validation, test, content["seed"], content["description"])


def learnt_from(path: Path) -> set[str]:
    """Names of the images that a split file lets train or validate; a DataError where it is no split file."""
    content = _read_split(path)
    return {name for part in ("train", "validation") for name in content[part]}


def _read_split(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"{path}: not a split file: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"{path}: not a split file of format {FORMAT}")
    wanted = {"description": str, "seed": int | None, "records": int, "checksum": str, **dict.fromkeys(PARTS, list)}
    for key, kind in wanted.items():
        if not isinstance(content.get(key), kind):
            raise DataError(f"{path}: not a split file: {key} is missing or of another kind")
    if not all(isinstance(name, str) for part in PARTS for name in content[part]):
        raise DataError(f"{path}: not a split file: the name of an image is no text")
    return content
