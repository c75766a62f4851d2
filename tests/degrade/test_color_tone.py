from __future__ import annotations

import colorsys
import math

import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter

from noref.degrade import color_tone as ct
from noref.degrade.pipeline import DISTORTIONS, apply

# CIELAB by the book, in float64: sRGB (IEC 61966-2-1), D65 from the primaries' matrix.
TO_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
WHITE = TO_XYZ.sum(axis=1)


def to_lab(rgb):
    rgb = rgb.astype(float)
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    ratio = linear @ TO_XYZ.T / WHITE
    x, y, z = np.moveaxis(np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * (29 / 6) ** 2 / 3 + 4 / 29), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def to_rgb(lab):
    y = (lab[..., 0] + 16) / 116
    f = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], axis=-1)
    xyz = np.where(f > 6 / 29, f**3, (f - 4 / 29) * 3 * (6 / 29) ** 2) * WHITE
    linear = np.clip(xyz @ np.linalg.inv(TO_XYZ).T, 0, 1)
    return np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, linear * 12.92)


def assert_close(result, expected, atol=2e-3):
    """Half an 8-bit step is 2e-3."""
    np.testing.assert_allclose(np.clip(result, 0, 1), np.clip(expected, 0, 1), atol=atol)


@pytest.mark.parametrize("strength", DISTORTIONS["color_diffusion"].levels)
def test_color_diffusion_against_the_formula(scene, rng, strength):
    lab, sigma = to_lab(scene), 1.5 * strength + 2
    for plane in (1, 2):
        lab[..., plane] = strength * gaussian_filter(
            lab[..., plane], sigma, mode="nearest", radius=math.ceil(2 * sigma)
        )
    assert_close(ct.color_diffusion(scene, strength, rng), to_rgb(lab))


@pytest.mark.parametrize("factor", DISTORTIONS["color_saturation_lab"].levels)
def test_color_saturation_lab_against_the_formula(scene, rng, factor):
    assert_close(ct.color_saturation_lab(scene, factor, rng), to_rgb(to_lab(scene) * [1, factor, factor]))


def test_red_is_red(rng):
    red = np.full((8, 8, 3), (0.6, 0.4, 0.4), dtype=np.float32)
    for function in (ct.color_saturation_lab, ct.color_saturation_hsv, ct.color_diffusion):
        pixel = function(red, 2, rng)[4, 4]
        assert pixel[0] > 0.599, function.__name__
        assert max(pixel[1:]) < 0.35, function.__name__


@pytest.mark.parametrize("factor", DISTORTIONS["color_saturation_hsv"].levels)
def test_color_saturation_hsv_is_colorsys_with_a_scaled_s(scene, rng, factor):
    result = ct.color_saturation_hsv(scene, factor, rng)
    for pixel, changed in zip(scene[::5, ::5].reshape(-1, 3), result[::5, ::5].reshape(-1, 3), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel.tolist())
        np.testing.assert_allclose(changed, colorsys.hsv_to_rgb(hue, saturation * factor, value), atol=1e-5)


def test_color_saturation_hsv_worked_by_hand(rng):
    orange = np.full((8, 8, 3), (1.0, 0.5, 0.0), dtype=np.float32)
    np.testing.assert_allclose(ct.color_saturation_hsv(orange, 0.4, rng)[0, 0], [1, 0.8, 0.6], atol=1e-6)
    np.testing.assert_allclose(ct.color_saturation_hsv(orange, 0.0, rng)[0, 0], [1, 1, 1], atol=1e-6)


@pytest.mark.parametrize("strength", DISTORTIONS["color_shift"].levels)
def test_color_shift_against_a_slow_loop(scene, strength):
    angle = np.random.default_rng(3).uniform(0, 2 * math.pi)
    height, width = scene.shape[:2]
    down, right = round(math.sin(angle) * strength * height / 100), round(math.cos(angle) * strength * width / 100)
    grey = np.pad(scene @ [0.299, 0.587, 0.114], 1, mode="edge")
    gradient = np.hypot(grey[1:-1, 2:] - grey[1:-1, :-2], grey[2:, 1:-1] - grey[:-2, 1:-1])
    edges = gaussian_filter(gradient, 4, mode="nearest", radius=8)
    edges = (edges - edges.min()) / (edges.max() - edges.min())
    edges = np.clip(edges, *np.percentile(edges, [1, 99]))
    expected = scene.copy()
    for y in range(height):
        for x in range(width):
            source = scene[min(max(y - down, 0), height - 1), min(max(x - right, 0), width - 1), 1]
            expected[y, x, 1] = edges[y, x] * source + (1 - edges[y, x]) * scene[y, x, 1]
    result = ct.color_shift(scene, strength, np.random.default_rng(3))
    np.testing.assert_allclose(result, expected, atol=5e-3)
    np.testing.assert_array_equal(result[..., [0, 2]], scene[..., [0, 2]])


