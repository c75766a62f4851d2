from __future__ import annotations

import csv
import math
import subprocess
import sys
from collections import Counter
from itertools import pairwise, permutations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from noref.degrade import pipeline
from noref.degrade.pipeline import DISTORTIONS, GROUPS, apply, apply_composition, count_compositions, sample_composition
from noref.errors import ImageError, OptionError

EVERY = [(name, level) for name in DISTORTIONS for level in range(1, 6)]
SPECIFICATION = Path(__file__).parents[3] / "shared" / "distortions.csv"


def test_the_table_is_the_specification():
    if not SPECIFICATION.exists():
        pytest.skip(f"{SPECIFICATION} is absent")
    with SPECIFICATION.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == list(DISTORTIONS)
    for row in rows:
        entry = DISTORTIONS[row["name"]]
        assert entry.name == row["name"] == entry.function.__name__
        assert entry.group == row["group"]
        assert entry.levels == tuple(float(row[f"level{level}"]) for level in range(1, 6))


def test_groups():
    sizes = {"blur": 3, "color": 4, "compression": 2, "noise": 4, "brightness": 3, "spatial": 5}
    assert {group: len(names) for group, names in GROUPS.items()} == sizes | {"sharpness_contrast": 3}


@pytest.mark.parametrize(("name", "level"), EVERY)
def test_type_shape_range_and_an_untouched_input(scene, name, level):
    rounded = np.round(scene * 255).astype(np.uint8)
    for image in (rounded, scene, scene.astype(np.float64)):
        image.flags.writeable = False
        before = image.copy()
        result = apply(image, name, level, np.random.default_rng(1))
        assert result.shape == image.shape
        assert result.dtype == image.dtype
        assert result.min() >= 0
        assert result.max() <= (255 if image.dtype == np.uint8 else 1)
        assert not np.shares_memory(result, image)
        np.testing.assert_array_equal(image, before)
        result[:] = 0  # the result is the caller's to write to


@pytest.mark.parametrize(("name", "level"), EVERY)
def test_the_generator_alone_decides(scene, name, level):
    np.random.seed(0)  # noqa: NPY002 - a change of the global state must not matter
    first = apply(scene, name, level, np.random.default_rng(3))
    np.random.seed(1)  # noqa: NPY002
    np.testing.assert_array_equal(first, apply(scene, name, level, np.random.default_rng(3)))


RANDOM = {"motion_blur", "color_shift", *GROUPS["noise"], "jitter", "non_eccentricity_patch", "color_block"}


@pytest.mark.parametrize("name", DISTORTIONS)
def test_chance_is_where_it_belongs(scene, name):
    first, second = (apply(scene, name, 5, np.random.default_rng(seed)) for seed in (0, 1))
    assert (first != second).any() == (name in RANDOM)


@pytest.mark.parametrize("name", DISTORTIONS)
def test_a_view_gives_what_its_copy_gives(scene, name):
    rounded = np.round(scene * 255).astype(np.uint8)
    for view in (rounded[::-1, 5:-3], scene[:, ::2], np.asfortranarray(rounded)):
        expected = apply(view.copy(order="C"), name, 3, np.random.default_rng(0))
        np.testing.assert_array_equal(apply(view, name, 3, np.random.default_rng(0)), expected)


