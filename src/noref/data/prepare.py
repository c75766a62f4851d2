"""Resize a data set once, into a folder that the same reader takes afterwards.

    out/...            every table and every image under its own name and at its own place
    out/prepared.jsonl line 1: the settings; then a line for each image that is finished

An image keeps its file name, so tables, splits and checksums are those of the original, and a split file fits both.
What is in the file is PNG, or JPEG, whatever its suffix says: decoders go by the content.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from PIL import Image

from noref import images
from noref.card import Preprocessing
from noref.data.own_csv import SCALE_SUFFIX
from noref.data.readers import read, reader
from noref.data.tables import existing
from noref.data.threads import Progress, in_threads
from noref.errors import DataError, ImageError, OptionError
from noref.writing import write_bytes, write_text

FORMAT = 1
JOURNAL = "prepared.jsonl"
TABLE_6 = {  # shorter side in pixels; CSIQA's Table 6, column "Resize"; None: left as it is
    **dict.fromkeys(("live", "live-original", "tid2013", "kadid10k", "koniq10k", "spaq"), 384),
    **dict.fromkeys(("csiq", "livefb"), 512),
    "livec": None,
}
TABLE_SUFFIXES = {".csv", ".json", ".mat", ".parquet", ".tsv", ".txt", ".xls", ".xlsx", ".xml", ".yaml", ".yml"}


@dataclass(frozen=True)
class Prepared:
    """What `prepare` did."""

    path: Path  # what the reader takes: the folder, or the CSV file in it
    side: int  # length of the images' shorter side in pixels
    written: int  # how many images were resized now
    kept: int  # how many were finished already
    missing: int  # how many images of the table were not on the disk
    failed: tuple[tuple[Path, str], ...]  # the images that could not be read, with the reason
    table: Mapping[str, Any]  # what is to be said of it, if it is a csv


def prepare(
    name: str,
    path: Path,
    out: Path,
    *,
    side: int | None = None,
    jpeg: int | None = None,
    threads: int | None = None,
    table: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Write a data set whose images have a shorter side of `side` pixels, aspect kept, larger and smaller ones alike.

    Every file appears whole or not at all, so a call that was interrupted is simply repeated: finished images stay,
    unless their source has another size or date. An image that has the right size is copied byte for byte.

    Args:
        name: a key of `READERS`.
        path: folder or CSV file, as the reader takes it.
        out: the folder, made where it is missing.
        side: pixels; None: what CSIQA's Table 6 has for this set.
        jpeg: quality of the files, 95 to 100, colours not subsampled; None: PNG, which loses nothing.
        table: what is said of a csv, as `noref.data.own_csv.options` gives it.
        threads: as for `in_threads`, like `progress`.

    Raises:
        OptionError: an unknown set, a set that Table 6 does not have or leaves as it is and no `side`, an `out` that
            holds something else or other settings, or a number out of its range.
        DataError: what the reader finds wrong; or an image that lies outside of the data set's folder.

    Source:
        Table 6 of CSIQA: "512 x 384" for sets of other sizes and shapes, which we read as the shorter side.
    Differs:
        The paper's squeezed aspect (512 x 384 for every shape) is not reproduced. Pillow's bicubic filter; the paper
        names none. JPEG files are decoded at 1/2 to 1/8 where that leaves three times the size needed.
    """
    side = _side(name, side)
    source, out = existing(path), Path(out)
    root = source.parent if source.is_file() else source
    if jpeg is not None and not 95 <= jpeg <= 100:
        raise OptionError(f"JPEG quality must be 95 to 100, got {jpeg}: lower ones change the scores")
    said = dict(table or {})
    records = read(name, source, **said)
    for image in (record.path for record in records):
        if not image.is_relative_to(root) or ".." in image.relative_to(root).parts:
            raise DataError(f"{image}: not below {root}; such an image cannot be copied")
    finished = _begin(root, out, {"format": FORMAT, "name": name, "side": side, "jpeg": jpeg, "filter": "bicubic"})
    _copy_tables(name, source, out)
    here = [record.path for record in records if record.path.is_file()]
    work = partial(_finish, root=root, out=out, side=side, jpeg=jpeg, finished=finished, lock=Lock())
    results = in_threads(work, here, threads=threads, progress=progress)
    return Prepared(
        path=out / source.name if source.is_file() else out,
        side=side,
        written=results.count(True),
        kept=results.count(False),
        missing=len(records) - len(here),
        table=said | ({"images": str(out / Path(said["images"]).relative_to(root))} if "images" in said else {}),
        failed=tuple((path, why) for path, why in zip(here, results, strict=True) if isinstance(why, str)),
    )


