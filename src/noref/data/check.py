"""The doctor of a data set: what is there, what is not, and what would spoil a result."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noref import images
from noref.data.checks import (
    absent_classes,
    damage,
    falling_share,
    listed,
    part_counts,
    straddling,
    strangers,
    torn_downloads,
)
from noref.data.photo_sets import LIVEFB_TABLES, livefb_split_files
from noref.data.readers import READERS, describe
from noref.data.records import Record
from noref.data.splits import twins
from noref.data.tables import either
from noref.errors import DataError, unknown

PUBLISHED = {
    "live": 779,
    "live-original": 779,
    "csiq": 866,
    "tid2013": 3000,
    "kadid10k": 10125,
    "livec": 1162,
    "koniq10k": 10073,
    "livefb": 39810,
    "spaq": 11125,
    "agiqa3k": 2982,
    "bid": 586,
}
OFFICIAL = {"koniq10k": (7058, 1000, 2015), "livefb": (30253, 7727, 1827)}  # training, validation, test
COPIES = ("live", "live-original")  # their folders also hold undistorted copies, which are in no row on purpose


@dataclass(frozen=True)
class Report:
    """What `check` found.

    Args:
        name: the data set's name, a key of `READERS`.
        path: where it lies.
        records: the rows whose image is on the disk.
        published: how many images the release has; None for a set of your own.
        missing: images that the table names and that are not on the disk.
        unreadable: images that cannot be decoded, with the reason.
        twins: sets of images with the same bytes.
        falling: share of the series (one reference, one distortion, rising level) in which quality falls;
            None where the set has no levels.
        absent: classes of which not one image is there, one sentence for each kind.
        strangers: images beside those of the table that are in no row.
        torn: downloads that did not finish, each with the reason.
        half_split: the one file of an official split that lies there without the other.
    """

    name: str
    path: Path
    records: tuple[Record, ...]
    published: int | None
    missing: tuple[Path, ...]
    unreadable: tuple[tuple[Path, str], ...]
    twins: tuple[tuple[Record, ...], ...]
    falling: float | None
    absent: tuple[str, ...] = ()
    strangers: tuple[Path, ...] = ()
    torn: tuple[str, ...] = ()
    half_split: Path | None = None

    @property
    def problems(self) -> list[str]:
        """What is wrong, one sentence each; empty when nothing is."""
        found = []
        here = len(self.records)
        lacking = _wanted(self.name, here, len(self.missing)) - here
        if lacking > 0:
            found.append(f"incomplete, {lacking} missing: {here} of {here + lacking} images are here")
        found += self.absent
        if self.missing and self.strangers:
            found.append(
                f"{len(self.missing)} rows have no image and {len(self.strangers)} images have no row: "
                "the table may belong to other images"
            )
        if self.published and here > self.published:
            found.append(f"{here} images, the release has {self.published}")
        if self.unreadable:
            found.append(f"{len(self.unreadable)} images cannot be read")
        if self.torn and (lacking > 0 or self.unreadable):
            found.append("a download was cut short")
        return found + self._wrong_scores()

    def _wrong_scores(self) -> list[str]:
        found = []
        outside = [r for r in self.records if not r.scale.low <= r.raw_score <= r.scale.high]
        if outside:
            found.append(f"{len(outside)} scores leave the scale {outside[0].scale}, such as {outside[0].raw_score:g}")
        if self.records and len({r.raw_score for r in self.records}) == 1:
            found.append(f"every score is {self.records[0].raw_score:g}")
        if self.falling is not None and self.falling < 0.5:
            cure = "; NAME.scale.json beside NAME.csv can say so" if self.name == "csv" else ""
            found.append(
                f"quality falls with the level of distortion in only {self.falling:.0%} of the series: "
                f"the scores may run the other way{cure}"
            )
        return found

    @property
    def cautions(self) -> list[str]:
        """What is not wrong, but should be known, one sentence each."""
        found = []
        torn_apart = straddling(self.twins)
        if torn_apart:
            found.append(f"the official split has {len(torn_apart)} sets of byte-identical images on both sides")
        mixed = [group for group in self.twins if len({record.reference for record in group}) > 1]
        if mixed:
            found.append(f"{len(mixed)} sets of byte-identical images join references that random splits keep apart")
        official, counts = OFFICIAL.get(self.name), part_counts(self.records)
        if official and any(counts) and len(self.records) == self.published and counts != official:
            found.append(f"the official split is {_parts(counts)}, published are {_parts(official)}")
        if self.half_split:
            found.append(f"{_text(self.half_split)}: half of the official split; it is read together with the other")
        return found

    @property
    def exit_status(self) -> int:
        """0 when nothing is wrong, 1 otherwise."""
        return 1 if self.problems else 0

    def render(self, *, limit: int | None = 20) -> str:
        """The report as plain text.

        Args:
            limit: how many names a list shows; None: all.
        """
        renamed = [f"{r.listed} is {_text(r.path)}" for r in self.records if r.listed is not None]
        lines = [f"{self.name} in {_text(self.path)}", *_facts(self.name, self.records, self.published)]
        if self.falling is not None:
            lines.append(f"  direction     quality falls with the level in {self.falling:.0%} of the series")
        lines += _listed("missing", [_text(path) for path in self.missing], limit)
        lines += _listed("unreadable", [reason for _, reason in self.unreadable], limit)
        lines += _listed("unfinished downloads", self.torn, limit)
        lines += _listed("found in another letter case", renamed, limit)
        lines += _listed("images in no row", [_text(path) for path in self.strangers], limit)
        same = [_equal([_text(record.path) for record in group], limit) for group in self.twins]
        lines += _listed("same bytes, kept together in every random split", same, limit)
        lines += [f"CAUTION: {caution}" for caution in self.cautions]
        lines += [f"WRONG: {problem}" for problem in self.problems] or ["Nothing wrong."]
        if self.records:
            data = shlex.quote(f"{self.name}={_text(self.path)}")
            lines.append(f"To train on what is there: noref train deiqt --data {data} --out runs/{self.name}")
        return "\n".join(lines)


def check(
    name: str, path: Path, *, progress: Callable[[int, int], None] | None = None, threads: int = 4, **options: Any
) -> Report:
    """Look at every row and decode every image of a data set.

    Args:
        name: a key of `READERS`.
        path: folder or CSV file, as the reader takes it.
        progress: called with (done, all) after each image.
        threads: how many images are decoded at once.
        options: keyword arguments of the reader, such as `low` and `high` of a CSV.

    Raises:
        OptionError: no such data set, or no such folder.
        DataError: a table is missing or broken; names file and line, and a download that did not finish.
    """
    if name not in READERS:
        raise unknown("data set", name, READERS)
    path = Path(path)
    try:
        rows = READERS[name](path, every=True, **options)
    except DataError as error:
        torn = torn_downloads(path if path.is_dir() else path.parent)
        raise DataError("; ".join([str(error), *torn])) from error
    here = [record for record in rows if record.path.is_file()]
    there = {record.path for record in here}
    missing = tuple(record.path for record in rows if record.path not in there)
    unreadable = []
    with ThreadPoolExecutor(threads) as pool:
        for done, (record, reason) in enumerate(
            zip(here, pool.map(damage, [record.path for record in here]), strict=True), start=1
        ):
            if reason is not None:
                unreadable.append((record.path, reason))
            if progress is not None:
                progress(done, len(here))
    broken = {path for path, _ in unreadable}
    sound = [record for record in here if record.path not in broken]
    return Report(
        name=name,
        path=path,
        records=tuple(here),
        published=PUBLISHED.get(name),
        missing=missing,
        unreadable=tuple(unreadable),
        twins=tuple(tuple(sound[index] for index in group) for group in twins(sound)),
        falling=falling_share(here),
        absent=tuple(absent_classes(rows, missing)),
        strangers=() if name in COPIES else tuple(strangers(rows)),
        torn=tuple(torn_downloads(path)) if path.is_dir() else (),
        half_split=_half_split(path) if name == "livefb" else None,
    )


def shortfall(name: str, here: int, missing: int = 0) -> str | None:
    """How many images a data set lacks, in words for a report; None where nothing is missing.

    Args:
        name: a key of `READERS`.
        here: how many of its images are on the disk.
        missing: how many more its own table names. The published count is taken where that is larger.

    Example:
        >>> shortfall("livec", 931)
        '931 of 1162 images, 231 missing'
    """
    wanted = _wanted(name, here, missing)
    return f"{here} of {wanted} images, {wanted - here} missing" if here < wanted else None


def _wanted(name: str, here: int, missing: int) -> int:
    return max(here + missing, PUBLISHED.get(name, 0))


def _half_split(folder: Path) -> Path | None:
    """The one of LIVEFB's two split files that lies there alone."""
    first, second = livefb_split_files(either(folder, LIVEFB_TABLES))
    return None if first and second else first or second


