"""A labelled set in the manner of KADID-10k, from plain photos: degraded images and a table that says how.

    out/references/NAME.png                   the photo as it was read: upright, 8 bit, RGB
    out/images/NAME_DISTORTION_LEVEL.png      all distortions at all levels, or
    out/images/NAME_NUMBER.png                random compositions
    out/set.csv                               path,score,reference,distortion,level
    out/set.json                              the settings, which a continued set must share

A photo is finished when its rows lie in `out/.rows`; a call that is repeated keeps what is finished.
"""

from __future__ import annotations

import csv
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from noref import images
from noref.degrade.blur_noise import gaussian_taps
from noref.degrade.pipeline import DISTORTIONS, LEVELS, Composition, apply_composition, sample_composition
from noref.errors import DataError, ImageError, OptionError
from noref.writing import replacing

COLUMNS = ("path", "score", "reference", "distortion", "level")
SCORE = "SSIM against the reference x 100, mean over R, G and B: measured, no human score; 100 is identical"
Row = tuple[str, ...]


@dataclass(frozen=True)
class SetResult:
    """What `write_set` did.

    Attributes:
        table: the CSV file.
        written: how many degraded images were made now.
        kept: how many were there from an earlier call.
        skipped: the photos that could not be read, each with the reason.
    """

    table: Path
    written: int
    kept: int
    skipped: list[tuple[Path, str]]


