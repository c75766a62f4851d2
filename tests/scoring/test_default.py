"""The embedded model, as a user meets it."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import noref
from noref.demo import SERIES, degrade, scene
from noref.images import read
from noref.scoring.network import DEFAULT

DATA = Path(os.environ.get("NOREF_DATA") or Path(__file__).parents[3] / "shared" / "data")
PHOTOS = sorted((DATA / "photos" / "images").glob("*"))[::60]


@pytest.fixture(scope="module")
def scorer():
    return noref.Scorer()


def packed(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def test_it_is_small_and_says_where_it_comes_from(scorer):
    assert DEFAULT.stat().st_size <= 16e6
    card = scorer.card
    assert card.name == "default"
    for part in (card.training, card.results, card.limits):
        assert part


def test_the_short_form_and_the_scorer_agree(scorer):
    assert noref.score(scene()).value == pytest.approx(scorer.score(scene()).value, abs=1e-3)


def test_the_same_alone_together_in_any_order_and_with_any_threads(scorer):
    sources = [np.array(Image.fromarray(scene(i)).resize((380 + 40 * (i % 4), 300))) for i in range(6)]
    alone = [scorer.score(source).value for source in sources]
    assert len({round(value, 1) for value in alone}) > 3
    assert [s.value for s in scorer.score_many(sources * 2)] == pytest.approx(alone * 2, abs=1e-3)
    assert [s.value for s in scorer.score_many(sources[::-1])] == pytest.approx(alone[::-1], abs=1e-3)
    for threads in (1, 3):
        many = noref.Scorer(threads=threads).score_many(sources)
        assert [s.value for s in many] == pytest.approx(alone, abs=1e-3)


def test_scores_fall_as_scenes_are_degraded(scorer):
    falls = []
    for seed in range(2):
        for kind, (_, steps) in SERIES.items():
            values = [score.value for score in scorer.score_many(degrade(scene(seed), kind, step) for step in steps)]
            falls += list(np.diff(values) < 0)
    assert np.mean(falls) >= 0.9


def test_the_demo_shows_that_scores_fall():
    from noref.demo import run

    assert run(stream=io.StringIO())


@pytest.mark.parametrize("ratio", [4.3, 6.2, 8.4, 12.1])
@pytest.mark.parametrize("sampling", [0, 2])
def test_a_large_jpeg_scores_like_the_same_pixels_as_png(scorer, ratio, sampling):
    width, height = round(577 * ratio), round(433 * ratio)
    large = Image.fromarray(scene(3)).resize((width, height), Image.Resampling.LANCZOS)
    grain = np.random.default_rng(0).normal(0, 5, (height, width, 1)).astype(np.float32)
    jpeg = packed(Image.fromarray(np.uint8((np.asarray(large) + grain).clip(0, 255))), "jpeg", subsampling=sampling)
    png = packed(Image.fromarray(read(jpeg)), "png", compress_level=1)
    assert scorer.score(jpeg).value == pytest.approx(scorer.score(png).value, abs=0.5)


@pytest.mark.skipif(not PHOTOS, reason="no photographs: shared/data/photos is absent")
def test_a_large_jpeg_of_real_detail_scores_like_the_same_pixels_as_png(scorer):
    for first in range(2):
        mosaic = Image.new("RGB", (7 * 512, 7 * 384))
        for i in range(49):
            with Image.open(PHOTOS[(first + i) % len(PHOTOS)]) as photo:
                mosaic.paste(photo.convert("RGB").resize((512, 384)), (i % 7 * 512, i // 7 * 384))
        jpeg = packed(mosaic, "jpeg", quality=90)
        assert scorer.score(jpeg).value == pytest.approx(scorer.score(read(jpeg)).value, abs=0.5)


@pytest.mark.parametrize("size", [(16, 16), (3000, 40), (40, 3000), (20, 20)])
def test_odd_sizes_get_a_score(scorer, size):
    assert 0 <= scorer.score(packed(Image.new("RGB", size, "teal"), "png")).value <= 100
