from __future__ import annotations

import io
import math
from fractions import Fraction

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import label, map_coordinates

from noref.degrade import compress_spatial as cs
from noref.degrade.blur_noise import normal
from noref.degrade.pipeline import DISTORTIONS


def pixels(image):
    return np.round(image * 255).astype(np.uint8)


def psnr(first, second):
    return -10 * math.log10(((first.astype(float) - second.astype(float)) ** 2).mean())


@pytest.mark.parametrize("quality", DISTORTIONS["jpeg"].levels)
def test_jpeg_is_what_another_codec_gives(scene, rng, quality):
    buffer = io.BytesIO()
    Image.fromarray(pixels(scene)).save(buffer, format="JPEG", quality=quality)
    expected = np.asarray(Image.open(buffer)).astype(float)
    assert np.abs(cs.jpeg(scene, quality, rng) * 255 - expected).max() <= 2


@pytest.mark.parametrize("ratio", DISTORTIONS["jpeg2000"].levels)
def test_jpeg2000_is_as_good_as_another_encoder_at_that_rate(ratio):
    y, x = np.mgrid[:256, :256] / 40
    image = np.stack([np.sin(x * y), np.cos(3 * x), np.sin(5 * y + x)], axis=-1) / 2 + 0.5
    image = image.astype(np.float32)
    rate = [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, round(1000 / ratio)]
    _, stream = cv2.imencode(".jp2", cv2.cvtColor(pixels(image), cv2.COLOR_RGB2BGR), rate)
    other = cv2.cvtColor(cv2.imdecode(stream, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB) / 255
    result = cs.jpeg2000(image, ratio, np.random.default_rng(0))
    assert psnr(result, image) == pytest.approx(psnr(other, image), abs=2)


@pytest.mark.parametrize("scale", DISTORTIONS["jitter"].levels)
def test_jitter_is_five_rounds_of_bilinear_sampling(scene, scale):
    draws, expected = np.random.default_rng(2), scene.astype(float)
    height, width = scene.shape[:2]
    y, x = np.mgrid[:height, :width]
    for _ in range(5):
        right, down = normal((2, height, width), scale, draws)
        planes = [map_coordinates(expected[..., c], [y + down, x + right], order=1, mode="nearest") for c in range(3)]
        expected = np.stack(planes, axis=-1)
    error = cs.jitter(scene, scale, np.random.default_rng(2)) - expected
    assert np.abs(error).max() < 0.03  # OpenCV 4 rounds places to 1/32 pixel; OpenCV 5 does not
    assert np.sqrt(np.square(error).mean()) < 2e-3


def test_jitter_scatters_a_ramp_by_its_scale(rng):
    ramp = np.broadcast_to(np.arange(200, dtype=np.float32)[None, :, None] / 200, (200, 200, 3)).copy()
    for scale in (0.1, 0.5, 1.0):
        moved = ((cs.jitter(ramp, scale, rng) - ramp)[10:-10, 10:-10] * 200).std()
        assert scale < moved < math.sqrt(5) * scale  # the last round in full, the others averaged by bilinear weights


def numbered(height, width):
    """An image whose every pixel says where it is."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.stack([y, x, y + x], axis=-1)


def test_one_patch_is_copied_up_to_eight_pixels_away(rng):
    image = numbered(90, 120)
    moves = set()
    for _ in range(200):
        y, x, _ = np.moveaxis(cs.non_eccentricity_patch(image, 1, rng) - image, -1, 0)
        moved = (y != 0) | (x != 0)
        if not moved.any():
            continue  # the move was (0, 0)
        assert moved.sum() == 256
        assert len(set(zip(y[moved], x[moved], strict=True))) == 1
        rows, columns = np.nonzero(moved)
        assert np.ptp(rows) == np.ptp(columns) == 15
        moves.add((int(y[moved][0]), int(x[moved][0])))
    assert {max(abs(a), abs(b)) for a, b in moves} <= set(range(9))
    assert min(a for a, _ in moves) == min(b for _, b in moves) == -8
    assert max(a for a, _ in moves) == max(b for _, b in moves) == 8


@pytest.mark.parametrize("patches", DISTORTIONS["non_eccentricity_patch"].levels)
def test_patches_only_rearrange(rng, patches):
    image = numbered(224, 224)
    result = cs.non_eccentricity_patch(image, patches, rng)
    np.testing.assert_array_equal(result[..., 2], result[..., 0] + result[..., 1])
    changed = (result != image).any(axis=-1).mean()
    assert patches * 256 * 0.4 / 224**2 < changed < patches * 256 / 224**2


@pytest.mark.parametrize("strength", DISTORTIONS["pixelate"].levels)
@pytest.mark.parametrize(("height", "width"), [(224, 224), (50, 71), (8, 8)])
def test_pixelate_shows_one_source_pixel_a_block(rng, strength, height, width):
    result = cs.pixelate(numbered(height, width), strength, rng)
    for size, places in ((height, result[:, 0, 0]), (width, result[0, :, 1])):
        small = int(size * (0.95 - strength**0.6))
        for place, shown in enumerate(places.tolist()):
            block = Fraction(place * small, size).__floor__()
            assert shown == Fraction(block * size, small).__floor__()
        assert len(set(places.tolist())) == small


@pytest.mark.parametrize("levels", DISTORTIONS["quantization"].levels)
def test_quantization_of_every_byte_in_exact_fractions(rng, levels):
    ramp = np.repeat(np.arange(256), 3).reshape(16, 16, 3)
    expected = [float(Fraction(math.ceil(Fraction(int(v) * levels, 255)), levels)) for v in ramp.ravel()]
    result = cs.quantization(ramp.astype(np.float32) * np.float32(1 / 255), levels, rng)
    np.testing.assert_allclose(result.ravel(), expected, atol=1e-6)
    assert len(np.unique(result)) == levels + 1


def test_one_block_is_a_square_of_one_colour(rng):
    grey = np.full((70, 90, 3), 0.5, dtype=np.float32)
    corners = set()
    for _ in range(300):
        changed = (cs.color_block(grey, 1, rng) != grey).any(axis=-1)
        rows, columns = np.nonzero(changed)
        assert changed.sum() == 32 * 32
        assert np.ptp(rows) == np.ptp(columns) == 31
        corners.add((int(rows.min()), int(columns.min())))
    assert min(y for y, _ in corners) == min(x for _, x in corners) == 0
    assert max(y for y, _ in corners) == 70 - 32
    assert max(x for _, x in corners) == 90 - 32


@pytest.mark.parametrize("blocks", DISTORTIONS["color_block"].levels)
def test_blocks_have_as_many_colours(rng, blocks):
    grey = np.full((400, 400, 3), 0.5, dtype=np.float32)
    result = cs.color_block(grey, blocks, rng)
    assert len(np.unique(result.reshape(-1, 3), axis=0)) == blocks + 1
    assert label((result != grey).any(axis=-1))[1] <= blocks
