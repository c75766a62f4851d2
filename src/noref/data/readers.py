"""From a data set's folder to records: one dictionary of all readers.

A reader is a function `folder -> list[Record]`: from the folder as the release unpacks it to raw scores in the order of
the release's table. A new data set is one function and one line of `READERS`; what else may be known of it is listed at
`noref.data.release.Release`. A row whose image is not on the disk is left out, and `missing` names it; a reader with
the parameter `every` keeps it with `every=True`.
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from noref.data import data_sets as sets
from noref.data.records import Record, Scale
from noref.data.release import Release, on_disk
from noref.data.tables import Files, existing, number, read_csv, read_text, split_part, whole_number
from noref.errors import DataError, OptionError, unknown

PHOTO_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
SCALE_SUFFIX = ".scale.json"  # beside a CSV: the range and direction of its scores


def csv(
    path: Path,
    *,
    low: float | None = None,
    high: float | None = None,
    higher_is_better: bool = True,
    every: bool = False,
) -> list[Record]:
    """Scores of a CSV file, on the range that it spans or is given.

    The columns are `path,score`, and where they are known `reference,distortion,level,split`.

    Args:
        path: the CSV file, or a folder with exactly one. Image paths in it are relative to the file.
        low: the range of the scores begins here. Without `low` and `high` the range is that of `NAME.scale.json`
            beside `NAME.csv`, such as `{"low": 1, "high": 5, "higher_is_better": false}`; without that it is 0-100 if
            all scores lie in it and span more than 10, otherwise the smallest to the largest score of the file.
        high: the range ends here; give both or none.
        higher_is_better: false for DMOS-like scores.
        every: keep rows whose image is not on the disk. By default such a row is an error.

    Raises:
        OptionError: no such file or folder, or a range without two ends or with high below low.
        DataError: names file and line: a missing column, an unknown image, a score that is no number or outside of
            the range, an image that is there twice, a split of another name; or all scores are the same.
    """
    file = _csv_file(existing(path))
    table = list(read_csv(file, ["path", "score"]))
    scores = [number(row["score"], file, line) for line, row in table]
    written = _written_scale(file) if low is None and high is None else None
    scale = written or _csv_scale(file, scores, low, high, higher_is_better)
    found, rows = Files(file.parent), list[tuple[int, Record]]()
    for (line, row), score in zip(table, scores, strict=True):
        image = Path(os.path.normpath(found.path(row["path"])))
        if not row["path"] or not (every or image.is_file()):
            raise DataError(f"{file}, line {line}: no image {row['path']!r}")
        if not scale.low <= score <= scale.high:
            raise DataError(f"{file}, line {line}: score {score:g} is outside of {scale.low:g}-{scale.high:g}")
        level = whole_number(row["level"], file, line, "level") if row.get("level") else None
        names = row.get("reference") or None, row.get("distortion") or None
        rows.append((line, Record(image, score, scale, *names, level, split_part(row.get("split", ""), file, line))))
    return on_disk(rows, file, found, every=every)


def _csv_file(path: Path) -> Path:
    """The CSV file itself, or the only one in a folder."""
    if not path.is_dir():
        return path
    found = sorted(path.glob("*.csv"))
    if len(found) != 1:
        names = ", ".join(file.name for file in found)
        raise DataError(f"{path}: one CSV file wanted, there {f'are {len(found)}: {names}' if found else 'is none'}")
    return found[0]


def _written_scale(file: Path) -> Scale | None:
    """What `NAME.scale.json` beside `NAME.csv` says; None where there is no such file."""
    path = file.with_name(file.stem + SCALE_SUFFIX)
    if not path.is_file():
        return None
    try:
        content = json.loads(read_text(path))
        low, high, higher = (content.pop(key, None) for key in ("low", "high", "higher_is_better"))
        if content or not isinstance(higher, bool | None):
            raise ValueError(f"{content or higher}")
        return Scale(float(low), float(high), higher is not False)
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not a scale, low, high and higher_is_better: {error}") from error


def _csv_scale(file: Path, scores: list[float], low: float | None, high: float | None, higher: bool) -> Scale:
    """The range the caller gives; else 0-100 if the scores look like it, else the range that they span."""
    if not scores:
        raise DataError(f"{file}: no rows")
    if (low is None) != (high is None):
        raise OptionError("give both ends of the score range, or none")
    least, most = min(scores), max(scores)
    if low is None or high is None:
        if least == most:
            raise DataError(f"{file}: every score is {least:g}; there is nothing to learn, and no range to guess")
        low, high = (0, 100) if least >= 0 and most <= 100 and most - least > 10 else (least, most)
    try:
        return Scale(low, high, higher)
    except ValueError as error:
        raise OptionError(str(error)) from error


LIVE = Release(sets.live, sets.LIVE_TABLES, Scale(-3, 112, False), "realigned DMOS", count=779, originals=True)
LIVE_ORIGINAL = replace(
    LIVE, tables=sets.LIVE_ORIGINAL_TABLES, scale=Scale(0, 100, False), what="original DMOS, before realignment"
)
LIVEFB = Release(
    sets.livefb,
    sets.LIVEFB_TABLES,
    Scale(0, 100),
    "MOS of whole images",
    count=39810,
    official=(30253, 7727, 1827),
    half_split=sets.livefb_half_split,
)
GENERATED = "MOS of quality, not of alignment with the prompt"
READERS: dict[str, Callable[..., list[Record]]] = {
    "live": LIVE,
    "live-original": LIVE_ORIGINAL,
    "csiq": Release(sets.csiq, sets.CSIQ_TABLES, Scale(0, 1, higher_is_better=False), "DMOS", count=866),
    "tid2013": Release(sets.tid2013, sets.TID2013_TABLES, Scale(0, 9), "MOS", count=3000),
    "kadid10k": Release(sets.kadid10k, sets.KADID10K_TABLES, Scale(1, 5), "MOS, called DMOS", count=10125),
    "livec": Release(sets.livec, sets.LIVEC_TABLES, Scale(0, 100), "MOS", count=1162),
    "koniq10k": Release(sets.koniq10k, sets.KONIQ10K_TABLES, Scale(0, 100), "MOS", 10073, official=(7058, 1000, 2015)),
    "livefb": LIVEFB,
    "spaq": Release(sets.spaq, sets.SPAQ_TABLES, Scale(0, 100), "MOS", count=11125),
    "agiqa3k": Release(sets.agiqa3k, sets.AGIQA3K_TABLES, Scale(0, 5), GENERATED, count=2982),
    "bid": Release(sets.bid, sets.BID_TABLES, Scale(0, 5), "MOS", count=586),
    "csv": csv,
}


def reader(name: str) -> Callable[..., list[Record]]:
    """The reader of a data set; an unknown name is an OptionError. What is known besides are attributes of it."""
    if name not in READERS:
        raise unknown("data set", name, READERS)
    return READERS[name]


def read(name: str, path: Path, **options: Any) -> list[Record]:
    """Every row of a data set, also where its image is not on the disk, if the reader keeps such rows.

    Args:
        name: a key of `READERS`.
        path: folder or CSV file, as the reader takes it.
        options: more keyword arguments of the reader, such as `low` and `high` of a CSV.

    Raises:
        OptionError: no such data set, file or folder, or an option that makes no sense.
        DataError: a table is missing or broken, or no image is there; names file and line.
    """
    found = reader(name)
    every = {"every": True} if "every" in inspect.signature(found).parameters else {}
    return found(Path(path), **every, **options)


def describe(name: str) -> str:
    """Which scores of a data set are read, in words for a report: from `scores` or the docstring of its reader.

    Example:
        >>> describe("live")
        'realigned DMOS, -3 to 112, lower is better'
    """
    found = reader(name)
    first = (found.__doc__ or "").strip().split("\n")[0].rstrip(".")
    words = getattr(found, "scores", None) or first or f"scores as the reader {name} gives them"
    return str(words if words[:2].isupper() else words[0].lower() + words[1:])


def missing(name: str, path: Path) -> list[Path]:
    """The images that a data set's own table names and that are not on the disk, in its order; errors as `read`."""
    return [record.path for record in read(name, path) if not record.path.is_file()]


def photos(folder: Path) -> list[Path]:
    """The image files below a folder, sorted by name: pristine photos, which need no scores.

    Raises:
        OptionError: no such folder.
        DataError: no image file in it.
    """
    folder = existing(folder)
    if not folder.is_dir():
        raise OptionError(f"{folder}: not a folder")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PHOTO_SUFFIXES and path.is_file())
    if not found:
        raise DataError(f"{folder}: no image file in it")
    return found