def test_color_shift_moves_every_way(rng):
    spot = np.zeros((60, 60, 3), dtype=np.float32)
    spot[30, 30] = 1
    quarters = set()
    for _ in range(100):
        y, x = np.argwhere(ct.color_shift(spot, 12, rng)[..., 1] * (spot[..., 1] == 0) > 0)[0]
        quarters.add((int(np.sign(y - 30)), int(np.sign(x - 30))))
    assert quarters >= {(-1, -1), (-1, 1), (1, -1), (1, 1)}


def test_color_shift_leaves_flat_colour_alone(rng):
    flat = np.full((20, 20, 3), (0.1, 0.5, 0.9), dtype=np.float32)
    np.testing.assert_array_equal(ct.color_shift(flat, 12, rng), flat)


@pytest.mark.parametrize("amount", DISTORTIONS["darken"].levels)
def test_darken_is_the_spline(scene, rng, amount):
    curve = CubicSpline([0, 0.5, 1], [0, 0.5 - amount / 2, 1], bc_type="not-a-knot")
    assert_close(ct.darken(scene, amount, rng), curve(scene), atol=1e-5)


@pytest.mark.parametrize("amount", DISTORTIONS["brighten"].levels)
def test_brighten_is_the_spline_on_rgb_and_on_lightness(scene, rng, amount):
    curve = CubicSpline([0, 0.5, 1], [0, 0.5 + amount / 2, 1], bc_type="not-a-knot")
    lab = to_lab(scene)
    lab[..., 0] = 100 * np.clip(curve(lab[..., 0] / 100), 0, 1)
    assert_close(ct.brighten(scene, amount, rng), (2 * np.clip(curve(scene), 0, 1) + to_rgb(lab)) / 3)


@pytest.mark.parametrize("amount", DISTORTIONS["contrast_linear_curve"].levels)
def test_contrast_linear_curve_is_the_spline(scene, rng, amount):
    tones = [0, 0.25 - amount / 4, 0.75 + amount / 4, 1]
    curve = CubicSpline([0, 0.3, 0.7, 1], tones, bc_type="not-a-knot")
    assert_close(ct.contrast_linear_curve(scene, amount, rng), curve(scene), atol=1e-5)


@pytest.mark.parametrize("amount", DISTORTIONS["contrast_nonlinear"].levels)
def test_contrast_nonlinear_maps_black_white_and_the_middle(rng, amount):
    ramp = np.linspace(0, 1, 64 * 3, dtype=np.float32).reshape(8, 8, 3)
    expected = np.interp(ramp, [0, 0.5, 1], [0.5 - amount, 0.5, 0.5 + amount])
    np.testing.assert_allclose(ct.contrast_nonlinear(ramp, amount, rng), expected, atol=1e-6)


@pytest.mark.parametrize("offset", DISTORTIONS["mean_shift"].levels)
def test_mean_shift_moves_the_mean(scene, rng, offset):
    shift = ct.mean_shift(scene, offset, rng).astype(float) - scene
    np.testing.assert_allclose(shift, offset, atol=1e-6)


@pytest.mark.parametrize("amount", DISTORTIONS["high_sharpen"].levels)
def test_high_sharpen_against_the_formula(scene, rng, amount):
    lab = to_lab(scene)
    lab[..., 0] += amount * (lab[..., 0] - gaussian_filter(lab[..., 0], 6, mode="nearest", radius=6))
    assert_close(ct.high_sharpen(scene, amount, rng), to_rgb(lab))


def test_color_shift_does_not_depend_on_where_arrays_lie_in_memory():
    image, rng = np.random.default_rng(0).random((97, 131, 3)).astype(np.float32), np.random.default_rng(1)
    wanted = apply(image, "color_shift", 3, np.random.default_rng(1))
    blocks = []
    for _ in range(40):
        blocks.append(np.empty(rng.integers(1, 5000), np.float32))  # moves what is allocated next
        assert np.array_equal(apply(image, "color_shift", 3, np.random.default_rng(1)), wanted)
