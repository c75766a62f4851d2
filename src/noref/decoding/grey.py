"""Grey of more than 8 bits: which value is white."""

from __future__ import annotations

import numpy as np
from PIL import Image

from noref.decoding import tiff
from noref.errors import ImageError

# The value of white; keys are Pillow's mode, or the bits and the sample format of a TIFF.
TOPS: dict[object, tuple[float, ...]] = {
    "F": (1.0, 255.0, 65535.0),
    "I": (65535.0, 2.0**31 - 1),
    (12, 1): (4095.0,),
    (16, 2): (32767.0,),
    (32, 1): (65535.0, 2.0**32 - 1),
}
WHITE_IS_ZERO = 0  # photometric interpretation of a TIFF


def eight_bit(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits, scaled by what its file says, or by the smallest usual range that holds its values."""
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    kind = (tags.get(tiff.BITS, (0,))[0], tags.get(tiff.FORMAT, (1,))[0])
    if kind == (32, 1) and values.dtype == np.int32:
        values = values.view(np.uint32)
    low, high = float(values.min()), float(values.max())
    tops = TOPS["F"] if image.mode == "F" else TOPS.get(kind, TOPS["I"])
    top = next((top for top in tops if high <= top), None)
    if not low >= 0 or top is None:
        raise ImageError(f"values from {low:g} to {high:g} are no grey levels")
    levels = np.rint(np.multiply(values, 255.0 / top, dtype=np.float32)).astype(np.uint8)
    return Image.fromarray(255 - levels if tags.get(tiff.PHOTOMETRIC) == WHITE_IS_ZERO else levels)
