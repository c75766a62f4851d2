"""From a data set's folder to records: one dictionary of all readers.

A reader is a function `folder -> list[Record]`: from the folder as the release unpacks it to raw scores in the order of
the release's table. A new data set is one function and one line of `READERS`; what else may be known of it is listed at
`noref.data.release.Release`. A row whose image is not on the disk is left out, and `missing` names it; a reader with
the parameter `every` keeps it with `every=True`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from noref.data import data_sets as sets
from noref.data import own_csv
from noref.data.own_csv import csv as csv
from noref.data.records import Record, Scale
from noref.data.release import Release
from noref.data.tables import existing
from noref.errors import DataError, OptionError, unknown

PHOTO_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}


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
        options: more keyword arguments of the reader `csv`, as `noref.data.own_csv.options` gives them.

    Raises:
        OptionError: no such data set, file or folder, or an option that makes no sense.
        DataError: a table is missing or broken, or no image is there; names file and line.
    """
    found = reader(name)
    every = {"every": True} if "every" in inspect.signature(found).parameters else {}
    return found(Path(path), **every, **only_csv(name, options))


def only_csv(name: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Options of a table of one's own; an OptionError where the data set is another."""
    if options and name != "csv":
        raise OptionError(f"{name}: {own_csv.FLAGS} are for csv=FILE")
    return options


def cautions(name: str, path: Path, **options: Any) -> list[str]:
    """What was taken for granted in reading a data set, one sentence each; arguments and errors as for `read`."""
    return own_csv.cautions(Path(path), **options) if name == "csv" else []


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


def missing(name: str, path: Path, **options: Any) -> list[Path]:
    """The images that a data set's own table names and that are not on the disk, in its order; errors as `read`."""
    return [record.path for record in read(name, path, **options) if not record.path.is_file()]


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