def _facts(name: str, records: Sequence[Record], published: int | None) -> list[str]:
    lines = [f"  images        {len(records)}" + (f" of {published} published" if published else "")]
    if records:
        raws = [record.raw_score for record in records]
        lines.append(f"  scores        {min(raws):g} to {max(raws):g} on a scale of {records[0].scale}")
        lines.append(f"  kind          {describe(name)}")
    for what, values in (
        ("references", [record.reference for record in records]),
        ("distortions", [record.distortion for record in records]),
    ):
        if any(values):
            lines.append(f"  {what:<14}{len(set(values) - {None})}")
    counts, unused = part_counts(records), sum(record.split == "unused" for record in records)
    if any(counts):
        lines.append(f"  official split {_parts(counts)}" + (f", {unused} in none of them" if unused else ""))
    return lines


def _parts(counts: Sequence[int]) -> str:
    return ", ".join(f"{part} {count}" for part, count in zip(("training", "validation", "test"), counts, strict=True))


def _listed(title: str, entries: Sequence[str], limit: int | None) -> list[str]:
    if not entries:
        return []
    shown = list(entries if limit is None else entries[:limit])
    rest = [f"    ... and {len(entries) - len(shown)} more"] if len(shown) < len(entries) else []
    return [f"  {title}: {len(entries)}", *(f"    {entry}" for entry in shown), *rest]


def _equal(names: Sequence[str], limit: int | None) -> str:
    return " = ".join(names) if limit is None or len(names) <= 3 else f"{len(names)} images: {listed(names)}"


def _text(path: Path) -> str:
    return images.printable(os.fspath(path))
