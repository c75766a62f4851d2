"""The blocks of a GIF. Pillow looks for the next one among bytes that are none, and decodes damaged files to noise."""

from __future__ import annotations

import io
from typing import BinaryIO

from noref.errors import ImageError

EXTENSION, PICTURE, END, TABLE = 0x21, 0x2C, 0x3B, 0x80  # how blocks start; the flag for a table of colours
DAMAGED = "damaged: the GIF has bytes that belong to no block"


def check_blocks(file: BinaryIO) -> None:
    """Walk through the blocks to the end of the first picture. Leaves the position where it was.

    Raises:
        ImageError: something else is between them, or the file ends before.
    """
    before = file.tell()
    file.seek(10)
    _skip_colours(file, 2)
    while (kind := _byte(file)) != PICTURE:
        if kind != EXTENSION:
            raise ImageError(DAMAGED)
        _byte(file)
        _skip_data(file)
    file.seek(8, io.SEEK_CUR)
    _skip_colours(file, 1)
    _skip_data(file)
    if (following := file.read(1)) and following[0] not in (EXTENSION, PICTURE, END, 0):
        raise ImageError(DAMAGED)
    file.seek(before)


def _skip_colours(file: BinaryIO, more: int) -> None:
    """The flags, the table of colours that they announce, and `more` bytes around it."""
    flags = _byte(file)
    file.seek(more + (3 << ((flags & 7) + 1) if flags & TABLE else 0), io.SEEK_CUR)


def _skip_data(file: BinaryIO) -> None:
    while length := _byte(file):
        file.seek(length, io.SEEK_CUR)


def _byte(file: BinaryIO) -> int:
    found = file.read(1)
    if not found:
        raise ImageError("damaged: the GIF file is truncated, its picture is missing")
    return found[0]
