"""The degradation model: 24 distortions, five levels each, in seven groups, and random compositions of them.

The table and the calls are in `pipeline`, the distortions in `blur_noise`, `color_tone` and `compress_spatial`.
Needs the `degrade` extra (OpenCV and SciPy), never torch.
"""

from __future__ import annotations

from noref.errors import MissingExtraError

try:
    import cv2  # noqa: F401
    import scipy  # noqa: F401
except ImportError as _error:
    raise MissingExtraError("degrade", "noref.degrade") from _error
