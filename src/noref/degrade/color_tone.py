"""Colour, brightness, sharpness and contrast: three groups of the degradation model.

As everywhere in this package: `f(image, value, rng) -> image`, (H, W, 3) float32 RGB in [0, 1] in, a new array out
that may leave [0, 1]. CIELAB is under D65, from sRGB, and red is red: the released code swaps red and blue before it
converts (`docs/degrade.md` lists what else differs).
"""

from __future__ import annotations

import math
from functools import cache

import cv2
import numpy as np
from numpy.random import Generator

from noref.degrade.blur_noise import Image, gaussian_taps

_GREY = np.array([[0.299, 0.587, 0.114]], dtype=np.float32)
_SLOPE = np.array([[-1.0, 0.0, 1.0]], dtype=np.float32)


def color_diffusion(image: Image, strength: float, _rng: Generator) -> Image:
    """Blur CIELAB a and b by a Gaussian of sigma 1.5 * strength + 2, then multiply them by `strength`."""
    lightness, a, b = _to_lab(image)
    taps = gaussian_taps(1.5 * strength + 2)
    a, b = (_separable(plane, taps) for plane in (a, b))
    return _to_rgb(lightness, a * np.float32(strength), b * np.float32(strength))


def color_shift(image: Image, strength: float, rng: Generator) -> Image:
    """Move green by `strength` percent of the image in a random direction, blended in where the gradient is strong.

    The share of the moved green is the gradient's length, blurred by a Gaussian of sigma 4, stretched to [0, 1], and
    cut at its lowest and highest percent.

    Differs:
        The released code moves by `strength` pixels, to the right and down only.
    """
    height, width = image.shape[:2]
    angle = rng.uniform(0.0, 2 * math.pi)
    down, right = round(math.sin(angle) * strength * height / 100), round(math.cos(angle) * strength * width / 100)
    red, green, blue = _planes(image)
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    columns = np.clip(np.arange(width) - right, 0, width - 1)
    change = np.take(np.take(green, rows, axis=0), columns, axis=1) - green
    return _merged(red, green + change * edge_weights(image), blue)


def color_saturation_hsv(image: Image, factor: float, _rng: Generator) -> Image:
    """Multiply HSV saturation by `factor`; below 0 each colour becomes its complement.

    With V the largest of R, G and B, and hue and V kept, V - c is proportional to the saturation for each channel c:
    so the result is V - factor * (V - c), without a conversion.
    """
    red, green, blue = _planes(image)
    largest = np.maximum(np.maximum(red, green), blue) * np.float32(1 - factor)
    return image * np.float32(factor) + _merged(largest, largest, largest)


def color_saturation_lab(image: Image, factor: float, _rng: Generator) -> Image:
    """Multiply CIELAB a and b by `factor`."""
    lightness, a, b = _to_lab(image)
    return _to_rgb(lightness, a * np.float32(factor), b * np.float32(factor))


def brighten(image: Image, amount: float, _rng: Generator) -> Image:
    """Lift the middle of the tones by amount / 2, once on RGB and once on CIELAB L: (2 * RGB + Lab) / 3."""
    lightness, a, b = _to_lab(image)
    by_lightness = _to_rgb(_bend(lightness / np.float32(100), amount) * np.float32(100), a, b)
    return _mix(_bend(image, amount), 2 / 3, by_lightness, 1 / 3)


def darken(image: Image, amount: float, _rng: Generator) -> Image:
    """Lower the middle of the tones by amount / 2, on RGB only."""
    return _bend(image, -amount)


def mean_shift(image: Image, offset: float, _rng: Generator) -> Image:
    """Add `offset` to every sample."""
    return image + np.float32(offset)


def high_sharpen(image: Image, amount: float, _rng: Generator) -> Image:
    """Unsharp mask on CIELAB L: L + amount * (L - blurred L), a 13 x 13 Gaussian of sigma 6."""
    lightness, a, b = _to_lab(image)
    blurred = _separable(lightness, gaussian_taps(6.0, 6))
    return _to_rgb(_mix(lightness, 1 + amount, blurred, -amount), a, b)