def write_set(
    photos: Iterable[Path | str],
    out: Path | str,
    *,
    compositions: int | None = None,
    seed: int = 0,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> SetResult:
    """Write each photo under all 24 distortions at all levels, or under random compositions, with a table.

    Every file appears whole or not at all, so a call that was interrupted is simply repeated: finished photos stay
    unless the photo is newer. An image depends on the seed, the photo's name and its own number only, not on the
    other photos, the order or the workers.

    Args:
        photos: image files; those below `out` are left out.
        out: the folder, made where it is missing.
        compositions: so many random compositions a photo; None for all distortions x levels (120 a photo).
        seed: of all chance.
        workers: how many photos at a time; the work is done in threads, outside Python's lock.
        progress: called with (photos done, photos in all) after each photo.

    Raises:
        OptionError: `out` holds a set with other settings or cannot be written to, or a number is below 1.
        DataError: there is no photo, or two that cannot be told apart by name and folder.
    """
    if workers < 1 or (compositions is not None and compositions < 1):
        raise OptionError(f"workers and compositions must be 1 or more, got {workers} and {compositions}")
    out = Path(out)
    names = _names(photos, out)
    _begin(out, {"seed": seed, "compositions": compositions, "score": SCORE})
    work = partial(_finish_photo, out=out, compositions=compositions, seed=seed)
    done: list[tuple[list[Row], int] | str] = []
    with _pool(workers) as pool:
        for result in pool.map(work, names.values(), names):
            done.append(result)
            if progress is not None:
                progress(len(done), len(names))
    finished = [result for result in done if not isinstance(result, str)]
    rows = [row for rows, _ in finished for row in rows]
    _write_rows(out / "set.csv", [COLUMNS, *rows])
    written = sum(new for _, new in finished)
    skipped = [(path, why) for path, why in zip(names.values(), done, strict=True) if isinstance(why, str)]
    return SetResult(out / "set.csv", written, len(rows) - written, skipped)


def ssim(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Structural similarity of two (H, W, 3) images, mean over pixels and channels, in [-1, 1]; 1 is identical.

    Source:
        Wang et al. 2004, Gaussian window of sigma 1.5 and 11 x 11, K 0.01 and 0.03; the border is replicated.
    """

    def blurred(image: NDArray[np.float32]) -> NDArray[np.float32]:
        taps = gaussian_taps(1.5, 5)
        return np.asarray(cv2.sepFilter2D(image, -1, taps, taps, borderType=cv2.BORDER_REPLICATE), dtype=np.float32)

    x, y = (np.multiply(image, np.float32(1 / 255), dtype=np.float32) for image in (first, second))
    mean_x, mean_y = blurred(x), blurred(y)
    both = blurred(x * y) - mean_x * mean_y
    spread = blurred(x * x) + blurred(y * y) - mean_x**2 - mean_y**2
    levels = (2 * mean_x * mean_y + 1e-4) / (mean_x**2 + mean_y**2 + 1e-4)
    return float((levels * (2 * both + 9e-4) / (spread + 9e-4)).mean())


def _finish_photo(
    photo: Path, name: str, *, out: Path, compositions: int | None, seed: int
) -> tuple[list[Row], int] | str:
    """The photo's rows and how many images were written; or the reason why it is skipped."""
    finished = out / ".rows" / f"{name}.csv"
    rows = _kept_rows(out, finished, photo)
    if rows is not None:
        return rows, 0
    try:
        image = images.read(photo)
    except ImageError as error:
        return str(error).removeprefix(f"{photo}: ")
    if min(image.shape[:2]) < 8:
        return f"{image.shape[1]} x {image.shape[0]} pixels; 8 x 8 are needed"
    reference = f"references/{name}.png"
    _write_image(out / reference, image)
    rows = []
    for suffix, composition, rng in _plan(name, compositions, seed):
        path = f"images/{name}_{suffix}.png"
        degraded = apply_composition(image, composition, rng)
        _write_image(out / path, degraded)
        kinds = "+".join(f"{kind}:{level}" for kind, level in composition) if compositions else composition[0][0]
        level = "" if compositions else str(composition[0][1])
        rows.append((path, f"{100 * ssim(image, degraded):.3f}", reference, kinds, level))
    _write_rows(finished, rows)
    return rows, len(rows)


def _plan(name: str, compositions: int | None, seed: int) -> Iterator[tuple[str, Composition, Generator]]:
    """For each image of a photo: the end of its name, what is done to it, and its own generator."""
    every = [(kind, level) for kind in DISTORTIONS for level in range(1, LEVELS + 1)]
    for number in range(compositions or len(every)):
        rng = np.random.default_rng([seed, zlib.crc32(name.encode()), number])
        if compositions:
            yield f"{number + 1:0{len(str(compositions))}}", sample_composition(rng), rng
        else:
            yield "{}_{}".format(*every[number]), [every[number]], rng


def _names(photos: Iterable[Path | str], out: Path) -> dict[str, Path]:
    """Name in the set -> photo; where two files have one name, their folders' names come before it."""
    base = out.resolve()
    files = [file for file in dict.fromkeys(map(Path, photos)) if base not in file.resolve().parents]
    plain = [re.sub(r"[^\w.-]+", "_", file.stem) for file in files]
    often = Counter(plain)
    full = [
        name if often[name] == 1 else re.sub(r"[^\w-]+", "_", f"{file.resolve().parent.name}-{name}-{file.suffix[1:]}")
        for name, file in zip(plain, files, strict=True)
    ]
    twice = [name for name, count in Counter(full).items() if count > 1]
    if twice:
        raise DataError(f"{files[full.index(twice[0])]}: another photo has the same name in a folder of the same name")
    if not files:
        raise DataError(f"{out}: no photo to degrade")
    return dict(zip(full, files, strict=True))


def _begin(out: Path, settings: dict[str, object]) -> None:
    """Make the folders and keep the settings; a set that is continued must have the same."""
    file = out / "set.json"
    try:
        for folder in ("images", "references", ".rows"):
            (out / folder).mkdir(parents=True, exist_ok=True)
        before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else settings
        _write(file, (json.dumps(settings, indent=2) + "\n").encode()) if before == settings else None
    except (OSError, ValueError) as error:
        raise OptionError(f"{out}: {error}") from error
    if before != settings:
        there = {key: before.get(key) for key in ("seed", "compositions")} if isinstance(before, dict) else before
        raise OptionError(f"{file}: the set was begun with {there}; continue with these, or choose another folder")


def _kept_rows(out: Path, finished: Path, photo: Path) -> list[Row] | None:
    """The rows of a photo that is finished: no older than the photo, all its images still there."""
    try:
        if finished.stat().st_mtime_ns < photo.stat().st_mtime_ns:
            return None
        with finished.open(newline="", encoding="utf-8") as file:
            rows = [tuple(row) for row in csv.reader(file)]
    except OSError:
        return None
    complete = all(len(row) == len(COLUMNS) and (out / row[0]).is_file() and (out / row[2]).is_file() for row in rows)
    return rows if complete and rows else None


def _write_image(path: Path, image: NDArray[np.uint8]) -> None:
    _, stream = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 3])
    _write(path, stream.tobytes())


def _write_rows(path: Path, rows: Iterable[Row]) -> None:
    lines = [",".join(row) for row in rows]
    _write(path, ("\n".join(lines) + "\n").encode())


def _write(path: Path, content: bytes) -> None:
    """The whole file or none."""
    try:
        with replacing(path) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise OptionError(f"{path}: cannot be written: {error.strerror}") from error


@contextmanager
def _pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads for photos, so none inside OpenCV; an error or Ctrl-C drops what has not begun."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1 if workers > 1 else before)
    pool = ThreadPoolExecutor(workers)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(before)
