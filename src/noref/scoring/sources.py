"""Lists of paths, and standard input: a picture, or a list of pictures."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable, Iterable

from PIL import Image, UnidentifiedImageError

from noref.errors import OptionError, printable
from noref.scoring.find_images import Found, find_images

STDIN = "-"


def gather(
    paths: Iterable[str], list_file: str | None, *, recursive: bool = False, say: Callable[[str], None] = print
) -> list[Found]:
    """The images at `paths`, then those that a list names; `-` is standard input.

    Args:
        paths: as for `find_images`; `-`: a picture, or what is no picture but text: a list.
        list_file: a list: a path in each line, or paths with NUL between them; `-`: standard input.
        recursive: as for `find_images`.
        say: called with what standard input was taken for.

    Raises:
        OptionError: the list cannot be read, or standard input is named twice.
    """
    paths = list(paths)
    if paths.count(STDIN) + (list_file == STDIN) > 1:
        raise OptionError("standard input (-) can be read once only")
    found: list[Found] = []
    for path in paths:
        if path != STDIN:
            found += find_images([path], recursive=recursive)
        elif is_list(data := sys.stdin.buffer.read()):
            listed = split_list(data)
            say(f"standard input is a list of {len(listed)} paths")
            found += find_images(listed, recursive=recursive)
        else:
            say("standard input is a picture")
            found.append(Found(STDIN, content=data))
    if list_file is not None:
        found += find_images(split_list(_read(list_file)), recursive=recursive)
    return found


def split_list(data: bytes) -> list[str]:
    r"""The paths of a list: separated by NUL where there is one (`find -print0`), else one a line; empty ones left out.

    Example:
        >>> split_list(b"a.jpg\r\nb c.jpg\n\n"), split_list(b"a\nb.jpg\0c.jpg\0")
        (['a.jpg', 'b c.jpg'], ['a\nb.jpg', 'c.jpg'])
    """
    data = data.removeprefix(b"\xef\xbb\xbf")
    parts = data.split(b"\0") if b"\0" in data else [line.removesuffix(b"\r") for line in data.split(b"\n")]
    return [os.fsdecode(part) for part in parts if part]


def is_list(data: bytes) -> bool:
    """Whether bytes are a list of paths: no picture that Pillow knows, but a first path that exists, or plain text."""
    try:
        Image.open(io.BytesIO(data)).close()
        return False
    except UnidentifiedImageError:
        pass
    except Exception:  # a picture that is damaged or too large
        return False
    first = next(iter(split_list(data)), "")
    if first and "\0" not in first and os.path.lexists(first):
        return True
    try:
        text = re.sub(r"[\0\r\n\t]", "", data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return False
    return bool(text) and text.isprintable()


def _read(list_file: str) -> bytes:
    if list_file == STDIN:
        return sys.stdin.buffer.read()
    try:
        with open(list_file, "rb") as file:
            return file.read()
    except OSError as error:
        raise OptionError(f"{printable(list_file)}: the list cannot be read: {error.strerror}") from error