def contrast_linear_curve(image: Image, amount: float, _rng: Generator) -> Image:
    """Bend the tones through (0, 0), (0.3, 0.25 - amount / 4), (0.7, 0.75 + amount / 4), (1, 1).

    A not-a-knot spline through four points is one cubic. These are symmetric about the middle, and so is the cubic:
    x + k * x * (x - 1/2) * (x - 1).
    """
    k = (0.25 - amount / 4 - 0.3) / (0.3 * (0.3 - 0.5) * (0.3 - 1))
    bent = (image - np.float32(0.5)) * np.float32(k)
    bent *= image
    bent *= image - np.float32(1)
    bent += image
    return bent


def contrast_nonlinear(image: Image, amount: float, _rng: Generator) -> Image:
    """Map [0, 1] linearly to [0.5 - amount, 0.5 + amount]; the name is the reference's."""
    return image * np.float32(2 * amount) + np.float32(0.5 - amount)


def edge_weights(image: Image) -> Image:
    """(H, W) weights in [0, 1]: how strong the gradient is around each pixel; all 0 on a flat image."""
    grey = _array(cv2.transform(image, _GREY))
    across, down = (_array(cv2.filter2D(grey, -1, k, borderType=cv2.BORDER_REPLICATE)) for k in (_SLOPE, _SLOPE.T))
    strength = _separable(_array(cv2.magnitude(across, down)), gaussian_taps(4.0))
    low, high = float(strength.min()), float(strength.max())
    if high - low < 1e-6:
        return np.zeros_like(strength)
    strength -= np.float32(low)
    strength *= np.float32(1 / (high - low))
    bottom, top = _percentiles(strength, 0.01, 0.99)
    return np.clip(strength, bottom, top, out=strength)


def _percentiles(values: Image, *shares: float) -> list[float]:
    """Values in [0, 1] below which the `shares` lie, to 1/4096: a histogram is ten times faster than sorting."""
    counts = cv2.calcHist([values], [0], None, [4096], [0.0, 1.0 + 1e-6]).ravel().cumsum()
    return [float(np.searchsorted(counts, share * values.size)) / 4096 for share in shares]


def _bend(tones: Image, amount: float) -> Image:
    """The not-a-knot spline through (0, 0), (0.5, 0.5 + amount / 2), (1, 1), a parabola, clipped to [0, 1]."""
    bent = np.float32(1 + 2 * amount) - tones * np.float32(2 * amount)
    bent *= tones
    return np.clip(bent, 0.0, 1.0, out=bent)


@cache
def _linear_light() -> Image:
    """The sRGB curve as a table of 65536 steps: exact for 8-bit values, faster than the power."""
    encoded = np.linspace(0.0, 1.0, 65536)
    linear = np.where(encoded > 0.04045, ((encoded + 0.055) / 1.055) ** 2.4, encoded / 12.92)
    return linear.astype(np.float32)


def _to_lab(image: Image) -> tuple[Image, Image, Image]:
    """L in [0, 100], a and b, (H, W) each.

    OpenCV's own sRGB to Lab interpolates in a coarse table: up to 0.5 off in a and b, which a factor of 9 makes
    visible. From linear light it computes.
    """
    steps = np.asarray(cv2.addWeighted(image, 65535.0, image, 0.0, 0.0, dtype=cv2.CV_16U), dtype=np.uint16)
    return _planes(_array(cv2.cvtColor(np.take(_linear_light(), steps, mode="clip"), cv2.COLOR_LRGB2Lab)))


def _to_rgb(lightness: Image, a: Image, b: Image) -> Image:
    """(H, W, 3) sRGB, clipped to [0, 1]; L may leave [0, 100]."""
    return _array(cv2.cvtColor(_merged(lightness, a, b), cv2.COLOR_Lab2RGB))


def _separable(plane: Image, taps: Image) -> Image:
    return _array(cv2.sepFilter2D(plane, -1, taps, taps, borderType=cv2.BORDER_REPLICATE))


def _mix(first: Image, share: float, second: Image, other: float) -> Image:
    return _array(cv2.addWeighted(first, share, second, other, 0.0))


def _planes(image: Image) -> tuple[Image, Image, Image]:
    first, second, third = cv2.split(image)
    return _array(first), _array(second), _array(third)


def _merged(*planes: Image) -> Image:
    return _array(cv2.merge(planes))


def _array(result: object) -> Image:
    return np.asarray(result, dtype=np.float32)  # a view: OpenCV's type hints do not know the type
