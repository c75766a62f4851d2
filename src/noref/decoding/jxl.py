"""The header of a JPEG XL file: its size, before anything is decoded, and whether it is an animation."""

from __future__ import annotations

import struct

from noref.errors import ImageError

RATIOS = ((1, 1), (6, 5), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # width over height, by number from 1
LENGTHS = (9, 13, 18, 30)  # bits of a side, by number
START = b"\xff\x0a"


def header(content: bytes) -> tuple[int, int, bool]:
    """Width, height and whether it moves; before the orientation is applied.

    Raises:
        ImageError: no such header.
    """
    code = content if content.startswith(START) else _first_box(content)
    if not code.startswith(START):
        raise ImageError("damaged: JPEG XL without a picture")
    bits = _Bits(code[2:34])
    width, height = _size(bits)
    if bits.take(1) or not bits.take(1):  # all fields, or all of these, have their usual value
        return width, height, False
    bits.take(3)  # orientation
    if bits.take(1):  # the size at which it is meant to be shown
        _size(bits)
    return width, height, not bits.take(1) and bool(bits.take(1))  # a preview comes before


class _Bits:
    """Numbers of any length, lowest bit first."""

    def __init__(self, data: bytes) -> None:
        self._left = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        """The next number of `count` bits."""
        found = self._left & ((1 << count) - 1)
        self._left >>= count
        return found


def _size(bits: _Bits) -> tuple[int, int]:
    small = bits.take(1)
    height = _side(bits, small)
    ratio = bits.take(3)
    if not ratio:
        return _side(bits, small), height
    across, down = RATIOS[ratio - 1]
    return height * across // down, height


def _side(bits: _Bits, small: int) -> int:
    return 8 * (bits.take(5) + 1) if small else bits.take(LENGTHS[bits.take(2)]) + 1


def _first_box(content: bytes) -> bytes:
    """The beginning of the codestream in a container."""
    at = 0
    while at + 16 <= len(content):
        size, name = struct.unpack_from(">I4s", content, at)
        body = at + 8
        if size == 1:
            size, body = struct.unpack_from(">Q", content, at + 8)[0], at + 16
        if name in (b"jxlc", b"jxlp"):
            body += 4 * (name == b"jxlp")
            return content[body : body + 64]
        if size < 8:
            break
        at += size
    return b""
