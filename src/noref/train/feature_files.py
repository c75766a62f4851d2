"""Features on a disk, by the contents of what they came from: a second call, and one that was stopped, go on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from noref.card import digest
from noref.errors import ImageError, ModelError
from noref.images import name
from noref.writing import replacing

Matrix = NDArray[np.float32]


def feature_files(
    paths: Sequence[Path],
    folder: Path,
    look: Callable[[Path], Matrix],
    *,
    broken: dict[Path, str] | None = None,
    words: str = "features",
) -> Mapping[Path, Path]:
    """The file with each image's feature; those that lie in `folder` already are not computed again.

    A file is named by the image's bytes; the folder must stand for all else that decides a feature.

    Args:
        paths: the images.
        folder: made where it is missing.
        look: image -> its feature.
        broken: takes the images that cannot be read, each with the reason; None: the first is an error.
        words: before the progress bar.

    Returns:
        Image -> file, without those that are broken; `np.load` reads one.

    Raises:
        ImageError: an image cannot be read; names the file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(2) as pool:
        digests = dict(zip(paths, pool.map(_digest, paths), strict=True))
    found: dict[Path, Path] = {}
    bar: dict[str, Any] = {"console": Console(stderr=True), "disable": not sys.stderr.isatty(), "transient": True}
    for path in track(list(digests), description=words, **bar):
        try:
            found[path] = _kept(digests[path], path, folder, look)
        except ImageError as error:
            if broken is None:
                raise
            broken[path] = str(error).removeprefix(f"{name(path)}: ")
    return found


def _digest(path: Path) -> str | ModelError:
    try:
        return digest(path)
    except ModelError as error:
        return error


def _kept(named: str | ModelError, path: Path, folder: Path, look: Callable[[Path], Matrix]) -> Path:
    if isinstance(named, ModelError):
        raise ImageError(str(named)) from named
    file = folder / f"{named[:32]}.npy"
    if not file.exists():
        found = look(path)
        with replacing(file) as partial, partial.open("wb") as stream:
            np.save(stream, found, allow_pickle=False)
    return file
