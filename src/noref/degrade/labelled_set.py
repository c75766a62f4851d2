"""Make a labelled set like KADID-10k from photos: degraded images, and a table of their distortions and scores.

out/references/NAME.png                   the photo as it was read: upright, 8 bit, RGB
out/images/NAME_DISTORTION_LEVEL.png      all distortions at all levels, or
out/images/NAME_NUMBER.png                random compositions
out/set.csv                               path,score,reference,distortion,level
out/set.json                              the settings, which must be the same when a set is continued
out/.rows/NAME.csv                        the rows of a finished photo, which a repeated call keeps
"""

from __future__ import annotations

import csv
import json
import os
import re
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from noref import images
from noref.degrade.filters import blurred, gaussian_taps
from noref.degrade.pipeline import DISTORTIONS, LEVELS, Composition, apply_composition, sample_composition
from noref.errors import DataError, ImageError, OptionError
from noref.writing import replacing, write_bytes, write_text

COLUMNS = ("path", "score", "reference", "distortion", "level")
SCORE = "SSIM against the reference x 100, mean over R, G and B: measured, no human score; 100 is identical"
Row = tuple[str, ...]
AHEAD = 4  # photos for each worker that wait or are done: memory does not grow with the set
PhotoResult = tuple[int, int, str]  # how many images were kept, how many written now, why it was skipped or ""


@dataclass(frozen=True)
class SetResult:
    """The CSV file of a set, how many images were made now and kept, and the skipped photos with the reasons."""

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
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SetResult:
    """Write each photo under all 24 distortions at all levels, or under random compositions, with a table.

    Repeat an interrupted call to continue: finished photos are kept unless the photo is newer. An image depends only
    on the seed, the photo's name and the image's number, not on the other photos, their order or the workers.

    Args:
        photos: image files; those below `out` are left out.
        out: the folder, made where it is missing.
        compositions: number of random compositions for each photo; None: all distortions at all levels (120).
        workers: how many photos at a time, in threads.
        progress: called with (photos done, photos in all) after each photo.

    Raises:
        OptionError: `out` holds something else or a set with other settings, or is not writable, or a number is
            below 1.
        DataError: there is no photo, or two photos have the same name in folders of the same name.
    """
    if workers < 1 or (compositions is not None and compositions < 1):
        raise OptionError(f"workers and compositions must be 1 or more, got {workers} and {compositions}")
    out = Path(out)
    names = _names(photos, out)
    work = partial(_finish_photo, out=out, compositions=compositions, seed=seed)
    kept, written, skipped = 0, 0, dict[str, str]()
    try:
        _begin(out, {"seed": seed, "compositions": compositions, "score": SCORE})
        with _pool(workers) as pool:
            results = _in_order(pool, work, names, AHEAD * workers)
            for done, (name, (old, new, reason)) in enumerate(zip(names, results, strict=True), start=1):
                kept, written = kept + old, written + new
                skipped |= {name: reason} if reason else {}
                progress(done, len(names))
        _write_table(out, [name for name in names if name not in skipped])
    except OSError as error:
        raise OptionError(f"{out}: cannot be written: {error.strerror or error}") from error
    return SetResult(out / "set.csv", written, kept, [(Path(names[name]), reason) for name, reason in skipped.items()])


