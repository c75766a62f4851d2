"""docs/conventions.md, as far as a program can check it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

import noref
from noref import images
from noref.card import Scale


def test_arrays_are_height_width_rgb():
    wide_red = Image.new("RGB", (40, 20), (255, 0, 0))
    buffer = io.BytesIO()
    wide_red.save(buffer, "PNG")
    pixels = images.read(buffer.getvalue())
    assert pixels.shape == (20, 40, 3)
    assert pixels.dtype == np.uint8
    assert pixels[0, 0].tolist() == [255, 0, 0]


def test_quality_is_higher_for_better_whatever_the_direction_of_the_raw_score():
    mos, dmos = Scale(1, 5), Scale(0, 100, higher_is_better=False)
    assert mos.quality(5) == dmos.quality(0) == 1.0
    assert mos.quality(1) == dmos.quality(100) == 0.0
    for scale in (mos, dmos):
        assert scale.raw(scale.quality(3.5)) == pytest.approx(3.5)


def test_a_score_says_its_range_and_direction():
    score = noref.score(np.full((240, 320, 3), 128, np.uint8))
    assert 0 <= score.value <= 100
    assert str(score.scale) == "0-100, higher is better"


def test_metrics_take_predicted_first():
    pytest.importorskip("scipy", reason="needs the train extra")
    from noref.evaluate.correlation import fit_logistic4, rmse

    predicted, actual = [0.0, 0.1, 0.5, 0.9, 1.0], [10.0, 12.0, 50.0, 88.0, 90.0]
    curve = fit_logistic4(np.array(predicted), np.array(actual))
    mapped = [float(curve(np.array([p]))[0]) for p in predicted]
    assert rmse(predicted, actual, mapping="logistic4") == pytest.approx(
        float(np.sqrt(np.mean((np.array(mapped) - actual) ** 2))), rel=1e-6
    )


def test_distortion_levels_count_from_one():
    pytest.importorskip("cv2", reason="needs the degrade extra")
    from noref.degrade.pipeline import DISTORTIONS, apply

    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    faint, strong = (apply(image, "white_noise", level, np.random.default_rng(0)) for level in (1, 5))
    assert np.abs(faint - image.astype(int)).mean() < np.abs(strong - image.astype(int)).mean()
    assert len(DISTORTIONS) == 24
    with pytest.raises(noref.OptionError, match="level"):
        apply(image, "white_noise", 0, np.random.default_rng(0))
