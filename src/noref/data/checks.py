"""The single checks of a data set, one function each; `check` runs them all and says which make a data set wrong."""

from __future__ import annotations

import re
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np

from noref import images
from noref.card import Preprocessing
from noref.data.readers import PHOTO_SUFFIXES
from noref.data.records import Record
from noref.errors import ImageError, printable

SMALL = Preprocessing(max_pixels=10_000, min_side=1)  # decodes every byte, computes little
UNFINISHED = re.compile(r"\.(part|partial|crdownload|download|filepart|aria2|opdownload)\d*$", re.IGNORECASE)
CLASSES: dict[str, Callable[[Record], str | None]] = {
    "distortion": lambda row: row.distortion,
    "reference": lambda row: row.reference,
    "part of the official split": lambda row: row.split,
    "folder": lambda row: printable(str(row.path.parent)),
}


def read_error(path: Path) -> str | None:
    """Why an image cannot be read (names the file); None if it can."""
    try:
        images.read(path, preprocessing=SMALL)
    except ImageError as error:
        return str(error)
    return None


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


def absent_classes(rows: Sequence[Record], missing: Collection[Path]) -> list[str]:
    """Distortions, references, parts of the official split and folders of which every image is missing.

    One sentence for each of the four; none where every image of `rows` is missing, or no image.
    """
    lost, sentences, told = set(missing), [], list[set[Path]]()
    for kind, of in CLASSES.items() if 0 < len(lost) < len(rows) else ():
        classes: dict[str, set[Path]] = {}
        for row in rows:
            if (name := of(row)) is not None:
                classes.setdefault(name, set()).add(row.path)
        empty = {name: paths for name, paths in classes.items() if paths <= lost and paths not in told}
        if empty and len(classes) > 1:
            told += empty.values()
            count = sum(map(len, empty.values()))
            sentences.append(f"of the {kind} {shortened(list(empty))} not one image is there ({count} missing)")
    return sentences


def unlisted_images(rows: Sequence[Record]) -> list[Path]:
    """Image files in the folders of the rows that are in no row, and no row's reference either."""
    named: dict[Path, set[str]] = {}
    for row in rows:
        named.setdefault(row.path.parent, set()).add(row.path.name)
    references = {row.reference.casefold() for row in rows if row.reference is not None}
    return [
        path
        for folder, here in named.items()
        for path in _entries(folder)
        if path.suffix.lower() in PHOTO_SUFFIXES and path.name not in here and path.name.casefold() not in references
    ]


def unfinished_downloads(folder: Path) -> list[str]:
    """Downloads that did not finish and archives that are cut short, in a folder, one below it, or beside it.

    Beside it only what begins with the folder's own name counts. Packed archives (`.tar.gz`, `.rar`, `.7z`) are not
    opened; only their unfinished downloads are found.
    """
    near = _entries(folder)
    near += [path for inner in near if inner.is_dir() for path in _entries(inner)]
    whole = folder.absolute()
    near += [path for path in _entries(whole.parent) if path.name.casefold().startswith(f"{whole.name.casefold()}.")]
    files = [path for path in near if not path.name.startswith(".") and path.is_file()]
    return [f"{printable(str(path))}: {why}" for path in files if (why := _unfinished(path))]


def across_split(groups: Sequence[Sequence[Record]]) -> list[Sequence[Record]]:
    """Those sets of byte-identical images that have members in two parts of the official split."""
    return [group for group in groups if len({record.split for record in group} - {None, "unused"}) > 1]


def part_counts(records: Sequence[Record]) -> tuple[int, ...]:
    """How many records are in the training, validation and test part of the official split."""
    count = Counter(record.split for record in records)
    return tuple(count[part] for part in ("training", "validation", "test"))


def shortened(names: Sequence[str], limit: int = 3) -> str:
    """The first names of a list, for a sentence.

    Example:
        >>> shortened(["a", "b", "c", "d"]), shortened(["a", "b"])
        ('a, b, c and 1 more', 'a, b')
    """
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest


def _entries(folder: Path) -> list[Path]:
    """What is in a folder, sorted; nothing where there is no such folder or it cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _unfinished(path: Path) -> str | None:
    """Why a file is no whole download; None where nothing shows that."""
    if UNFINISHED.search(path.name):
        return "a download that did not finish"
    if path.suffix.lower() == ".zip" and not zipfile.is_zipfile(path):
        return "no zip archive, or one that is cut short"
    if path.suffix.lower() == ".tar":
        try:
            with tarfile.open(path, "r:") as archive:
                archive.getmembers()
        except (tarfile.TarError, OSError) as error:
            return f"no tar archive, or one that is cut short: {error}"
    return None
