"""HEIC, JPEG XL and raw files by the packages of the extra `formats`, which are loaded for the first such file."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from noref.decoding import jxl
from noref.decoding.cautions import RAW_CUT
from noref.decoding.kinds import HEIC, JXL
from noref.decoding.limits import Limits, one_large
from noref.decoding.tiff import SMALL
from noref.errors import ImageError, MissingExtraError

UNKNOWN_CODEC = "not identified by this driver"  # Pillow's words for a kind that a plugin does not take
FLIPS = {3: 3, 5: 8, 6: 6}  # LibRaw's number of a turn -> EXIF orientation
UNCHANGED = 3  # rows at the end of a sensor that all have one value: data is missing


def heic(content: bytes) -> Image.Image:
    """A HEIC or HEIF file, opened; it is decoded by `load`."""
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise _missing(HEIC) from error
    try:
        opened: Any = HeifImageFile
        image: Image.Image = opened(io.BytesIO(content))
    except SyntaxError as error:
        if str(error) == UNKNOWN_CODEC:
            raise ImageError("this kind of HEIC is not supported") from error
        raise
    return image


def jpeg_xl(content: bytes, limits: Limits) -> tuple[Image.Image, list[str]]:
    """A JPEG XL file, decoded, and notes.

    An orientation in its EXIF data counts only where the file is a packed JPEG; else its own is applied already.
    """
    width, height, moves = jxl.header(content)
    limits.check(width, height)
    try:
        from pillow_jxl.JpegXLImagePlugin import JXLImageFile
    except ImportError as error:
        raise _missing(JXL) from error
    with one_large(width * height):
        try:
            image: Any = JXLImageFile(io.BytesIO(content))
        except Exception as error:  # the plugin's own says how to build it with more words
            raise ImageError("damaged: JPEG XL that cannot be decoded") from error
    if not image.jpeg:
        image.info.pop("exif", None)
    if image.info.get("icc_profile", b"")[16:20] == b"CMYK":
        raise ImageError("this kind of JPEG XL is not supported: CMYK")
    return image, ["the last frame of an animation"] if moves else []


def raw(content: bytes, limits: Limits, what: str) -> tuple[Image.Image, int, list[str]]:
    """The largest preview of a raw file, or the picture developed, where that is too small.

    Args:
        content: the file.
        limits: of a picture that is developed.
        what: needs the extra, in words.

    Returns:
        The image, the EXIF orientation that applies where its own file has none, and notes.
    """
    try:
        import rawpy
    except ImportError as error:
        raise _missing(what) from error
    try:
        with rawpy.imread(io.BytesIO(content)) as file:
            sizes = file.sizes
            preview = _preview(rawpy, file)
            if preview and max(preview.size) >= min(SMALL, max(sizes.width, sizes.height) / 2):
                note = f"a raw file: its preview of {preview.width} x {preview.height} was taken"
                return preview, FLIPS.get(sizes.flip, 1), [note]
            limits.check(sizes.width, sizes.height)
            with one_large(4 * sizes.width * sizes.height):  # it takes more memory than decoding
                return _developed(file)
    except rawpy.LibRawError as error:
        words = error.args[0] if error.args else type(error).__name__
        raise ImageError(f"damaged: {words.decode() if isinstance(words, bytes) else words}") from error


def _preview(rawpy: Any, file: Any) -> Image.Image | None:
    try:
        found = file.extract_thumb()
        if found.format == rawpy.ThumbFormat.JPEG:
            return Image.open(io.BytesIO(found.data), formats=["JPEG"])
        return Image.fromarray(found.data)
    except (rawpy.LibRawError, OSError):
        return None


def _developed(file: Any) -> tuple[Image.Image, int, list[str]]:
    sensor = file.raw_image_visible if file.raw_type.name == "Flat" else None
    notes = ["a raw file: developed by LibRaw"]
    if sensor is not None and all(np.ptp(row) == 0 for row in sensor[-UNCHANGED:]):
        notes.append(RAW_CUT)
    return Image.fromarray(file.postprocess(use_camera_wb=True)), 1, notes


def _missing(what: str) -> ImageError:
    return ImageError(str(MissingExtraError("formats", what)))
