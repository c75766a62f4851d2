"""The directories of a TIFF: which of its pictures is the largest, and what kind of samples it has.

Cameras store raw data as TIFF (DNG, NEF, ARW, CR2): the first directory is often a small preview, the others lie in
the chain behind it or in its `SubIFDs`. Sizes are read here, before anything is decoded.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import BinaryIO

from noref.errors import ImageError

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, STRIPS, ORIENTATION = 254, 256, 257, 258, 259, 262, 273, 274
SAMPLES, LENGTHS, PLANES, CHILDREN, FORMAT, JPEG_AT, JPEG_LENGTH = 277, 279, 284, 330, 339, 513, 514
ROWS, TILES, TILE_LENGTHS = 278, 324, 325
READ = {SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, STRIPS, ORIENTATION}
READ |= {SAMPLES, LENGTHS, PLANES, CHILDREN, FORMAT, JPEG_AT, JPEG_LENGTH, ROWS, TILES, TILE_LENGTHS}
SINGLE = {SUBFILE, WIDTH, HEIGHT, COMPRESSION, PHOTOMETRIC, ORIENTATION, SAMPLES, ROWS, PLANES}  # have one value
TYPES = range(1, 19)  # of the values of a tag
WIDTHS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}  # types of whole numbers
PHOTOMETRICS = {0: "grey", 1: "grey", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr", 8: "CIELAB", 9: "ICCLAB"}
RAW = {32803: "sensor data", 34892: "linear sensor data"}
FORMATS = {1: "unsigned", 2: "signed", 3: "float"}
JPEG = {6, 7}  # compressions
MANY = 64  # directories; a file with more is read as Pillow reads it
CANON_AT = 8  # where a CR2 says that it is one; its sensor data looks like any JPEG
SMALL = 1000  # pixels; a shorter preview stands for a raw picture only if it has half its length


@dataclass(frozen=True)
class Directory:
    """One picture of a TIFF: where its directory starts, its tags, and whether it is a page of its own."""

    at: int
    tags: dict[int, tuple[int, ...]]
    page: bool
    damaged: bool  # a type or number of values that cannot be, or a pointer that leads out of the file
    counts: dict[int, int]  # how many values each tag has; at most 64 are in `tags`

    def one(self, tag: int, default: int = 0) -> int:
        """The first value of a tag."""
        return self.tags.get(tag, (default,))[0]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as written; (0, 0) where they are missing."""
        return self.one(WIDTH), self.one(HEIGHT)

    @property
    def raw(self) -> bool:
        """Whether its samples are those of a sensor."""
        return self.one(PHOTOMETRIC) in RAW

    @property
    def reduced(self) -> bool:
        """Whether it calls itself a smaller version of another one."""
        return bool(self.one(SUBFILE) & 1)

    def __str__(self) -> str:
        kind = PHOTOMETRICS.get(self.one(PHOTOMETRIC)) or RAW.get(self.one(PHOTOMETRIC)) or "unknown colours"
        samples = FORMATS.get(self.one(FORMAT, 1), "unknown")
        return f"{kind}, {self.one(SAMPLES, 1)} x {self.one(BITS, 1)} bits, {samples}"


@dataclass(frozen=True)
class Picked:
    """A picture of a TIFF that is not its first: a file of its own, and what the file around it says of it."""

    file: BinaryIO
    orientation: int  # EXIF orientation of the first directory
    note: str  # which picture it is


class NoPreviewError(ImageError):
    """A raw file without a preview that could stand for its picture."""


def largest_picture(file: BinaryIO) -> Picked | None:
    """The largest picture that can be decoded, where that is not the first; None for all other files.

    The pages of a document are pictures of their own: the first one counts.

    Raises:
        NoPreviewError: a raw file without a preview of a useful size.
        ImageError: the first directory contradicts itself.
    """
    file.seek(0)
    start = file.read(4)
    file.seek(0)
    if start not in MAGIC:
        return None
    content = file.read()
    file.seek(0)
    try:
        found = directories(content)
    except (struct.error, KeyError, IndexError, OverflowError, MemoryError):
        return None  # Pillow says what is wrong
    if not found:
        return None
    _check(found[0])
    first, hidden = found[0], [one for one in found[1:] if not one.page or found[0].reduced]
    raws = [one for one in found if one.raw or content[CANON_AT : CANON_AT + 3] == b"CR\2"]
    if not raws and not first.reduced and all(_area(one.size) <= _area(first.size) for one in hidden):
        return None
    group = [first, *hidden] if not raws else found
    choices = [(*_as_file(content, one), one) for one in group if not one.raw]
    best = max(choices, key=lambda choice: _area(choice[1]), default=None)
    whole = max((max(one.size) for one in raws), default=0)
    if best is None or (raws and max(best[1]) < min(SMALL, whole / 2)):
        has = f"a preview of only {best[1][0]} x {best[1][1]}" if best else "no preview"
        raise NoPreviewError(f"a raw file with {has}")
    if best[2] is first and not raws:
        return None
    width, height = best[1]
    raw = f"a raw file: its preview of {width} x {height} was taken"
    return Picked(best[0], first.one(ORIENTATION, 1), raw if raws else f"the largest of {len(found)} pictures")