def ssim(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Structural similarity of two (H, W, 3) images, mean over pixels and channels, in [-1, 1]; 1 is identical.

    Wang et al. 2004, Gaussian window of sigma 1.5 and 11 x 11, K 0.01 and 0.03; the border is replicated.
    """
    mean = partial(blurred, taps=gaussian_taps(1.5, 5))
    x, y = (np.multiply(image, np.float32(1 / 255), dtype=np.float32) for image in (first, second))
    mean_x, mean_y = mean(x), mean(y)
    both = mean(x * y) - mean_x * mean_y
    spread = mean(x * x) + mean(y * y) - mean_x**2 - mean_y**2
    levels = (2 * mean_x * mean_y + 1e-4) / (mean_x**2 + mean_y**2 + 1e-4)
    return float((levels * (2 * both + 9e-4) / (spread + 9e-4)).mean())


def _finish_photo(photo: str, name: str, *, out: Path, compositions: int | None, seed: int) -> PhotoResult:
    finished = out / ".rows" / f"{name}.csv"
    rows = _kept_rows(out, finished, photo)
    if rows:
        return len(rows), 0, ""
    try:
        image = images.read(photo)
    except ImageError as error:
        return 0, 0, str(error).removeprefix(f"{images.name(photo)}: ")
    if min(image.shape[:2]) < 8:
        return 0, 0, f"{image.shape[1]} x {image.shape[0]} pixels; 8 x 8 are needed"
    reference = f"references/{name}.png"
    _write_image(out / reference, image)
    for suffix, composition, rng in _plan(name, compositions, seed):
        path = f"images/{name}_{suffix}.png"
        degraded = apply_composition(image, composition, rng)
        _write_image(out / path, degraded)
        kinds = "+".join(f"{kind}:{level}" for kind, level in composition) if compositions else composition[0][0]
        level = "" if compositions else str(composition[0][1])
        rows.append((path, f"{100 * ssim(image, degraded):.3f}", reference, kinds, level))
    _write_rows(finished, rows)
    return 0, len(rows), ""


def _plan(name: str, compositions: int | None, seed: int) -> Iterator[tuple[str, Composition, Generator]]:
    """For each image of a photo: the end of its name, its composition, and its random generator."""
    every = [(kind, level) for kind in DISTORTIONS for level in range(1, LEVELS + 1)]
    for number in range(compositions or len(every)):
        rng = np.random.default_rng([seed, zlib.crc32(name.encode()), number])
        if compositions:
            yield f"{number + 1:0{len(str(compositions))}}", sample_composition(rng), rng
        else:
            yield "{}_{}".format(*every[number]), [every[number]], rng


def _names(photos: Iterable[Path | str], out: Path) -> dict[str, str]:
    """Name in the set -> photo; where two files have the same name, the folder's name comes before it."""
    base, real_folder = os.path.join(os.path.realpath(out), ""), cache(os.path.realpath)

    def is_outside(file: str) -> bool:
        folder, name = os.path.split(file)
        real = os.path.realpath(file) if os.path.islink(file) else os.path.join(real_folder(folder), name)
        return not real.startswith(base)

    given = dict.fromkeys(os.fspath(photo).removeprefix("./") for photo in photos)
    files = [file for file in given if is_outside(file)]
    plain = [re.sub(r"[^\w.-]+", "_", os.path.splitext(os.path.basename(file))[0]) for file in files]
    often = Counter(plain)
    full = [
        name if often[name] == 1 else re.sub(r"[^\w-]+", "_", _longer(file, name))
        for name, file in zip(plain, files, strict=True)
    ]
    twice = [name for name, count in Counter(full).items() if count > 1]
    if twice:
        raise DataError(f"{files[full.index(twice[0])]}: another photo has the same name in a folder of the same name")
    if not files:
        raise DataError(f"{out}: no photo to degrade")
    return dict(zip(full, files, strict=True))


def _longer(file: str, name: str) -> str:
    real = Path(file).resolve()
    return f"{real.parent.name}-{name}-{Path(file).suffix[1:]}"


def _begin(out: Path, settings: dict[str, object]) -> None:
    """Make the folders and write the settings, or check that they are those of the set that is continued."""
    file = out / "set.json"
    if not file.exists() and out.exists() and not (out.is_dir() and all(p.name[0] == "." for p in out.iterdir())):
        raise OptionError(f"{out}: not an empty folder, and no set.json in it")
    out.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        write_text(file, json.dumps(settings, indent=2) + "\n")
    for folder in ("images", "references", ".rows"):
        (out / folder).mkdir(exist_ok=True)
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise OptionError(f"{file}: not the settings of a set: {error}") from error
    if before != settings:
        there = {key: before.get(key) for key in ("seed", "compositions")} if isinstance(before, dict) else before
        raise OptionError(f"{file}: the set was begun with {there}; continue with these, or choose another folder")


def _kept_rows(out: Path, finished: Path, photo: str) -> list[Row]:
    """The rows of a finished photo; none where the photo is newer or an image is missing."""
    try:
        if finished.stat().st_mtime_ns < os.stat(photo).st_mtime_ns:
            return []
        with finished.open(newline="", encoding="utf-8") as file:
            rows = [tuple(row) for row in csv.reader(file)]
    except OSError:
        return []
    complete = all(len(row) == len(COLUMNS) and (out / row[0]).is_file() and (out / row[2]).is_file() for row in rows)
    return rows if complete else []


def _write_image(path: Path, image: NDArray[np.uint8]) -> None:
    _, stream = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 3])
    write_bytes(path, stream.tobytes())


def _write_table(out: Path, names: Iterable[str]) -> None:
    """The rows of all photos as one table."""
    with replacing(out / "set.csv") as partial, partial.open("wb") as file:
        file.write((",".join(COLUMNS) + "\n").encode())
        for name in names:
            file.write((out / ".rows" / f"{name}.csv").read_bytes())


def _write_rows(path: Path, rows: Iterable[Row]) -> None:
    write_text(path, "".join(",".join(row) + "\n" for row in rows))


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[str, str], PhotoResult], names: Mapping[str, str], ahead: int
) -> Iterator[PhotoResult]:
    """The results of all photos; no more than `ahead` wait."""
    waiting = deque[Future[PhotoResult]]()
    for name, photo in names.items():
        waiting.append(pool.submit(work, photo, name))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@contextmanager
def _pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads for photos and none inside OpenCV; an error or Ctrl-C cancels the photos that have not begun."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1 if workers > 1 else before)
    pool = ThreadPoolExecutor(workers)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(before)
