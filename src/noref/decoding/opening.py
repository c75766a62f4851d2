"""A file -> the picture in it that counts, opened: by Pillow, the extra `formats`, or out of a TIFF."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from noref.decoding import extra, tiff
from noref.decoding.kinds import AVIF, HEIC, JXL, RAW, kind
from noref.decoding.limits import Limits
from noref.errors import ImageError

HEAD = 256  # bytes that tell the kind of a file
DRAWINGS = {"EPS", "PDF", "WMF"}  # Pillow starts other programs for these


@dataclass(frozen=True)
class Opened:
    """A picture that is not yet decoded, or just developed."""

    image: Image.Image
    file: BinaryIO  # that of this picture alone
    orientation: int = 1  # EXIF orientation that counts where the picture has none of its own
    notes: list[str] = field(default_factory=list)


def opened(file: BinaryIO, limits: Limits) -> Opened:
    """Open the picture of a file that counts.

    Args:
        file: from its start.
        limits: checked here where opening already takes memory; else by the caller.

    Raises:
        ImageError: no picture, one of a kind that is not supported, or one that needs the extra `formats`.
    """
    try:
        picked = tiff.largest_picture(file)
    except tiff.NoPreviewError as error:
        return _raw(file, limits, error)
    if picked:
        return Opened(_pillow(picked.file, limits), picked.file, picked.orientation, [picked.note])
    what = kind(file.read(HEAD))
    file.seek(0)
    if what == HEIC:
        return Opened(extra.heic(file.read()), file)
    if what == JXL:
        image, notes = extra.jpeg_xl(file.read(), limits)
        return Opened(image, file, notes=notes)
    if what == RAW:
        return _raw(file, limits, None)
    image = _pillow(file, limits)
    if image.format in DRAWINGS:
        raise ImageError(f"{image.format} is a drawing, not a picture")
    return Opened(image, file)


def _raw(file: BinaryIO, limits: Limits, without: ImageError | None) -> Opened:
    file.seek(0)
    try:
        image, orientation, notes = extra.raw(file.read(), limits, "developing it" if without else RAW)
    except ImageError as error:
        raise ImageError(f"{without}; {error}" if without else str(error)) from error
    return Opened(image, getattr(image, "fp", None) or file, orientation, notes)


def _pillow(file: BinaryIO, limits: Limits) -> Image.Image:
    try:
        return Image.open(file)
    except UnidentifiedImageError:
        file.seek(0)
        content = file.read()
        raise ImageError(_unreadable(content)) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        pixels = int(re.findall(r"\d+", str(error))[0])
        limits.budget(pixels)
        raise ImageError(f"{pixels / 1e6:.0f} megapixels are over Pillow's limit, PIL.Image.MAX_IMAGE_PIXELS") from None


def _unreadable(content: bytes) -> str:
    if not content:
        return "empty file"
    if kind(content) == AVIF:
        return "this AVIF is damaged, or of a kind that is not supported"
    return tiff.unsupported(content) or "not an image that can be read"