@pytest.mark.parametrize("name", DISTORTIONS)
def test_uint8_is_the_rounded_float(scene, name):
    rounded = np.round(scene * 255).astype(np.uint8)
    from_float = apply(rounded.astype(np.float32) * np.float32(1 / 255), name, 4, np.random.default_rng(0))
    np.testing.assert_array_equal(apply(rounded, name, 4, np.random.default_rng(0)), np.rint(from_float * 255))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(EVERY), st.integers(8, 70), st.integers(8, 70), st.sampled_from([0, 255, None]), st.integers(0, 9)
)
def test_any_size_from_eight_pixels(choice, height, width, value, seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = image if value is None else np.full_like(image, value)
    assert apply(image, *choice, rng).shape == image.shape


@pytest.mark.parametrize(("name", "level"), EVERY)
def test_the_smallest_and_the_narrowest(name, level):
    for shape in ((8, 8, 3), (8, 300, 3), (300, 8, 3)):
        image = np.random.default_rng(0).random(shape, dtype=np.float32)
        result = apply(image, name, level, np.random.default_rng(0))
        assert result.shape == shape
        assert np.isfinite(result).all()


NO_OPS = {"gaussian_blur", "motion_blur", "mean_shift", "color_saturation_lab"}


@pytest.mark.parametrize("name", DISTORTIONS)
def test_level_one_no_ops_are_those_of_the_documentation(scene, name):
    rounded = np.round(scene * 255).astype(np.uint8)
    changed = (apply(rounded, name, 1, np.random.default_rng(0)) != rounded).any()
    assert changed == (name not in NO_OPS)


@pytest.mark.parametrize("name", sorted(set(DISTORTIONS) - {"mean_shift", "contrast_linear_curve"}))
def test_a_higher_level_is_further_from_the_original(scene, name):
    def distance(level):
        draws = (apply(scene, name, level, np.random.default_rng(seed)) for seed in range(40 if name in RANDOM else 1))
        return np.mean([np.square(draw - scene).mean() for draw in draws])

    distances = [distance(level) for level in range(1, 6)]
    assert all(after >= 0.97 * before for before, after in pairwise(distances))  # sampling may alias a little
    assert distances[4] > 1.4 * distances[0]


def test_mean_shift_and_linear_contrast_alternate_as_their_levels_do(scene):
    means = [apply(scene, "mean_shift", level, np.random.default_rng(0)).mean() for level in range(1, 6)]
    assert means[4] < means[2] < means[0] < means[1] < means[3]
    spreads = [apply(scene, "contrast_linear_curve", level, np.random.default_rng(0)).std() for level in range(1, 6)]
    assert spreads[4] < spreads[2] < spreads[0] < spreads[1] < spreads[3]


def test_a_composition_clips_after_each_step_and_rounds_once(scene):
    steps = [("mean_shift", 4), ("contrast_nonlinear", 1), ("mean_shift", 5)]
    expected = scene.astype(float)
    for step in (lambda x: x + 0.15, lambda x: 0.1 + 0.8 * x, lambda x: x - 0.15):
        expected = np.clip(step(expected), 0, 1)
    result = apply_composition(scene, steps, np.random.default_rng(0))
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_a_composition_draws_in_order(scene):
    steps = [("jitter", 3), ("white_noise", 3), ("motion_blur", 4)]
    rng, result = np.random.default_rng(0), scene
    for step in steps:
        result = apply(result, *step, rng)
    np.testing.assert_array_equal(apply_composition(scene, steps, np.random.default_rng(0)), result)


def test_an_empty_composition_is_a_copy(scene):
    rounded = np.round(scene * 255).astype(np.uint8)
    for image in (rounded, scene, scene.astype(np.float64)):
        result = apply_composition(image, [], np.random.default_rng(0))
        np.testing.assert_array_equal(result, image)
        assert not np.shares_memory(result, image)


def test_an_unknown_name_offers_the_nearest(scene, rng):
    with pytest.raises(OptionError, match=r"'gausian_blur'.*gaussian_blur"):
        apply(scene, "gausian_blur", 1, rng)


@pytest.mark.parametrize("level", [0, 6, -1, 2.0, "3", None])
def test_a_level_outside_one_to_five(scene, rng, level):
    with pytest.raises(OptionError, match="1 to 5"):
        apply(scene, "jpeg", level, rng)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((7, 8, 3), np.uint8),
        np.zeros((8, 8, 3), np.uint16),
        np.full((8, 8, 3), 255.0, np.float32),
        np.full((8, 8, 3), np.nan, np.float32),
        np.full((8, 8, 3), -0.1),
        [[[0, 0, 0]]],
    ],
    ids=["grey", "alpha", "small", "uint16", "0-255", "nan", "negative", "list"],
)
def test_an_array_of_another_kind(image, rng):
    with pytest.raises(ImageError, match="image must"):
        apply(image, "jpeg", 1, rng)


