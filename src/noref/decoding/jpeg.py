"""What is missing in a JPEG that decodes without an error: libjpeg fills it with grey or reads zeros as pixels."""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
from PIL import Image

from noref.decoding.cautions import CUT, HOLED
from noref.errors import ImageError

# Zero bytes in a row; no picture has so many in its compressed data, unless zeros are the code of flat areas.
HOLE = 128
ALONE = {1, *range(0xD0, 0xD8)}  # markers without a length
FILL = b"\x55" * 4096  # decoded where data is missing, skipped where it is not
MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
SOI, EOI, SOS, DHT, PROGRESSIVE, FRAMES = 0xD8, 0xD9, 0xDA, 0xC4, 0xC2, {0xC0, 0xC1, 0xC2}


@dataclass
class _Scans:
    """What the scans of a file hold."""

    end: int = 0  # where the picture ends: its EOI marker, or the end of the file
    components: set[int] = field(default_factory=set)
    missing: set[tuple[int, int]] = field(default_factory=set)  # component, coefficient: not yet at full precision
    hole: bool = False


def check_markers(file: BinaryIO) -> None:
    """Walk through the header as libjpeg does, which looks for the next marker where there is none.

    Raises:
        ImageError: another picture begins before: libjpeg would decode that one, a thumbnail or the next of an MPO.
    """
    before = file.tell()
    file.seek(2)
    while marker := _next_marker(file):
        if marker in (SOI, EOI):
            raise ImageError("damaged: the header of the JPEG ends without a picture")
        if marker == SOS:
            break
        if marker not in ALONE:
            file.seek(max(0, int.from_bytes(file.read(2), "big") - 2), io.SEEK_CUR)
    file.seek(before)


def _next_marker(file: BinaryIO) -> int:
    """Its second byte; 0 at the end of the file."""
    last = b""
    while (byte := file.read(1)) and not (last == b"\xff" and byte not in b"\0\xff"):
        last = byte
    return byte[0] if byte else 0


def cautions(content: bytes, image: Image.Image) -> list[str]:
    """What is doubtful about a JPEG.

    Args:
        content: the bytes of its file.
        image: as decoded, possibly at a smaller scale.

    Returns:
        At most one sentence each on data that is cut and on a hole of zeros. A progressive file that is cut inside its
        last scan, which only refines, is not noticed.
    """
    corner = image.getpixel((image.width - 1, image.height - 1))
    grey = image.mode in ("L", "RGB") and corner in (128, (128, 128, 128))
    try:
        scans = _scans(content, thorough=grey or bytes(HOLE) in content)
    except (struct.error, IndexError):
        return []
    found = [HOLED] if scans.hole else []
    if scans.missing or (grey and _filled(content, scans.end, image)):
        found.append(CUT)
    return found


def _filled(content: bytes, end: int, image: Image.Image) -> bool:
    """Whether libjpeg's grey at the end stands for missing data: other bytes there then change the picture."""
    with Image.open(io.BytesIO(content[:end] + FILL + content[end:])) as longer:
        longer.draft(image.mode, image.size)
        return not np.array_equal(np.asarray(longer), np.asarray(image))


def _scans(content: bytes, thorough: bool) -> _Scans:
    """Walk through the markers; one scan with everything in it is only searched through if `thorough`."""
    found, tables, progressive, at = _Scans(end=len(content)), {}, False, 2
    while at + 4 <= len(content):
        kind, length = content[at + 1], struct.unpack_from(">H", content, at + 2)[0]
        body, at = content[at + 4 : at + 2 + length], at + 2 + length
        if kind == DHT:
            tables.update(_zero_codes(body))
        elif kind in FRAMES:
            progressive = kind == PROGRESSIVE
            found.components = {body[6 + 3 * i] for i in range(body[5])}
            found.missing = {(one, k) for one in found.components for k in range(64)}
        elif kind == SOS:
            if not thorough and not progressive and body[0] == len(found.components):
                found.missing.clear()
                break
            marker = MARKER.search(content, at)
            end = marker.start() if marker else len(content)
            low, high, precision = body[-3:]
            if precision & 15 == 0:
                shown = body[1 : 1 + 2 * body[0] : 2]
                found.missing -= {(one, k) for one in shown for k in range(low, high + 1)}
            if thorough and content.find(bytes(HOLE), at, end) >= 0 and not _flat(body, tables, progressive):
                found.hole = True
            at = end
        if at >= len(content) or content[at + 1] == EOI:
            found.end = min(at, len(content))
            break
    return found


def _zero_codes(body: bytes) -> dict[int, int]:
    """For each Huffman table of a DHT segment, by class and number: the symbol whose code is all zeros."""
    found, at = {}, 0
    while at + 17 < len(body):
        found[body[at]] = body[at + 17]
        at += 17 + sum(body[at + 1 : at + 17])
    return found


def _flat(scan: bytes, tables: dict[int, int], progressive: bool) -> bool:
    """Whether zeros may be the code of flat areas in this scan."""
    chosen = scan[2 : 2 + 2 * scan[0] : 2]
    low, refines = scan[-3], scan[-1] >> 4
    if progressive:
        return low == 0 or refines > 0 or all(tables.get(16 | (one & 15), 0) & 15 == 0 for one in chosen)
    return all(tables.get(one >> 4) == 0 and tables.get(16 | (one & 15)) == 0 for one in chosen)
