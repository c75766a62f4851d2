"""From a data set's folder to records: one short function per data set, one dictionary of them all.

Each takes the folder as the release unpacks it and gives the records in the order of the release's table,
with raw scores. A row whose image is not on the disk is left out, and `missing` names it; `every=True` keeps it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from noref.data.records import Record, Scale
from noref.data.standard_sets import csiq, kadid10k, koniq10k, live, livefb, spaq, tid2013
from noref.data.tables import Files, kept, number, part, read_csv, read_matlab, whole_number
from noref.errors import DataError, OptionError, unknown

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
    rows = [
        (row, Record(found.path(str(name)), number(str(value), scores, row), scale))
        for row, (name, value) in enumerate(zip(files, values, strict=True), start=1)
    ]
    return kept(rows[LIVEC_TRAINING_IMAGES:], images, every=every)


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
    return kept(rows, file, every=every)


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


READERS: dict[str, Callable[..., list[Record]]] = {
    "live": live,
    "csiq": csiq,
    "tid2013": tid2013,
    "kadid10k": kadid10k,
    "livec": livec,
    "koniq10k": koniq10k,
    "livefb": livefb,
    "spaq": spaq,
    "csv": csv,
}


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
