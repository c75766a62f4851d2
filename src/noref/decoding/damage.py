"""Damage that Pillow does not see: it decodes such files to noise, or to another picture."""

from __future__ import annotations

from typing import BinaryIO

from PIL import Image

from noref.decoding import gif, jpeg, png
from noref.decoding.cautions import AVIF_DOUBTFUL

CHECKS = {"PNG": png.check_checksums, "GIF": gif.check_blocks, "JPEG": jpeg.check_markers, "MPO": jpeg.check_markers}


def check(image: Image.Image, file: BinaryIO) -> None:
    """Check the structure of a file before it is decoded.

    Raises:
        ImageError: it is damaged.
    """
    if image.format in CHECKS:
        CHECKS[image.format](file)


def cautions(image: Image.Image, file: BinaryIO) -> list[str]:
    """What is missing or wrong in a picture that was decoded, in the words of `cautions`."""
    if image.format not in ("JPEG", "MPO", "AVIF"):
        return []
    file.seek(0)
    content = file.read()
    return _avif(content) if image.format == "AVIF" else jpeg.cautions(content, image)


def _avif(content: bytes) -> list[str]:
    """Pillow's decoder, dav1d, does not see damage; that of OpenCV does. OpenCV comes with the extra `formats`."""
    try:
        import cv2
    except ImportError:
        return []
    import numpy as np

    logging = cv2.utils.logging
    level = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8)
    except cv2.error:
        found = None
    finally:
        logging.setLogLevel(level)
    return [AVIF_DOUBTFUL] if found is None else []
