"""From a data set's folder to records: one short function per data set, one dictionary of them all.

Each takes the folder as the release unpacks it and gives the records in the order of the release's table,
with raw scores. A row whose image is not on the disk is left out, and `missing` names it; `every=True` keeps it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from noref.data.records import Record, Scale
from noref.data.tables import Files, number, read_csv, read_matlab, whole_number
from noref.errors import DataError, OptionError, unknown

PARTS = {
    "train": "training",
    "training": "training",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
PHOTO_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
LIVEC_TRAINING_IMAGES = 7


def livec(folder: Path, *, every: bool = False) -> list[Record]:
    """LIVE In the Wild (CLIVE): 1162 photos, MOS 0-100, higher is better.

    Layout: `Images/`, `Data/AllImages_release.mat`, `Data/AllMOS_release.mat`. The first seven rows of the tables
    are the images on which the raters were trained; they belong to no split and are left out.

    Args:
        folder: where `Images` and `Data` lie.
        every: keep rows whose image is not on the disk.

    Raises:
        DataError: a table is missing, broken or not as long as the other, a score is no number, or no image is there.

    Source:
        Ghadiyaram and Bovik 2016, https://live.ece.utexas.edu/research/ChallengeDB/
    """
    folder = Path(folder)
    images, scores = folder / "Data" / "AllImages_release.mat", folder / "Data" / "AllMOS_release.mat"
    files = read_matlab(images, "AllImages_release")
    values = read_matlab(scores, "AllMOS_release")
    if len(files) != len(values):
        raise DataError(f"{scores}: {len(values)} scores for the {len(files)} images of {images.name}")
    found, scale = Files(folder / "Images"), Scale(0, 100)
    rows = list(zip(files, values, strict=True))
    records = [
        Record(found.path(str(name)), number(str(value), scores, row), scale)
        for row, (name, value) in enumerate(rows, start=1)
    ]
    return kept(records[LIVEC_TRAINING_IMAGES:], folder, every=every)


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
        low: the worst-to-best range of the scores begins here. Without `low` and `high` the range is 0-100 if all
            scores lie in it and span more than 10, otherwise the smallest to the largest score of the file.
        high: the range ends here; give both or none.
        higher_is_better: false for DMOS-like scores.
        every: keep rows whose image is not on the disk. By default such a row is an error.

    Raises:
        DataError: names file and line: a missing column, an unknown image, a score that is no number or outside of
            the range, an image that is there twice, a split of another name; or all scores are the same.
    """
    file = _the_csv(Path(path))
    table = list(read_csv(file, ["path", "score"]))
    scores = [number(row["score"], file, line) for line, row in table]
    scale = _csv_scale(file, scores, low, high, higher_is_better)
    found, seen, records = Files(file.parent), dict[Path, int](), list[Record]()
    for (line, row), score in zip(table, scores, strict=True):
        image = Path(os.path.normpath(found.path(row["path"])))
        if not row["path"] or not (every or image.is_file()):
            raise DataError(f"{file}, line {line}: no image {row['path']!r}")
        if image in seen:
            raise DataError(f"{file}, line {line}: {row['path']} is there already, in line {seen[image]}")
        if not scale.low <= score <= scale.high:
            raise DataError(f"{file}, line {line}: score {score:g} is outside of {scale.low:g}-{scale.high:g}")
        seen[image] = line
        level = whole_number(row["level"], file, line, "level") if row.get("level") else None
        part = _part(row.get("split", ""), file, line)
        records.append(
            Record(image, score, scale, row.get("reference") or None, row.get("distortion") or None, level, part)
        )
    return records


def _the_csv(path: Path) -> Path:
    """The CSV file itself, or the only one in a folder."""
    if not path.is_dir():
        return path
    found = sorted(path.glob("*.csv"))
    if len(found) != 1:
        names = ", ".join(file.name for file in found)
        raise DataError(f"{path}: one CSV file wanted, there {f'are {len(found)}: {names}' if found else 'is none'}")
    return found[0]


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


def _part(text: str, file: Path, line: int) -> str | None:
    if text and text.casefold() not in PARTS:
        raise DataError(f"{file}, line {line}: split {text!r} is none of {', '.join(sorted(PARTS))}")
    return PARTS[text.casefold()] if text else None


def kept(records: list[Record], folder: Path, *, every: bool) -> list[Record]:
    """The records whose image is on the disk; all of them with `every`.

    Raises:
        DataError: no image at all is there.
    """
    if every:
        return records
    here = [record for record in records if record.path.is_file()]
    if not here:
        first = f"; the first should be {records[0].path}" if records else ""
        raise DataError(f"{folder}: none of the {len(records)} images is there{first}")
    return here


READERS: dict[str, Callable[..., list[Record]]] = {"livec": livec, "csv": csv}


def missing(name: str, path: Path) -> list[Path]:
    """The images that a data set's own table names and that are not on the disk, in the table's order.

    Raises:
        OptionError: no such data set.
        DataError: as the reader.
    """
    if name not in READERS:
        raise unknown("data set", name, READERS)
    return [record.path for record in READERS[name](path, every=True) if not record.path.is_file()]


def photos(folder: Path) -> list[Path]:
    """The image files below a folder, sorted by name: pristine photos, which need no scores.

    Raises:
        DataError: no such folder, or no image file in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PHOTO_SUFFIXES and path.is_file())
    if not found:
        raise DataError(f"{folder}: no image file in it")
    return found
