from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from noref import demo
from noref.demo import SEVERITY_SERIES, degrade, run, scene
from noref.errors import OptionError

SHARPNESS = """<ir_version: 8, opset_import: ["" : 17]> sharp (uint8[n, h, w, 3] image) => (float[n] quality) {
    level = Cast<to = 1>(image)
    one = Constant<value_ints = [1]>()
    far = Constant<value_ints = [100000]>()
    two = Constant<value_ints = [2]>()
    zero = Constant<value_ints = [0]>()
    back = Constant<value_ints = [-1]>()
    left = Slice(level, zero, back, two)
    right = Slice(level, one, far, two)
    step = Sub(left, right)
    size = Abs(step)
    mean = ReduceMean<axes = [1, 2, 3], keepdims = 0>(size)
    top = Constant<value_float = 100.0>()
    quality = Div(mean, top)
}"""


def test_the_scene_is_a_picture_and_always_the_same():
    image = scene()
    assert image.shape == (384, 512, 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, scene())
    assert not np.array_equal(image, scene(8))
    assert image.std() > 30
    assert image.min() < 20
    assert image.max() > 230


def test_each_step_moves_the_picture_further():
    original = scene().astype(float)
    for kind, (_, steps) in SEVERITY_SERIES.items():
        errors = [np.square(degrade(scene(), kind, step) - original).mean() for step in steps]
        assert errors[0] == 0
        assert errors == sorted(errors)
        assert len(set(errors)) == len(errors)


def test_steps_are_what_they_say():
    image = scene()
    blurred = Image.fromarray(image).filter(ImageFilter.GaussianBlur(3))
    np.testing.assert_array_equal(degrade(image, "blur", 3), np.array(blurred))
    grey = np.full((200, 200, 3), 128, np.uint8)
    assert degrade(grey, "noise", 12).std() == pytest.approx(12, rel=0.02)
    np.testing.assert_array_equal(degrade(grey, "noise", 12), degrade(grey, "noise", 12))
    file = io.BytesIO()
    Image.fromarray(image).save(file, "jpeg", quality=12)
    np.testing.assert_array_equal(degrade(image, "jpeg", 12), np.array(Image.open(file)))


def test_a_model_whose_scores_do_not_fall_fails_the_demo(make_model):
    stream = io.StringIO()
    assert not run(model=str(make_model(SHARPNESS)), stream=stream)  # blur lowers it, noise raises it
    text = stream.getvalue()
    blur, noise, _ = text[text.index("blur") :].split("\n\n", 3)[:3]
    assert "does not fall" not in blur
    assert noise.count("does not fall") == 3


def test_scores_that_fall_pass_and_pictures_are_kept(make_model, monkeypatch, tmp_path):
    monkeypatch.setattr(demo, "SEVERITY_SERIES", {"blur": SEVERITY_SERIES["blur"]})
    stream = io.StringIO()
    assert run(model=str(make_model(SHARPNESS)), out=str(tmp_path / "new" / "folder"), stream=stream)
    assert stream.getvalue().endswith("3 of 3 steps lower the score.\n")
    kept = {path.name: np.array(Image.open(path)) for path in (tmp_path / "new" / "folder").iterdir()}
    assert sorted(kept) == ["blur_0.png", "blur_1.5.png", "blur_3.png", "blur_6.png"]
    np.testing.assert_array_equal(kept["blur_3.png"], degrade(scene(), "blur", 3))


def test_nothing_is_kept_unasked(brightness, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    run(model=str(brightness), stream=io.StringIO())
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written(brightness, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="file: cannot be written"):
        run(model=str(brightness), out=str(tmp_path / "file"), stream=io.StringIO())
