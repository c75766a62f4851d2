"""Notes on a picture that was decoded: which one of its file it is, and what of its HDR is not shown."""

from __future__ import annotations

from contextlib import suppress
from typing import BinaryIO

from PIL import Image

PARTS = {"GIF": "frames", "PNG": "frames", "WEBP": "frames", "AVIF": "frames", "FLI": "frames"}
PARTS |= {"TIFF": "pictures", "MPO": "pictures", "DCX": "pictures", "HEIF": "pictures"}
LARGEST = {"ICO", "ICNS"}  # Pillow decodes the largest of their pictures
GAIN_MAPS = (b"http://ns.adobe.com/hdr-gain-map", b":aux:hdrgainmap", b"urn:iso:std:iso:ts:21496", b"\0\0tmap")
GAIN_MAP = "HDR gain map ignored"
TRANSFERS = {16: "PQ", 18: "HLG"}  # ITU-T H.273
HEAD = 1 << 16  # bytes in which a file describes its pictures


def notes(image: Image.Image, file: BinaryIO) -> list[str]:
    """What to say of an image that was decoded; its later frames are counted and may be damaged.

    Call it last: counting moves through the file.
    """
    if image.format in LARGEST:
        sizes = image.info.get("sizes", ())
        return [f"the largest of {len(sizes)} pictures"] if len(sizes) > 1 else []
    return [*_hdr(image, file), *_count(image)]


def _hdr(image: Image.Image, file: BinaryIO) -> list[str]:
    head = b""
    if image.format in ("AVIF", "HEIF", "PNG"):
        file.seek(0)
        head = file.read(HEAD)
    found, segments = [], [image.info.get("xmp", b""), *(data for _, data in getattr(image, "applist", ()))]
    segments += [head.partition(b"mdat")[0]] if image.format != "PNG" else []
    if any(name in segment for segment in segments if isinstance(segment, bytes) for name in GAIN_MAPS):
        found.append(GAIN_MAP)
    transfers = {TRANSFERS.get(number) for number in _transfers(head, image.format)}
    if len(transfers) == 1 and (name := transfers.pop()):
        found.append(f"HDR ({name}) samples taken as sRGB")
    return found


def _transfers(head: bytes, form: str | None) -> list[int]:
    """The transfer characteristics that a file names."""
    if form == "PNG":
        chunk = head.partition(b"IDAT")[0].partition(b"cICP")[2]
        return [chunk[1]] if len(chunk) > 1 else []
    boxes = head.partition(b"mdat")[0].split(b"colrnclx")[1:]
    return [int.from_bytes(box[2:4], "big") for box in boxes]


def _count(image: Image.Image) -> list[str]:
    with suppress(Exception):  # a later frame that is damaged
        count = getattr(image, "n_frames", 1) if image.format in PARTS else 1
        if count > 1:
            which = "primary" if image.format == "HEIF" else "first"
            return [f"the {which} of {count} {PARTS[image.format or '']}"]
    return []
