"""Paths of files and folders -> the images to score, in order."""

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
    """A file to score, or a path that gives nothing to score."""

    path: str  # as the caller wrote it, or below the folder that the caller wrote
    error: ImageError | None = None  # why there is nothing to score; None for a file


def find_images(paths: Iterable[str], *, recursive: bool = False) -> list[Found]:
    """Replace each folder by the images in it; `recursive` takes the folders below too, except links to folders.

    A file is taken whatever its name. Of a folder, the files with an image suffix that are not hidden are taken,
    sorted by name. A folder without images, or without read access, is one entry with an error.
    """
    return [found for path in paths for found in (_folder(path, recursive) if os.path.isdir(path) else [Found(path)])]


def _folder(folder: str, recursive: bool) -> list[Found]:
    found = list(_walk(folder, recursive))
    if found:
        return found
    hint = "; try --recursive" if not recursive and any(entry.is_dir() for entry in os.scandir(folder)) else ""
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
    is_file = entry.is_file() or entry.is_symlink()  # a broken link becomes a row with an error; a pipe would block
    return is_file and os.path.splitext(entry.name)[1].lower() in SUFFIXES and not entry.is_dir()
