"""Paths of files and folders -> the images to score, in order."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from noref.decoding.kinds import SUFFIXES
from noref.errors import ImageError
from noref.images import Source

__all__ = ["SUFFIXES", "Found", "check_file", "file_stamp", "find_images"]

_ENDS = tuple(SUFFIXES)


@dataclass(frozen=True)
class Found:
    """A file to score, or a path that gives nothing to score."""

    path: str  # as the caller wrote it, or below the folder that the caller wrote
    error: ImageError | None = None  # why there is nothing to score; None for a file
    content: Source | None = None  # the picture itself, where it is no file: from standard input, a table, a network


def find_images(paths: Iterable[str], *, recursive: bool = False) -> list[Found]:
    """Replace each folder by the images in it; `recursive` takes the folders below too, except links to folders.

    A file is taken whatever its name; a pattern such as `*.jpg` that the shell left gives the files that fit.
    Of a folder, the files with an image suffix that are not hidden are taken, sorted by name. A folder without
    images, one that cannot be read, a URL, and what is no regular file are one entry each, with an error.
    """
    return [found for path in paths for found in _find(path, recursive)]


def check_file(path: str | os.PathLike[str]) -> ImageError | None:
    """Why a path can be no image: it is a URL, or a pipe or device, which would block; None where it may be one."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # nothing there, or no name of a file: opening it tells why
        url = re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", os.fsdecode(path))
        return ImageError("URLs are not fetched; download it first") if url else None
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return None
    return ImageError("not a regular file; a picture can be given on standard input as -")


def file_stamp(path: str | os.PathLike[str]) -> tuple[int | None, str | None]:
    """Size in bytes and time of the last change (UTC, ISO 8601 to the nanosecond); None, None where there is no file.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     os.utime(file.name, ns=(0, 1_700_000_000_000_000_001))
        ...     file_stamp(file.name)
        (0, '2023-11-14T22:13:20.000000001Z')
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None, None
    if not stat.S_ISREG(status.st_mode):
        return None, None
    return status.st_size, stamp_text(status.st_mtime_ns)


def stamp_text(nanoseconds: int) -> str:
    """A time since 1970 as `file_stamp` writes it."""
    seconds, rest = divmod(nanoseconds, 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"


def _find(path: str, recursive: bool) -> list[Found]:
    if os.path.isdir(path):
        return _folder(path, recursive)
    error = check_file(path)
    if error is None and re.search(r"[*?[]", path) and not os.path.lexists(path):
        from glob import glob

        fitting = sorted(glob(path), key=os.fsencode)
        if fitting:
            return find_images(fitting, recursive=recursive)
        error = ImageError("no file fits this pattern")
    return [Found(path, error)]


def _folder(folder: str, recursive: bool) -> list[Found]:
    found = list(_walk(folder, recursive))
    if found:
        return found
    below = not recursive and any(entry.is_dir(follow_symlinks=False) for entry in os.scandir(folder))
    hint = "; try --recursive" if below else ""
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
    if not entry.name.lower().endswith(_ENDS):
        return False
    try:
        return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))  # a pipe would block
    except OSError:  # a link to itself; it becomes a row with an error, as a broken link does
        return True
