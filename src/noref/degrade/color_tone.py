"""Colour, brightness, sharpness and contrast: three groups of the degradation model.

Functions `f(image, value, rng) -> image` as in `blur_noise`. CIELAB is under D65, from sRGB. The released code swaps
red and blue before it converts, this one does not (`docs/degrade.md` lists what else differs).
"""

from __future__ import annotations

import math
from functools import cache

import cv2
import numpy as np
from numpy.random import Generator

from noref.degrade.filters import Image, as_image, blurred, filtered, gaussian_taps

_GREY = np.array([[0.299, 0.587, 0.114]], dtype=np.float32)
_SLOPE = np.array([[-1.0, 0.0, 1.0]], dtype=np.float32)


def color_diffusion(image: Image, strength: float, _rng: Generator) -> Image:
    """Blur CIELAB a and b by a Gaussian of sigma 1.5 * strength + 2, then multiply them by `strength`."""
    lightness, a, b = _to_lab(image)
    taps = gaussian_taps(1.5 * strength + 2)
    a, b = blurred(a, taps), blurred(b, taps)
    return _to_rgb(lightness, a * np.float32(strength), b * np.float32(strength))


def color_shift(image: Image, strength: float, rng: Generator) -> Image:
    """Move green by `strength` percent of the image in a random direction, blended in by `_edge_weights`.

    Differs: the released code moves by `strength` pixels, to the right and down only.
    """
    height, width = image.shape[:2]
    angle = rng.uniform(0.0, 2 * math.pi)
    down, right = round(math.sin(angle) * strength * height / 100), round(math.cos(angle) * strength * width / 100)
    red, green, blue = _planes(image)
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    columns = np.clip(np.arange(width) - right, 0, width - 1)
    change = np.take(np.take(green, rows, axis=0), columns, axis=1) - green
    return _merged(red, green + change * _edge_weights(image), blue)


def color_saturation_hsv(image: Image, factor: float, _rng: Generator) -> Image:
    """Multiply HSV saturation by `factor`: V - factor * (V - c), V = max(R, G, B); below 0 gives complements."""
    red, green, blue = _planes(image)
    largest = np.maximum(np.maximum(red, green), blue) * np.float32(1 - factor)
    return image * np.float32(factor) + _merged(largest, largest, largest)


def color_saturation_lab(image: Image, factor: float, _rng: Generator) -> Image:
    """Multiply CIELAB a and b by `factor`."""
    lightness, a, b = _to_lab(image)
    return _to_rgb(lightness, a * np.float32(factor), b * np.float32(factor))


def brighten(image: Image, amount: float, _rng: Generator) -> Image:
    """Raise the middle tones by amount / 2, once on RGB and once on CIELAB L: (2 * RGB + Lab) / 3."""
    lightness, a, b = _to_lab(image)
    by_lightness = _to_rgb(_bend(lightness / np.float32(100), amount) * np.float32(100), a, b)
    return _mix(_bend(image, amount), 2 / 3, by_lightness, 1 / 3)


def darken(image: Image, amount: float, _rng: Generator) -> Image:
    """Lower the middle tones by amount / 2, on RGB only."""
    return _bend(image, -amount)


def mean_shift(image: Image, offset: float, _rng: Generator) -> Image:
    """Add `offset` to every sample."""
    return image + np.float32(offset)


def high_sharpen(image: Image, amount: float, _rng: Generator) -> Image:
    """Unsharp mask on CIELAB L: L + amount * (L - blurred L), a 13 x 13 Gaussian of sigma 6."""
    lightness, a, b = _to_lab(image)
    return _to_rgb(_mix(lightness, 1 + amount, blurred(lightness, gaussian_taps(6.0, 6)), -amount), a, b)


def contrast_linear_curve(image: Image, amount: float, _rng: Generator) -> Image:
    """x + k x (x - 1/2) (x - 1), the cubic through 0, (0.3, 0.25 - amount / 4), (0.7, 0.75 + amount / 4) and (1, 1)."""
    k = (0.25 - amount / 4 - 0.3) / (0.3 * (0.3 - 0.5) * (0.3 - 1))
    return (image - np.float32(0.5)) * np.float32(k) * image * (image - np.float32(1)) + image


def contrast_nonlinear(image: Image, amount: float, _rng: Generator) -> Image:
    """Map [0, 1] linearly to [0.5 - amount, 0.5 + amount]; the name is the paper's."""
    return image * np.float32(2 * amount) + np.float32(0.5 - amount)


def _edge_weights(image: Image) -> Image:
    """(H, W) blurred gradient length, scaled to [0, 1], clipped at its 1st and 99th percentile; 0 on a flat image."""
    grey = as_image(cv2.transform(image, _GREY))
    across, down = filtered(grey, _SLOPE), filtered(grey, _SLOPE.T)
    gradient = np.sqrt(across * across + down * down)  # the last bit of cv2.magnitude depends on where its result lies
    strength = blurred(gradient, gaussian_taps(4.0))
    low, high = float(strength.min()), float(strength.max())
    if high - low < 1e-6:
        return np.zeros_like(strength)
    strength = (strength - np.float32(low)) * np.float32(1 / (high - low))
    # percentiles to 1/4096: a histogram is ten times faster than sorting
    counts = cv2.calcHist([strength], [0], None, [4096], [0.0, 1.0 + 1e-6]).ravel().cumsum()
    bottom, top = (float(np.searchsorted(counts, share * strength.size)) / 4096 for share in (0.01, 0.99))
    return np.clip(strength, bottom, top, out=strength)


def _bend(tones: Image, amount: float) -> Image:
    """The parabola through (0, 0), (0.5, 0.5 + amount / 2), (1, 1), clipped to [0, 1]."""
    bent = (np.float32(1 + 2 * amount) - tones * np.float32(2 * amount)) * tones
    return np.clip(bent, 0.0, 1.0, out=bent)


@cache
def _linear_light() -> Image:
    """The sRGB curve as a table of 65536 steps: exact for 8-bit values, faster than the power."""
    encoded = np.linspace(0.0, 1.0, 65536)
    linear = np.where(encoded > 0.04045, ((encoded + 0.055) / 1.055) ** 2.4, encoded / 12.92)
    return linear.astype(np.float32)


def _to_lab(image: Image) -> tuple[Image, Image, Image]:
    """L in [0, 100], a and b, (H, W) each."""
    # from linear light: OpenCV's conversion from sRGB is up to 0.5 off in a and b, which a factor of 9 makes visible
    steps = np.asarray(cv2.addWeighted(image, 65535.0, image, 0.0, 0.0, dtype=cv2.CV_16U), dtype=np.uint16)
    return _planes(as_image(cv2.cvtColor(np.take(_linear_light(), steps, mode="clip"), cv2.COLOR_LRGB2Lab)))


def _to_rgb(lightness: Image, a: Image, b: Image) -> Image:
    """(H, W, 3) sRGB, clipped to [0, 1]; L may leave [0, 100]."""
    return as_image(cv2.cvtColor(_merged(lightness, a, b), cv2.COLOR_Lab2RGB))


def _mix(first: Image, share: float, second: Image, other: float) -> Image:
    return as_image(cv2.addWeighted(first, share, second, other, 0.0))


def _planes(image: Image) -> tuple[Image, Image, Image]:
    first, second, third = cv2.split(image)
    return as_image(first), as_image(second), as_image(third)


def _merged(*planes: Image) -> Image:
    return as_image(cv2.merge(planes))