def test_a_seed_is_no_generator(scene):
    with pytest.raises(OptionError, match=r"numpy\.random\.Generator"):
        apply(scene, "jpeg", 1, 0)


def test_counts_by_listing_them_all():
    names = list(GROUPS.values())
    for most in (1, 2, 3):
        listed = sum(
            1
            for k in range(1, most + 1)
            for order in permutations(names, k)
            for _ in product(*[[(n, level) for n in group for level in range(2)] for group in order])
        )
        assert count_compositions(most, levels=2) == listed
    assert count_compositions(4) == 68_638_820
    kinds_only = sum(1 for k in range(1, 5) for order in permutations(names, k) for _ in product(*order))
    assert count_compositions(4, levels=1) == kinds_only == 116_852


def draws(count, **options):
    rng = np.random.default_rng(17)
    return [sample_composition(rng, **options) for _ in range(count)]


def test_a_sample_keeps_the_rules():
    for composition in draws(2000):
        assert len(composition) <= 4
        assert all(1 <= level <= 5 for _, level in composition)
        groups = [DISTORTIONS[name].group for name, _ in composition]
        assert len(set(groups)) == len(groups)


def assert_frequencies(found, shares):
    total = sum(found.values())
    assert set(found) <= set(shares)
    expected = [share * total for share in shares.values()]
    assert stats.chisquare([found[key] for key in shares], expected).pvalue > 1e-3


def test_a_sample_has_the_right_frequencies():
    samples = draws(20_000)
    lengths = Counter(len(sample) for sample in samples)
    assert_frequencies(lengths, {0: 0.05} | dict.fromkeys(range(1, 5), 0.95 / 4))
    weights = [math.exp(-(i**2) / (2 * 2.5**2)) for i in range(5)]
    levels = Counter(level for sample in samples for _, level in sample)
    assert_frequencies(levels, {i + 1: weight / sum(weights) for i, weight in enumerate(weights)})
    names = Counter(name for sample in samples for name, _ in sample)
    assert_frequencies(names, {n: 1 / 7 / len(GROUPS[entry.group]) for n, entry in DISTORTIONS.items()})
    first = Counter(DISTORTIONS[sample[0][0]].group for sample in samples if sample)
    assert_frequencies(first, dict.fromkeys(GROUPS, 1 / 7))


def test_the_options_of_a_sample():
    assert draws(50, pristine=1.0) == [[]] * 50
    assert {len(sample) for sample in draws(300, pristine=0.0, max_distortions=7)} == set(range(1, 8))
    assert {len(sample) for sample in draws(50, pristine=0.0, max_distortions=1)} == {1}
    levels = Counter(level for sample in draws(8000, sigma=math.inf) for _, level in sample)
    assert_frequencies(levels, dict.fromkeys(range(1, 6), 0.2))


@pytest.mark.parametrize("wrong", [{"max_distortions": 0}, {"max_distortions": 8}, {"pristine": 1.5}, {"sigma": 0}])
def test_a_sample_with_an_impossible_option(rng, wrong):
    with pytest.raises(OptionError, match=next(iter(wrong))):
        sample_composition(rng, **wrong)


def test_the_table_cannot_be_changed_by_accident():
    with pytest.raises(TypeError):
        pipeline.DISTORTIONS["jpeg"] = None


@pytest.mark.parametrize("package", ["cv2", "scipy"])
def test_a_missing_package_is_one_line_that_names_the_extra(package):
    code = f"import sys; sys.modules[{package!r}] = None; import noref.degrade.pipeline"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stderr.splitlines()[-1].endswith("needs an extra: pip install 'noref[degrade]'")
