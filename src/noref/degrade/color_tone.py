"""Colour, brightness, sharpness and contrast: three groups of the degradation model.

As everywhere in this package: `f(image, value, rng) -> image`, (H, W, 3) float32 RGB in [0, 1] in, a new array out
that may leave [0, 1]. CIELAB is under D65; red is red (the reference swaps it with blue before it converts).
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.random import Generator

from noref.degrade.blur_noise import Image, gaussian_taps

_GREY = np.array([[0.299, 0.587, 0.114]], dtype=np.float32)


def color_diffusion(image: Image, strength: float, _rng: Generator) -> Image:
    """Blur CIELAB a and b by a Gaussian of sigma 1.5 * strength + 2, then multiply them by `strength`."""
    lab = _to_lab(image)
    taps = gaussian_taps(1.5 * strength + 2)
    blurred = cv2.sepFilter2D(lab[..., 1:], -1, taps, taps, borderType=cv2.BORDER_REPLICATE)
    np.multiply(blurred, np.float32(strength), out=lab[..., 1:])
    return _to_rgb(lab)


def color_shift(image: Image, strength: float, rng: Generator) -> Image:
    """Move green by `strength` percent of the image in a random direction, blended in where the gradient is strong.

    The blend is the gradient's length, blurred (sigma 4), stretched to [0, 1], its top and bottom percent cut.
    """
    height, width = image.shape[:2]
    angle = rng.uniform(0.0, 2 * math.pi)
    down, right = round(math.sin(angle) * strength * height / 100), round(math.cos(angle) * strength * width / 100)
    green = np.ascontiguousarray(image[..., 1])
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    columns = np.clip(np.arange(width) - right, 0, width - 1)
    moved = green[rows][:, columns]
    result = image.copy()
    result[..., 1] += (moved - green) * _edges(image)
    return result


def color_saturation_hsv(image: Image, factor: float, _rng: Generator) -> Image:
    """Multiply HSV saturation by `factor`; a negative one turns the hue round.

    With V the largest of R, G and B, and hue and V fixed, V - c is proportional to the saturation for each channel c:
    so the result is V - factor * (V - c), without a conversion.
    """
    largest = image.max(axis=2, keepdims=True)
    return np.float32(factor) * image + np.float32(1 - factor) * largest


def color_saturation_lab(image: Image, factor: float, _rng: Generator) -> Image:
    """Multiply CIELAB a and b by `factor`."""
    lab = _to_lab(image)
    lab[..., 1:] *= np.float32(factor)
    return _to_rgb(lab)


def brighten(image: Image, amount: float, _rng: Generator) -> Image:
    """Lift the middle grey by amount / 2, on RGB and on CIELAB L: (2 * RGB + Lab) / 3."""
    lab = _to_lab(image)
    lab[..., 0] = 100 * _bend(lab[..., 0] / 100, amount)
    return (2 * _bend(image, amount) + _to_rgb(lab)) / 3


def darken(image: Image, amount: float, _rng: Generator) -> Image:
    """Lower the middle grey by amount / 2, on RGB."""
    return _bend(image, -amount)


def mean_shift(image: Image, offset: float, _rng: Generator) -> Image:
    """Add `offset` to every sample."""
    return image + np.float32(offset)


def high_sharpen(image: Image, amount: float, _rng: Generator) -> Image:
    """Unsharp mask on CIELAB L: L + amount * (L - blurred L), 13 x 13 Gaussian of sigma 6."""
    lab = _to_lab(image)
    lightness = np.ascontiguousarray(lab[..., 0])
    taps = gaussian_taps(6.0, 6)
    blurred = cv2.sepFilter2D(lightness, -1, taps, taps, borderType=cv2.BORDER_REPLICATE)
    lab[..., 0] = cv2.addWeighted(lightness, 1 + amount, blurred, -amount, 0)
    return _to_rgb(lab)


def contrast_linear_curve(image: Image, amount: float, _rng: Generator) -> Image:
    """Bend the tones through (0, 0), (0.3, 0.25 - amount / 4), (0.7, 0.75 + amount / 4), (1, 1).

    A not-a-knot spline through four points is one cubic. The points are symmetric about the middle, and so is the
    cubic: x + k * x * (x - 1/2) * (x - 1).
    """
    k = np.float32((0.25 - amount / 4 - 0.3) / (0.3 * (0.3 - 0.5) * (0.3 - 1)))
    return np.clip(image + k * image * (image - np.float32(0.5)) * (image - np.float32(1)), 0, 1)


def contrast_nonlinear(image: Image, amount: float, _rng: Generator) -> Image:
    """Map [0, 1] linearly to [0.5 - amount, 0.5 + amount] (the name is the data set's, not the map's)."""
    return np.float32(2 * amount) * image + np.float32(0.5 - amount)


def _bend(tones: Image, amount: float) -> Image:
    """The not-a-knot spline through (0, 0), (0.5, 0.5 + amount / 2), (1, 1), a parabola, clipped to [0, 1]."""
    return np.clip(tones + np.float32(2 * amount) * tones * (1 - tones), 0, 1)


def _edges(image: Image) -> Image:
    """(H, W) weights in [0, 1]: how strong the gradient is around a pixel; all 0 on a flat image."""
    grey = cv2.transform(image, _GREY)
    across = cv2.filter2D(grey, -1, np.array([[-1.0, 0.0, 1.0]], np.float32), borderType=cv2.BORDER_REPLICATE)
    down = cv2.filter2D(grey, -1, np.array([[-1.0], [0.0], [1.0]], np.float32), borderType=cv2.BORDER_REPLICATE)
    taps = gaussian_taps(4.0)
    strength = cv2.sepFilter2D(cv2.magnitude(across, down), -1, taps, taps, borderType=cv2.BORDER_REPLICATE)
    low, high = float(strength.min()), float(strength.max())
    if high <= low:
        return np.zeros_like(strength, dtype=np.float32)
    stretched = (strength - np.float32(low)) / np.float32(high - low)
    at = [round(0.01 * (stretched.size - 1)), round(0.99 * (stretched.size - 1))]
    bottom, top = np.partition(stretched, at, axis=None)[at]
    return np.clip(stretched, bottom, top)


def _to_lab(image: Image) -> Image:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2Lab), dtype=np.float32)


def _to_rgb(lab: Image) -> Image:
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB), dtype=np.float32)