def _check(first: Directory) -> None:
    """Pillow decodes many a TIFF whose directory is damaged, to noise or not."""
    counts = first.counts
    pairs = [pair for pair in ((STRIPS, LENGTHS), (TILES, TILE_LENGTHS)) if counts.keys() >= set(pair)]
    colourless = PHOTOMETRIC not in counts and first.one(COMPRESSION, 1) not in JPEG
    if first.damaged or colourless or any(counts[at] != counts[length] for at, length in pairs):
        raise ImageError("damaged: the directory of the TIFF contradicts itself")


def unsupported(content: bytes) -> str | None:
    """What kind of TIFF this is, for a file that Pillow refuses although its first directory is whole; else None."""
    try:
        first = directories(content)[0] if content[:4] in MAGIC else None
    except (struct.error, KeyError, IndexError, OverflowError, MemoryError):
        return None
    if first is None or 0 in first.size or first.one(PHOTOMETRIC) not in {*PHOTOMETRICS, *RAW}:
        return None
    big = ", BigTIFF with the high byte first" if content[:4] == b"MM\0+" else ""
    return f"this kind of TIFF is not supported: {first}{big}"


def directories(content: bytes) -> list[Directory]:
    """The directories of the chain and, behind each, its children; at most 64."""
    order = "<" if content[:1] == b"I" else ">"
    big = b"+" in content[:4]
    waiting = [(struct.unpack_from(order + ("Q" if big else "I"), content, 8 if big else 4)[0], True)]
    found: list[Directory] = []
    while waiting and len(found) < MANY:
        at, page = waiting.pop(0)
        if not at or any(one.at == at for one in found):
            continue
        try:
            directory, following = _directory(content, at, page, order, big)
        except struct.error:
            if not found:
                raise
            continue
        found.append(directory)
        waiting = [(child, False) for child in directory.tags.get(CHILDREN, ())] + waiting
        waiting.append((following, page))
    return found


def _directory(content: bytes, at: int, page: bool, order: str, big: bool) -> tuple[Directory, int]:
    count_as, entry, inline, pointer = ("Q", 20, 8, "Q") if big else ("H", 12, 4, "I")
    count = struct.unpack_from(order + count_as, content, at)[0]
    place = at + struct.calcsize(count_as)
    tags: dict[int, tuple[int, ...]] = {}
    counts, damaged = dict[int, int](), False
    for start in range(place, place + min(count, 1000) * entry, entry):
        tag, kind, number = struct.unpack_from(order + ("HHQ" if big else "HHI"), content, start)
        damaged |= tag in READ and kind not in TYPES
        if tag not in READ or kind not in WIDTHS or not number:
            continue
        damaged |= tag in SINGLE and number != 1
        counts[tag], number = number, min(number, MANY)
        form, data = f"{order}{number}{WIDTHS[kind]}", start + entry - inline
        length = counts[tag] * struct.calcsize(order + WIDTHS[kind])
        if length > inline:
            data = struct.unpack_from(order + pointer, content, data)[0]
        if data + length > len(content):
            damaged = True
        else:
            tags[tag] = struct.unpack_from(form, content, data)
    following = struct.unpack_from(order + pointer, content, place + count * entry)[0]
    return Directory(at, tags, page, damaged or following >= len(content), counts), following


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def _as_file(content: bytes, directory: Directory) -> tuple[BinaryIO, tuple[int, int]]:
    """A directory as a file of its own, and its size: the JPEG in it, or a TIFF that starts with it."""
    strip = directory.one(COMPRESSION) in JPEG and len(directory.tags.get(STRIPS, ())) == 1
    at_tag, length_tag = (STRIPS, LENGTHS) if strip else (JPEG_AT, JPEG_LENGTH)
    at, length = directory.one(at_tag), directory.one(length_tag)
    jpeg = content[at : at + length] if at else b""
    if jpeg[:2] == b"\xff\xd8" and (size := _jpeg_size(jpeg)):
        return io.BytesIO(jpeg), size
    order, big = ("little" if content[:1] == b"I" else "big"), b"+" in content[:4]
    where, width = (8, 8) if big else (4, 4)
    changed = bytearray(content)
    changed[where : where + width] = directory.at.to_bytes(width, "little" if order == "little" else "big")
    return io.BytesIO(changed), directory.size


def _jpeg_size(jpeg: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(jpeg) and jpeg[at] == 0xFF:
        if jpeg[at + 1] in (0xC0, 0xC1, 0xC2):  # what libjpeg decodes; sensor data is 0xC3
            height, width = struct.unpack_from(">HH", jpeg, at + 5)
            return width, height
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return None