def _side(name: str, side: int | None) -> int:
    reader(name)  # an unknown name first
    if side is None and TABLE_6.get(name) is None:
        why = "leaves its images as they are" if name in TABLE_6 else "does not have it"
        raise OptionError(f"{name}: Table 6 of CSIQA {why}; --side PIXELS resizes all the same")
    chosen = TABLE_6[name] if side is None else side
    if chosen is None or not 32 <= chosen <= 8192:
        raise OptionError(f"the shorter side must be 32 to 8192 pixels, got {chosen}")
    return chosen


def _begin(root: Path, out: Path, settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Make the folder with its journal, or read the journal: image -> size and date of its source, size of its copy."""
    whole, goal = root.resolve(), out.resolve()
    if goal == whole or goal in whole.parents:
        raise OptionError(f"{out}: the data set lies in it; choose another folder")
    journal = out / JOURNAL
    if not journal.exists():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise OptionError(f"{out}: not an empty folder, and no {JOURNAL} in it")
        out.mkdir(parents=True, exist_ok=True)
        write_text(journal, json.dumps(settings) + "\n")
        return {}
    text = journal.read_text(encoding="utf-8", errors="replace")
    before, *entries = _entries(text) or [{}]
    changed = [f"{key} {before.get(key)}, not {now}" for key, now in settings.items() if before.get(key) != now]
    if changed:
        raise OptionError(f"{journal}: made with {', '.join(changed)}; choose another folder")
    if not text.endswith("\n"):  # the last line was cut off: whatever follows begins a new one
        with journal.open("a", encoding="utf-8") as file:
            file.write("\n")
    return {entry["path"]: entry for entry in entries if isinstance(entry.get("path"), str)}


def _entries(text: str) -> list[dict[str, Any]]:
    """The lines of the journal, without those that an interruption has cut off."""
    found = []
    for line in text.splitlines():
        with suppress(ValueError):
            found.append(json.loads(line))
    return [entry for entry in found if isinstance(entry, dict)]


def _copy_tables(name: str, source: Path, out: Path) -> None:
    """Every table below the folder, as it is, or the one table; one beside the folder comes beside the new images."""
    root, here = source, out.resolve()
    names = [Path(table) for table in getattr(reader(name), "tables", ()) if table.startswith("../")]
    if source.is_file():
        root, names = source.parent, [Path(source.name), Path(source.stem + SCALE_SUFFIX)]
    else:
        found = [path for path in root.rglob("*") if path.suffix.lower() in TABLE_SUFFIXES]
        names += [path.relative_to(root) for path in found if not path.resolve().is_relative_to(here)]
    for relative in names:
        hidden = any(part.startswith(".") and part != ".." for part in relative.parts)
        if not hidden and (root / relative).is_file():
            goal = out / relative.as_posix().removeprefix("../")
            goal.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(goal, (root / relative).read_bytes())


def _finish(
    path: Path, *, root: Path, out: Path, side: int, jpeg: int | None, finished: dict[str, dict[str, Any]], lock: Lock
) -> bool | str:
    """Resize one image: whether that was still to be done, or the reason why it failed."""
    relative, state = path.relative_to(root), path.stat()
    goal, known = out / relative, {"path": relative.as_posix(), "size": state.st_size, "mtime_ns": state.st_mtime_ns}
    before = finished.get(relative.as_posix(), {})
    if known.items() <= before.items() and goal.is_file() and goal.stat().st_size == before.get("bytes"):
        return False
    try:
        content = _resized(path, side, jpeg)
    except ImageError as error:
        return str(error)
    goal.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(goal, content)
    with lock, (out / JOURNAL).open("a", encoding="utf-8") as journal:
        journal.write(json.dumps({**known, "bytes": len(content)}) + "\n")
    return True


def _resized(path: Path, side: int, jpeg: int | None) -> bytes:
    """The bytes of the copy."""
    sizing = Preprocessing(max_pixels=1, min_side=side, crop=side)  # `max_pixels` alone would leave nothing
    pixels = images.read(path, preprocessing=sizing)
    with Image.open(path) as original:
        if sorted(original.size) == sorted(pixels.shape[:2]):
            return path.read_bytes()
    content = io.BytesIO()
    form = {"format": "PNG"} if jpeg is None else {"format": "JPEG", "quality": jpeg, "subsampling": 0}
    Image.fromarray(pixels).save(content, **form)
    return content.getvalue()
