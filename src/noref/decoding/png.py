"""The checksums of a PNG. Pillow does not look at those of the pixels: it decodes damaged data to noise."""

from __future__ import annotations

import io
import struct
import zlib
from typing import BinaryIO

from noref.errors import ImageError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
OTHER_FRAMES = {b"fdAT", b"fcTL"}  # of an animation; only its first frame is decoded
BLOCK = 1 << 20  # bytes read at a time


def check_checksums(file: BinaryIO) -> None:
    """Compare the CRC of every chunk, the later frames of an animation excepted. Leaves the position where it was.

    Raises:
        ImageError: a checksum is wrong, or the file ends before its `IEND` chunk.
    """
    before = file.tell()
    file.seek(len(SIGNATURE))
    kind = b""
    while kind != b"IEND":
        head = file.read(8)
        if len(head) < 8:
            raise ImageError("damaged: the PNG file is truncated, its end is missing")
        length, kind = struct.unpack(">I4s", head)
        if kind in OTHER_FRAMES:
            file.seek(length + 4, io.SEEK_CUR)
            continue
        found, left = zlib.crc32(kind), length
        while left and (block := file.read(min(left, BLOCK))):
            found, left = zlib.crc32(block, found), left - len(block)
        stored = file.read(4)
        if left or len(stored) < 4:
            raise ImageError("damaged: the PNG file is truncated, its end is missing")
        if stored != found.to_bytes(4, "big"):
            raise ImageError(f"damaged: wrong checksum in the {kind.decode('ascii', 'replace')} chunk of the PNG file")
    file.seek(before)
