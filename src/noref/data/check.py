"""Check a data set: what is there, what is missing, and what would make a result wrong."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count
from pathlib import Path
from typing import Any

from noref.data import checks, own_csv
from noref.data.readers import cautions, describe, read, reader
from noref.data.records import Record
from noref.data.splits import duplicates, random_split
from noref.data.threads import Progress, in_threads
from noref.errors import DataError, OptionError, printable
from noref.writing import check_output

TESTED = 3  # fewest images of a test part with which `noref train` begins


@dataclass(frozen=True)
class Report:
    """What `check` found."""

    name: str  # a key of `READERS`
    path: Path
    records: tuple[Record, ...]  # the rows whose image is on the disk
    published: int | None  # how many images the release has; None for a set of your own
    missing: tuple[Path, ...]  # images that the table names and that are not on the disk
    unreadable: tuple[tuple[Path, str], ...]  # images that do not decode, with the reason
    duplicates: tuple[tuple[Record, ...], ...]  # sets of images with the same bytes
    falling: float | None  # see `falling_share`
    absent: tuple[str, ...] = ()  # see `absent_classes`
    unlisted: tuple[Path, ...] = ()  # see `unlisted_images`
    unfinished: tuple[str, ...] = ()  # see `unfinished_downloads`
    half_split: Path | None = None  # the one file of an official split that lies there without the other
    options: Mapping[str, Any] = field(default_factory=dict)  # what was said of a csv
    taken: tuple[str, ...] = ()  # what was taken for granted in reading it, one sentence each
    enough: bool = False  # whether `good` are enough to be divided for training
    written: Path | None = None  # the table of `good`, where it was asked for

    @property
    def good(self) -> list[Record]:
        """The images that can be trained on: they are there and can be read, and their scores lie on the scale."""
        broken = {path for path, _ in self.unreadable}
        return [r for r in self.records if r.path not in broken and r.scale.low <= r.raw_score <= r.scale.high]

    @property
    def problems(self) -> list[str]:
        """What is wrong, one sentence each; empty when nothing is."""
        found = []
        here = len(self.records)
        lacking = _wanted(self.name, here + len(self.missing)) - here
        if lacking > 0:
            way = "; --images FOLDER says where they lie" if self.name == "csv" and not here else ""
            found.append(f"incomplete, {lacking} missing: {here} of {here + lacking} images are here{way}")
        found += self.absent
        if self.missing and self.unlisted:
            found.append(
                f"{len(self.missing)} rows have no image and {len(self.unlisted)} images have no row: "
                "the table may belong to other images"
            )
        if self.published and here > self.published:
            found.append(f"{here} images, the release has {self.published}")
        if self.unreadable:
            found.append(f"{len(self.unreadable)} images cannot be read")
        if self.unfinished and (lacking > 0 or self.unreadable):
            found.append("a download was cut short")
        outside = [r for r in self.records if not r.scale.low <= r.raw_score <= r.scale.high]
        if outside:
            found.append(f"{len(outside)} scores leave the scale {outside[0].scale}, such as {outside[0].raw_score:g}")
        if len({r.raw_score for r in self.records}) == 1:
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
        across = checks.across_split(self.duplicates)
        if across:
            found.append(f"the official split has {len(across)} sets of byte-identical images on both sides")
        mixed = [group for group in self.duplicates if len({record.reference for record in group}) > 1]
        if mixed:
            found.append(f"{len(mixed)} sets of byte-identical images join references that random splits keep apart")
        official, counts = getattr(reader(self.name), "official", None), checks.part_counts(self.records)
        if official and any(counts) and len(self.records) == self.published and counts != official:
            found.append(f"the official split is {_parts(counts)}, published are {_parts(official)}")
        if self.half_split:
            found.append(f"{_text(self.half_split)}: half of the official split, not read without the other half")
        return [*found, *self.taken]

    @property
    def exit_status(self) -> int:
        """0 when nothing is wrong, 1 otherwise."""
        return 1 if self.problems else 0

    def render(self, *, limit: int | None = 20) -> str:
        """The report as plain text; a list shows `limit` names, with None all of them."""
        renamed = [f"{r.listed} is {_text(r.path)}" for r in self.records if r.listed is not None]
        equal = [_equal([_text(record.path) for record in group], limit) for group in self.duplicates]
        lines = [f"{self.name} in {_text(self.path)}", *self._facts()]
        for title, entries in (
            ("missing", [_text(path) for path in self.missing]),
            ("unreadable", [reason for _, reason in self.unreadable]),
            ("unfinished downloads", self.unfinished),
            ("found in another letter case", renamed),
            ("images in no row", [_text(path) for path in self.unlisted]),
            ("same bytes, kept together in every random split", equal),
        ):
            shown = entries[:limit]
            lines += [f"  {title}: {len(entries)}"] if entries else []
            lines += [f"    {entry}" for entry in shown]
            lines += [f"    ... and {len(entries) - len(shown)} more"] if len(shown) < len(entries) else []
        lines += [f"CAUTION: {caution}" for caution in self.cautions]
        lines += [f"WRONG: {problem}" for problem in self.problems] or ["Nothing wrong."]
        return "\n".join(lines + self._next())

    def _next(self) -> list[str]:
        """The command that trains on what is good, or the one that writes its table; none where that is too little."""
        number, said = len(self.good), own_csv.flags(self.options)
        if not self.enough:
            references = len({record.reference for record in self.good} - {None})
            groups = f" of {references} references" if references else ""
            return [f"Too little to divide for training: {number} good images{groups}"]
        if self.written is not None:
            train = _command("train", "deiqt", "--data", f"csv={self.written}", "--out", f"runs/{self.written.stem}")
            return [f"{number} good images are in {_text(self.written)}. To train on them:", f"  {train}"]
        if len(self.good) < len(self.records) + (len(self.missing) if self.name == "csv" else 0):
            new = _free_name(f"{self.name}-good")
            table = _command("data", "check", self.name, str(self.path), *said, "--good", new)
            return [f"To train on the {number} images that are good, first write their table:", f"  {table}"]
        train = _command("train", "deiqt", "--data", f"{self.name}={self.path}", *said, "--out", f"runs/{self.name}")
        return [f"To train on what is there: {train}"]

    def _facts(self) -> list[str]:
        """Counts, range of the scores, parts of the official split."""
        records, published = self.records, f" of {self.published} published" if self.published else ""
        lines = [f"  images        {len(records)}{published}"]
        if records:
            raws = [record.raw_score for record in records]
            lines.append(f"  scores        {min(raws):g} to {max(raws):g} on a scale of {records[0].scale}")
            lines.append(f"  kind          {describe(self.name)}")
        for what in ("reference", "distortion"):
            values = {getattr(record, what) for record in records} - {None}
            lines += [f"  {f'{what}s':<14}{len(values)}"] if values else []
        counts, unused = checks.part_counts(records), sum(record.split == "unused" for record in records)
        if any(counts):
            lines.append(f"  official split {_parts(counts)}" + (f", {unused} in none of them" if unused else ""))
        if self.falling is not None:
            lines.append(f"  direction     quality falls with the level in {self.falling:.0%} of the series")
        return lines


def check(
    name: str, path: Path, *, good: Path | None = None, progress: Progress | None = None, **options: Any
) -> Report:
    """Look at every row and decode every image of a data set.

    Arguments and errors are those of `read`; a DataError also names downloads that did not finish.

    Args:
        good: write the images that can be trained on there, as a table that the reader `csv` takes.
    """
    path = Path(path)
    if good is not None:
        check_output(good)
    try:
        rows = read(name, path, **options)
    except DataError as error:
        unfinished = checks.unfinished_downloads(path if path.is_dir() else path.parent)
        raise DataError("; ".join([str(error), *unfinished])) from error
    here = [record for record in rows if record.path.is_file()]
    there = {record.path for record in here}
    missing = tuple(record.path for record in rows if record.path not in there)
    errors = in_threads(checks.read_error, [record.path for record in here], progress=progress)
    readable = [record for record, reason in zip(here, errors, strict=True) if reason is None]
    half_split = getattr(reader(name), "half_split", None)
    report = Report(
        name=name,
        path=path,
        records=tuple(here),
        published=getattr(reader(name), "count", None),
        missing=missing,
        unreadable=tuple((record.path, reason) for record, reason in zip(here, errors, strict=True) if reason),
        duplicates=tuple(tuple(readable[index] for index in group) for group in duplicates(readable)),
        falling=checks.falling_share(here),
        absent=tuple(checks.absent_classes(rows, missing)),
        unlisted=() if getattr(reader(name), "originals", False) else tuple(checks.unlisted_images(rows)),
        unfinished=tuple(checks.unfinished_downloads(path)) if path.is_dir() else (),
        half_split=half_split(path) if half_split else None,
        options=options,
        taken=tuple(cautions(name, path, **options)),
    )
    report = replace(report, enough=_enough(report.good))
    if good is not None and report.good:
        own_csv.write(report.good, good)
        report = replace(report, written=good)
    return report


def _enough(records: Sequence[Record]) -> bool:
    """Whether `noref train` can divide these images as it does unless it is told otherwise."""
    try:
        split = random_split(records, test=0.2, validation=0.1, seed=0)
    except (DataError, OptionError):
        return False
    return len(split.test) >= TESTED and len({record.raw_score for record in records}) > 1


def _command(*words: str) -> str:
    return shlex.join(["noref", *words])


def _free_name(stem: str) -> str:
    """A CSV's name that nothing here has."""
    names = chain([stem], (f"{stem}-{number}" for number in count(2)))
    return next(f"{name}.csv" for name in names if not Path(f"{name}.csv").exists())


def shortfall(name: str, path: Path, **options: Any) -> str | None:
    """How many images a data set lacks, such as `931 of 1162 images, 231 missing`; None where it lacks none.

    Wanted are as many as its table names or, if that is more, as were published. Errors as `noref.data.readers.read`.
    """
    rows = read(name, path, **options)
    here, wanted = sum(record.path.is_file() for record in rows), _wanted(name, len(rows))
    return f"{here} of {wanted} images, {wanted - here} missing" if here < wanted else None


def _wanted(name: str, rows: int) -> int:
    return max(rows, getattr(reader(name), "count", None) or 0)


def _parts(counts: Sequence[int]) -> str:
    return ", ".join(f"{part} {count}" for part, count in zip(("training", "validation", "test"), counts, strict=True))


def _equal(names: Sequence[str], limit: int | None) -> str:
    return " = ".join(names) if limit is None or len(names) <= 3 else f"{len(names)} images: {checks.shortened(names)}"


def _text(path: Path) -> str:
    return printable(os.fspath(path))
