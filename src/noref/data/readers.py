"""From a data set's folder to records: one short function per data set, one dictionary of them all.

Each takes the folder as the release unpacks it and gives the records in the order of the release's table,
with raw scores. A row whose image is not on the disk is left out, and `missing` names it; `every=True` keeps it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from noref.data import photo_sets, reference_sets
from noref.data.records import Record, Scale
from noref.data.tables import Files, kept, number, part, place, read_csv, read_text, whole_number
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
    """A table of your own: `path,score[,reference,distortion,level,split]`.

    Args:
        path: the CSV file, or a folder with exactly one. Image paths in it are relative to the file.
        low: the worst-to-best range of the scores begins here. Without `low` and `high` the range is that of
            `NAME.scale.json` beside `NAME.csv`, such as `{"low": 1, "high": 5, "higher_is_better": false}`; without
            that it is 0-100 if all scores lie in it and span more than 10, otherwise the smallest to the largest
            score of the file.
        high: the range ends here; give both or none.
        higher_is_better: false for DMOS-like scores.
        every: keep rows whose image is not on the disk. By default such a row is an error.

    Raises:
        OptionError: no such file or folder, or a range that is none.
        DataError: names file and line: a missing column, an unknown image, a score that is no number or outside of
            the range, an image that is there twice, a split of another name; or all scores are the same.
    """
    file = the_csv(place(path))
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
        rows.append((line, Record(image, score, scale, *names, level, part(row.get("split", ""), file, line))))
    return kept(rows, file, found, every=every)


def the_csv(path: Path) -> Path:
    """The CSV file itself, or the only one in a folder.

    Raises:
        DataError: there is none, or more than one.
    """
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
        return Scale(float(content.pop("low")), float(content.pop("high")), _flag(content))
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise DataError(f"{path}: not a scale, low, high and higher_is_better: {error}") from error


def _flag(content: dict[str, Any]) -> bool:
    """What is left of a scale file: its direction."""
    if set(content) - {"higher_is_better"} or not isinstance(content.get("higher_is_better", True), bool):
        raise ValueError(f"{content}")
    return bool(content.get("higher_is_better", True))


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


READERS: dict[str, Callable[..., list[Record]]] = {
    "live": reference_sets.live,
    "live-original": reference_sets.live_original,
    "csiq": reference_sets.csiq,
    "tid2013": reference_sets.tid2013,
    "kadid10k": reference_sets.kadid10k,
    "livec": photo_sets.livec,
    "koniq10k": photo_sets.koniq10k,
    "livefb": photo_sets.livefb,
    "spaq": photo_sets.spaq,
    "agiqa3k": photo_sets.agiqa3k,
    "bid": photo_sets.bid,
    "csv": csv,
}
SCORES = {
    "live": "realigned DMOS, -3 to 112, lower is better",
    "live-original": "original DMOS, before realignment, 0 to 100, lower is better",
    "csiq": "DMOS, 0 to 1, lower is better",
    "tid2013": "MOS, 0 to 9, higher is better",
    "kadid10k": "DMOS by name, 1 to 5, yet higher is better",
    "livec": "MOS, 0 to 100, higher is better",
    "koniq10k": "MOS, 0 to 100, higher is better",
    "livefb": "MOS of whole images, 0 to 100, higher is better",
    "spaq": "MOS, 0 to 100, higher is better",
    "agiqa3k": "MOS of quality, not of alignment with the prompt, 0 to 5, higher is better",
    "bid": "MOS, 0 to 5, higher is better",
    "csv": "scores of a CSV file, on the range that it spans or is given",
}


def describe(name: str) -> str:
    """Which scores of a data set are read, with range and direction, in words for a report.

    Raises:
        OptionError: no such data set.

    Example:
        >>> describe("live")
        'realigned DMOS, -3 to 112, lower is better'
    """
    if name not in SCORES:
        raise unknown("data set", name, SCORES)
    return SCORES[name]


def missing(name: str, path: Path) -> list[Path]:
    """The images that a data set's own table names and that are not on the disk, in the table's order.

    Raises:
        OptionError: no such data set, or as the reader.
        DataError: as the reader.
    """
    if name not in READERS:
        raise unknown("data set", name, READERS)
    return [record.path for record in READERS[name](path, every=True) if not record.path.is_file()]


def photos(folder: Path) -> list[Path]:
    """The image files below a folder, sorted by name: pristine photos, which need no scores.

    Raises:
        OptionError: no such folder.
        DataError: no image file in it.
    """
    folder = place(folder)
    if not folder.is_dir():
        raise OptionError(f"{folder}: not a folder")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PHOTO_SUFFIXES and path.is_file())
    if not found:
        raise DataError(f"{folder}: no image file in it")
    return found
