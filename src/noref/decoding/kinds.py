"""What a file is by how it starts, for kinds that Pillow alone does not read; and the names of files in a folder."""

from __future__ import annotations

import struct

PHOTOS = {".avif", ".heic", ".heif", ".hif", ".jfif", ".jpe", ".jpeg", ".jpg", ".jxl", ".mpo", ".webp"}
RAWS = {".arw", ".cr2", ".cr3", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".srw"}
OTHERS = {".bmp", ".dib", ".gif", ".j2k", ".jp2", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff"}
SUFFIXES = frozenset(PHOTOS | RAWS | OTHERS)  # of the files that are taken from a folder

HEIC, JXL, AVIF, RAW = "HEIC", "JPEG XL", "AVIF", "a raw file"
BRANDS = {b"crx ": RAW, b"avif": AVIF, b"avis": AVIF}  # of an ISO media file, the first that fits
BRANDS |= dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"mif3", b"msf1"), HEIC)
STARTS = {b"\xff\x0a": JXL, b"\0\0\0\x0cJXL \r\n\x87\n": JXL}
RAW_STARTS = (b"IIU\0", b"IIRO", b"IIRS", b"MMOR", b"FUJIFILMCCD-RAW", b"FOVb", b"\0MRM", b"II\x1a\0\0\0HEAP")
STARTS |= dict.fromkeys(RAW_STARTS, RAW)


def kind(content: bytes) -> str | None:
    """The kind of a file: `HEIC`, `JPEG XL`, `AVIF` or `a raw file`; None for all others, raw files in TIFF too."""
    if content[4:8] == b"ftyp":
        size = min(struct.unpack_from(">I", content)[0], 256, len(content))
        brands = {content[at : at + 4] for at in (8, *range(16, size - 3, 4))}
        return next((found for brand, found in BRANDS.items() if brand in brands), None)
    return next((found for start, found in STARTS.items() if content.startswith(start)), None)
