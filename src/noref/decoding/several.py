"""Which picture of a file was decoded, where it has several."""

from __future__ import annotations

from contextlib import suppress

from PIL import Image

PARTS = {"GIF": "frames", "PNG": "frames", "WEBP": "frames", "AVIF": "frames", "FLI": "frames"}
PARTS |= {"TIFF": "pictures", "MPO": "pictures", "DCX": "pictures"}
LARGEST = {"ICO", "ICNS"}  # Pillow decodes the largest of their pictures
GAIN_MAPS = (
    b"http://ns.adobe.com/hdr-gain-map",
    b"urn:com:apple:photo:2020:aux:hdrgainmap",
    b"urn:iso:std:iso:ts:21496",
)
GAIN_MAP = "HDR gain map ignored"


def said(image: Image.Image) -> list[str]:
    """What to say of an image that was decoded; its later frames are counted and may be damaged.

    Call it last: counting moves through the file.
    """
    if image.format in LARGEST:
        sizes = image.info.get("sizes", ())
        return [f"the largest of {len(sizes)} pictures"] if len(sizes) > 1 else []
    found = []
    segments = [image.info.get("xmp", b""), *(data for _, data in getattr(image, "applist", ()))]
    if any(name in segment for segment in segments for name in GAIN_MAPS):
        return [GAIN_MAP]
    with suppress(Exception):  # a later frame that is damaged
        count = getattr(image, "n_frames", 1) if image.format in PARTS else 1
        if count > 1:
            found.append(f"the first of {count} {PARTS[image.format or '']}")
    return found
