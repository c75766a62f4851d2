"""What the user named on the command line -> the images to score, in order."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from noref.errors import ImageError

_PHOTOS = (".avif", ".heic", ".heif", ".jfif", ".jpe", ".jpeg", ".jpg", ".mpo", ".webp")
_OTHERS = (".bmp", ".dib", ".gif", ".j2k", ".jp2", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff")
SUFFIXES = frozenset(_PHOTOS + _OTHERS)


@dataclass(frozen=True)
class Found:
    """A path to score, or one that stands for nothing to score.

    Attributes:
        path: as the user wrote it, or below the folder that the user wrote.
        error: why there is nothing to score; None for a file.
    """

    path: str
    error: ImageError | None = None


def find(paths: Iterable[str], *, recursive: bool = False) -> list[Found]:
    """Expand folders to the images in them.

    A file is taken whatever its name. Of a folder those files are taken that are named like an image and
    not hidden, sorted by name; a folder that gives none is one entry with an error, so is one that cannot
    be read.

    Args:
        paths: files and folders.
        recursive: folders below the folders too, links to folders left out.
    """
    return [found for path in paths for found in (_folder(path, recursive) if os.path.isdir(path) else [Found(path)])]


def _folder(folder: str, recursive: bool) -> list[Found]:
    found = list(_walk(folder, recursive))
    if found:
        return found
    hint = "; try --recursive" if not recursive and any(entry.is_dir() for entry in list(os.scandir(folder))) else ""
    return [Found(folder, ImageError(f"no image in this folder{hint}"))]


def _walk(folder: str, recursive: bool) -> Iterator[Found]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        yield Found(folder, ImageError(f"this folder cannot be read: {error.strerror}"))
        return
    entries = [entry for entry in entries if not entry.name.startswith(".")]
    yield from (Found(entry.path) for entry in entries if _is_image(entry))
    for entry in entries:
        if recursive and entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, recursive)


def _is_image(entry: os.DirEntry[str]) -> bool:
    is_file = entry.is_file() or entry.is_symlink()  # a link to nothing is an error to show; a pipe would block
    return is_file and os.path.splitext(entry.name)[1].lower() in SUFFIXES and not entry.is_dir()
