from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage, stats

from noref.degrade import blur_noise as bn
from noref.degrade.pipeline import DISTORTIONS


def convolved(image, kernel):
    planes = [ndimage.convolve(image[..., c].astype(float), kernel, mode="nearest") for c in range(3)]
    return np.stack(planes, axis=-1)


@pytest.mark.parametrize("sigma", DISTORTIONS["gaussian_blur"].levels)
def test_gaussian_blur_is_scipys(scene, rng, sigma):
    radius = math.ceil(2 * sigma)
    expected = [ndimage.gaussian_filter(scene[..., c], sigma, mode="nearest", radius=radius) for c in range(3)]
    np.testing.assert_allclose(bn.gaussian_blur(scene, sigma, rng), np.stack(expected, -1), atol=1e-5)


@pytest.mark.parametrize("radius", DISTORTIONS["lens_blur"].levels)
def test_disk_weights_are_the_area_inside_the_circle(radius):
    fine = 64
    points = (np.arange((2 * radius + 1) * fine) + 0.5) / fine - (2 * radius + 1) / 2
    inside = points[:, None] ** 2 + points[None, :] ** 2 <= radius**2
    area = inside.reshape(2 * radius + 1, fine, 2 * radius + 1, fine).mean(axis=(1, 3))
    np.testing.assert_allclose(bn.disk_kernel(radius) * math.pi * radius**2, area, atol=5e-3)
    assert bn.disk_kernel(radius).sum() == pytest.approx(1)


@pytest.mark.parametrize("radius", DISTORTIONS["lens_blur"].levels)
def test_lens_blur_is_the_convolution_with_the_disk(scene, rng, radius):
    expected = convolved(scene, bn.disk_kernel(radius))
    np.testing.assert_allclose(bn.lens_blur(scene, radius, rng), expected, atol=1e-4)


def test_motion_kernel_worked_by_hand():
    np.testing.assert_allclose(bn.motion_kernel(1, 77), [[1.0]])
    along = np.zeros((5, 5))
    along[2] = 1 / 5  # pixels at distance 0, their neighbours at distance 1
    np.testing.assert_allclose(bn.motion_kernel(5, 0), along, atol=1e-7)
    along[2] = np.array([0.5, 1, 1, 1, 0.5]) / 4  # from -1.5 to 1.5: the ends half covered
    np.testing.assert_allclose(bn.motion_kernel(4, 0), along, atol=1e-7)


@pytest.mark.parametrize("length", [4, 6, 10])
@pytest.mark.parametrize("angle", [0, 17, 45, 90, 133, 179])
def test_motion_kernel_is_a_line_of_that_length_and_angle(length, angle):
    kernel = bn.motion_kernel(length, angle).astype(float)
    assert kernel.sum() == pytest.approx(1)
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-7)
    reach = len(kernel) // 2
    y, x = np.mgrid[reach : -reach - 1 : -1, -reach : reach + 1]
    spread = np.array([[(kernel * a * b).sum() for a in (x, y)] for b in (x, y)])
    values, vectors = np.linalg.eigh(spread)
    direction = math.degrees(math.atan2(vectors[1, 1], vectors[0, 1]))
    assert abs((direction - angle + 90) % 180 - 90) < 6
    assert values[1] == pytest.approx((length**2 - 1) / 12, abs=0.5)  # a row of pixels, up to its soft rim
    assert values[0] < 0.3


@pytest.mark.parametrize("angle", [0, 30, 89])
def test_motion_kernel_turns_with_the_angle(angle):
    np.testing.assert_allclose(bn.motion_kernel(6, angle + 90), np.rot90(bn.motion_kernel(6, angle)), atol=1e-6)


@pytest.mark.parametrize("length", DISTORTIONS["motion_blur"].levels)
def test_motion_blur_is_the_convolution_with_its_kernel(scene, length):
    angle = int(np.random.default_rng(5).integers(180))
    expected = convolved(scene, bn.motion_kernel(length, angle))
    np.testing.assert_allclose(bn.motion_blur(scene, length, np.random.default_rng(5)), expected, atol=1e-5)


def test_every_angle_is_drawn(rng):
    spot = np.zeros((41, 41, 3), dtype=np.float32)
    spot[20, 20] = 1
    seen = {bn.motion_blur(spot, 10, rng).tobytes() for _ in range(2000)}
    assert len(seen) == 180


def assert_variance(samples, variance):
    """Five standard errors of the variance of Gaussian samples."""
    assert samples.var() == pytest.approx(variance, abs=5 * variance * math.sqrt(2 / samples.size))


def test_normal_is_gaussian(rng):
    samples = bn.normal((200, 500), 2.0, rng)
    assert stats.kstest(samples.ravel(), "norm", args=(0, 2)).pvalue > 1e-3
    assert_variance(samples, 4.0)
    assert stats.kurtosis(samples, axis=None) == pytest.approx(0, abs=0.1)
    assert np.corrcoef(samples[:, :-1].ravel(), samples[:, 1:].ravel())[0, 1] == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("variance", DISTORTIONS["white_noise"].levels)
def test_white_noise_has_its_variance_and_independent_channels(rng, variance):
    grey = np.full((100, 120, 3), 0.5, dtype=np.float32)
    noise = bn.white_noise(grey, variance, rng) - grey
    assert noise.mean() == pytest.approx(0, abs=5 * math.sqrt(variance / noise.size))
    assert_variance(noise, variance)
    between = np.corrcoef(noise.reshape(-1, 3).T)
    np.testing.assert_allclose(between, np.eye(3), atol=0.05)


@pytest.mark.parametrize("variance", DISTORTIONS["white_noise_color"].levels)
def test_white_noise_color_is_white_in_ycbcr(scene, rng, variance):
    noise = (bn.white_noise_color(scene, variance, rng) - scene).reshape(-1, 3).astype(float)
    luma = noise @ [0.299, 0.587, 0.114]
    blue, red = (noise[:, 2] - luma) / 1.772, (noise[:, 0] - luma) / 1.402
    covariance = np.cov([luma, blue, red]) / variance
    np.testing.assert_allclose(covariance, np.eye(3), atol=6 * math.sqrt(2 / len(noise)))


@pytest.mark.parametrize("fraction", DISTORTIONS["impulse_noise"].levels)
def test_impulse_noise_hits_the_exact_share_half_and_half(rng, fraction):
    grey = np.full((50, 80, 3), 0.5, dtype=np.float32)
    noisy = bn.impulse_noise(grey, fraction, rng)
    assert (noisy == 1).sum() == (noisy == 0).sum() == fraction * grey.size / 2
    assert (noisy == 0.5).sum() == grey.size - fraction * grey.size


def test_impulse_noise_is_spread_over_rows_columns_and_channels(rng):
    noisy = bn.impulse_noise(np.full((40, 40, 3), 0.5, dtype=np.float32), 0.5, rng) != 0.5
    for axes in ((0, 1), (0, 2), (1, 2)):
        counts = noisy.sum(axis=axes)
        assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("variance", DISTORTIONS["multiplicative_noise"].levels)
def test_multiplicative_noise_grows_with_the_sample(rng, variance):
    steps = np.repeat(np.array([0, 0.2, 0.8], dtype=np.float32), 9000).reshape(3, 3000, 3)
    noise = bn.multiplicative_noise(steps, variance, rng) - steps
    assert not noise[0].any()
    assert_variance(noise[1], 0.04 * variance)
    assert_variance(noise[2], 0.64 * variance)
