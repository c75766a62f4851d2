"""The doctor of a data set: what is there, what is not, and what would spoil a result."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from noref import images
from noref.card import Preprocessing
from noref.data.readers import READERS
from noref.data.records import Record
from noref.data.splits import twins
from noref.errors import ImageError, unknown

PUBLISHED = {
    "live": 779,
    "csiq": 866,
    "tid2013": 3000,
    "kadid10k": 10125,
    "livec": 1162,
    "koniq10k": 10073,
    "livefb": 39810,
    "spaq": 11125,
}
GLANCE = Preprocessing(max_pixels=10_000, min_side=1)  # every byte is read, little is computed


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
    """

    name: str
    path: Path
    records: tuple[Record, ...]
    published: int | None
    missing: tuple[Path, ...]
    unreadable: tuple[tuple[Path, str], ...]
    twins: tuple[tuple[Path, ...], ...]
    falling: float | None

    @property
    def problems(self) -> list[str]:
        """What is wrong, one sentence each; empty when nothing is."""
        found = []
        lacking = shortfall(self.name, len(self.records), len(self.missing))
        if lacking:
            found.append(f"incomplete: {lacking}")
        if self.published and len(self.records) > self.published:
            found.append(f"{len(self.records)} images, the release has {self.published}")
        if self.unreadable:
            found.append(f"{len(self.unreadable)} images cannot be read")
        outside = [r for r in self.records if not r.scale.low <= r.raw_score <= r.scale.high]
        if outside:
            found.append(f"{len(outside)} scores leave the scale {outside[0].scale}, such as {outside[0].raw_score:g}")
        if self.records and len({r.raw_score for r in self.records}) == 1:
            found.append(f"every score is {self.records[0].raw_score:g}")
        if self.falling is not None and self.falling < 0.5:
            found.append(
                f"quality falls with the level of distortion in only {self.falling:.0%} of the series: "
                "the scores may run the other way"
            )
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
        lines = [f"{self.name} in {_text(self.path)}", *_facts(self.records, self.published)]
        if self.falling is not None:
            lines.append(f"  direction     quality falls with the level in {self.falling:.0%} of the series")
        lines += _listed("missing", [_text(path) for path in self.missing], limit)
        lines += _listed("unreadable", [reason for _, reason in self.unreadable], limit)
        lines += _listed(
            "same bytes, kept together in every split", [" = ".join(map(_text, t)) for t in self.twins], limit
        )
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
        OptionError: no such data set.
        DataError: a table is missing or broken; names file and line.
    """
    if name not in READERS:
        raise unknown("data set", name, READERS)
    rows = READERS[name](path, every=True, **options)
    here = [record for record in rows if record.path.is_file()]
    unreadable = []
    with ThreadPoolExecutor(threads) as pool:
        for done, (record, reason) in enumerate(zip(here, pool.map(_damage, here), strict=True), start=1):
            if reason is not None:
                unreadable.append((record.path, reason))
            if progress is not None:
                progress(done, len(here))
    return Report(
        name=name,
        path=Path(path),
        records=tuple(here),
        published=PUBLISHED.get(name),
        missing=tuple(record.path for record in rows if not record.path.is_file()),
        unreadable=tuple(unreadable),
        twins=tuple(tuple(here[index].path for index in group) for group in twins(here)),
        falling=falling_share(here),
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
    wanted = max(here + missing, PUBLISHED.get(name, 0))
    return f"{here} of {wanted} images, {wanted - here} missing" if here < wanted else None


def falling_share(records: Sequence[Record]) -> float | None:
    """Share of the series of one reference and distortion in which quality falls as the level rises.

    A series falls when the slope of its least-squares line is negative. None where there is no series of two levels.

    Example:
        >>> from noref.data.records import Scale
        >>> weak, strong = (Record(Path("a"), raw, Scale(0, 9), "r", "blur", lv) for raw, lv in ((7, 1), (3, 2)))
        >>> falling_share([weak, strong])
        1.0
    """
    series: dict[tuple[str | None, str | None], list[tuple[int, float]]] = {}
    for record in records:
        if record.level is not None:
            series.setdefault((record.reference, record.distortion), []).append((record.level, record.quality))
    slopes = []
    for points in series.values():
        levels, quality = np.array(points).T
        if np.ptp(levels) > 0:
            slopes.append(float((levels - levels.mean()) @ (quality - quality.mean())))
    return sum(slope < 0 for slope in slopes) / len(slopes) if slopes else None


def _damage(record: Record) -> str | None:
    """Why an image cannot be read (names the file); None if it can."""
    try:
        images.read(record.path, preprocessing=GLANCE)
    except ImageError as error:
        return str(error)
    return None


def _facts(records: Sequence[Record], published: int | None) -> list[str]:
    lines = [f"  images        {len(records)}" + (f" of {published} published" if published else "")]
    if records:
        raws = [record.raw_score for record in records]
        lines.append(f"  scores        {min(raws):g} to {max(raws):g} on a scale of {records[0].scale}")
    for what, values in (
        ("references", [record.reference for record in records]),
        ("distortions", [record.distortion for record in records]),
    ):
        if any(values):
            lines.append(f"  {what:<14}{len(set(values) - {None})}")
    parts = [record.split for record in records if record.split]
    if parts:
        counts = ", ".join(f"{part} {parts.count(part)}" for part in ("training", "validation", "test"))
        lines.append(f"  official split {counts}")
    return lines


def _listed(title: str, entries: Sequence[str], limit: int | None) -> list[str]:
    if not entries:
        return []
    shown = list(entries if limit is None else entries[:limit])
    rest = [f"    ... and {len(entries) - len(shown)} more"] if len(shown) < len(entries) else []
    return [f"  {title}: {len(entries)}", *(f"    {entry}" for entry in shown), *rest]


def _text(path: Path) -> str:
    return images.printable(os.fspath(path))
