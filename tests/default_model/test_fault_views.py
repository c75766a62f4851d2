"""Views with known faults, against the degradations themselves."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import Image

from noref.default_model import fault_views
from noref.default_model.fault_views import CAMERA, NAMES, NO_FAULT, camera, draw_steps, draw_view, same_difference
from noref.degrade.pipeline import DISTORTIONS, apply


@pytest.fixture(scope="module")
def photo():
    coarse = np.random.default_rng(0).integers(0, 256, (24, 30, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((300, 240), Image.Resampling.BICUBIC))


def test_the_steps_that_change_nothing_are_all_of_them(photo):
    rng = np.random.default_rng(0)
    same = {step for step in itertools.product(NAMES, (1, 2)) if np.array_equal(apply(photo, *step, rng), photo)}
    assert same == NO_FAULT - {("contrast_linear_curve", 1)}  # its amount is 0 all the same
    assert DISTORTIONS["contrast_linear_curve"].levels[0] == 0


def test_compositions_have_one_type_of_a_group():
    rng = np.random.default_rng(0)
    drawn = [draw_steps(rng, 3) for _ in range(300)]
    assert all(len({DISTORTIONS[name].group for name, _ in steps}) == 3 for steps in drawn)
    assert {step for steps in drawn for step in steps} == set(itertools.product(NAMES, range(1, 6)))


def test_a_view_says_what_is_wrong_in_it(photo, monkeypatch):
    monkeypatch.setattr(fault_views, "SHARES", {"one": 1.0})
    monkeypatch.setattr(fault_views, "CROP", 200)
    rng = np.random.default_rng(3)
    for _ in range(20):
        view, severities = draw_view(photo, rng)
        assert view.dtype == np.uint8
        assert view.shape in ((240, 300, 3), (200, 200, 3))
        assert severities.shape == (24,)
        assert np.count_nonzero(severities) <= 1
        assert set(np.rint(5 * severities)) <= {0, 1, 2, 3, 4, 5}


def test_a_pristine_view_is_the_photo_or_a_part_of_it(photo, monkeypatch):
    monkeypatch.setattr(fault_views, "SHARES", {"pristine": 1.0})
    monkeypatch.setattr(fault_views, "CROP", 1000)
    view, severities = draw_view(photo, np.random.default_rng(0))
    assert not severities.any()
    assert np.array_equal(view, photo) or np.array_equal(view, photo[:, ::-1])


@pytest.mark.parametrize("level", [2, 3, 5])
def test_a_degradation_is_as_severe_as_itself(photo, level):
    after = apply(photo, "darken", level, np.random.default_rng(0))
    found = same_difference(photo, after, "darken", np.random.default_rng(0))
    assert found == pytest.approx(level / 5, abs=1e-6)


@pytest.mark.parametrize("name", CAMERA)
def test_cameras_do_what_they_are_named_after(photo, name):
    rng = np.random.default_rng(0)
    after = CAMERA[name](photo, rng).astype(float)
    assert after.shape == photo.shape
    edges = [np.abs(np.diff(one.astype(float), axis=1)).mean() for one in (photo, after)]
    expected = {
        "darken": after.mean() < photo.mean(),
        "brighten": after.mean() > photo.mean(),
        "contrast_nonlinear": after.std() < photo.std(),
        "lens_blur": edges[1] < edges[0],
        "motion_blur": edges[1] < edges[0],
        "white_noise": edges[1] > edges[0],
    }
    assert expected[name]


def test_a_camera_makes_one_or_two_faults(photo):
    rng = np.random.default_rng(0)
    counts = {len(camera(photo, rng)[1]) for _ in range(12)}
    assert counts == {1, 2}
