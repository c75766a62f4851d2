"""A whole run: what it writes, what it keeps, and what it refuses."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

from noref.card import Preprocessing
from noref.errors import DataError, MissingExtraError, OptionError
from noref.explain import explain as runs
from noref.explain import store
from noref.explain.explain import explain
from noref.explain.figure import CELL, GAP, ModelMaps, PhotoMaps, draw, key_of
from noref.explain.map_types import Map, Options
from noref.explain.page import page_entry, render_page

from ..conftest import BRIGHTNESS
from .conftest import scene

SMALL = Options(crop=48)
SIZES = Preprocessing(max_pixels=20_000, min_side=48)


@pytest.fixture
def model(make_model):
    """Its score is 100 * mean / 255."""
    return str(make_model(BRIGHTNESS.format(height="h", width="w"), SIZES, "brightness"))


def test_a_photo_becomes_a_figure_numbers_and_a_page(photo, model, tmp_path):
    pytest.importorskip("jinja2")
    out = tmp_path / "deep" / "out"
    outcome = explain([str(photo)], out, models=[model], options=SMALL)
    assert (outcome.drawn, outcome.kept, outcome.failed, outcome.page) == (1, 0, {}, out / "explain.html")
    assert sorted(path.name for path in out.iterdir()) == ["explain.html", "maps", "scene.png"]
    with Image.open(out / "scene.png") as figure:
        assert figure.width == GAP + 2 * (CELL + GAP)
    with np.load(out / "maps" / "scene.npz", allow_pickle=False) as kept:
        assert kept["models"].tolist() == ["brightness"]
        assert kept["kinds"].tolist() == ["quality"]
        assert kept["scores"][0] == pytest.approx(100 * scene().mean() / 255, abs=1e-3)
        assert kept["map_0_0"].shape == (96, 128)


def test_what_is_there_and_current_is_not_drawn_again(photo, model, tmp_path, monkeypatch):
    out = tmp_path / "out"
    explain([str(photo)], out, models=[model], options=SMALL)
    first = (out / "scene.png").read_bytes(), (out / "explain.html").read_bytes()
    monkeypatch.setattr(runs, "model_maps", None)  # must not be called
    again = explain([str(photo)], out, models=[model], options=SMALL)
    assert (again.drawn, again.kept) == (0, 1)
    assert ((out / "scene.png").read_bytes(), (out / "explain.html").read_bytes()) == first


@pytest.mark.parametrize("change", ["photo", "crop", "truth", "numbers", "figure"])
def test_what_has_changed_is_drawn_again(photo, model, tmp_path, change):
    out, options, scores = tmp_path / "out", SMALL, None
    explain([str(photo)], out, models=[model], options=SMALL)
    if change == "photo":
        Image.fromarray(scene(seed=5)).save(photo)
    if change == "crop":
        options = Options(crop=32)
    if change == "truth":
        scores = tmp_path / "scores.csv"
        Image.fromarray(scene(seed=5)).save(photo.with_name("b.png"))
        scores.write_text(f"path,score\n{photo},40\n{photo.with_name('b.png')},70\n")
    if change == "numbers":
        (out / "maps" / "scene.npz").write_bytes(b"cut short")
    if change == "figure":
        (out / "scene.png").unlink()
    again = explain([str(photo)], out, models=[model], options=options, scores=scores)
    assert (again.drawn, again.kept) == (1, 0)


def test_a_broken_photo_is_listed_and_the_others_go_on(photo, model, tmp_path):
    (photo.parent / "broken.jpg").write_bytes(b"no picture")
    outcome = explain([str(photo.parent), str(tmp_path / "none.jpg")], tmp_path / "out", models=[model], options=SMALL)
    assert outcome.drawn == 1
    assert set(outcome.failed) == {str(photo.parent / "broken.jpg"), str(tmp_path / "none.jpg")}
    assert outcome.failed[str(photo.parent / "broken.jpg")] == "not an image that can be read"


def test_a_name_with_a_line_break_is_listed_and_the_others_go_on(photo, model, tmp_path):
    broken = photo.with_name("a\nb.png")
    Image.fromarray(scene(seed=1)).save(broken)
    outcome = explain([str(photo.parent)], tmp_path / "out", models=[model], options=SMALL)
    assert (outcome.drawn, outcome.failed) == (1, {str(broken): "its name has a line break: rename it"})
    assert (tmp_path / "out" / "scene.png").exists()


def test_no_photo_no_page(model, tmp_path):
    (tmp_path / "empty").mkdir()
    outcome = explain([str(tmp_path / "empty")], tmp_path / "out", models=[model], options=SMALL)
    assert (outcome.drawn, outcome.page) == (0, None)
    assert "no image in this folder" in outcome.failed[str(tmp_path / "empty")]


def test_a_second_run_over_the_same_folder_does_not_explain_its_figures(photo, model):
    Image.open(photo).convert("RGB").save(photo.with_name("a.jpg"))
    photo.unlink()
    first = explain([str(photo.parent)], photo.parent, models=[model], options=SMALL)
    again = explain([str(photo.parent)], photo.parent, models=[model], options=SMALL)
    assert (first.drawn, again.drawn, again.kept) == (1, 0, 1)
    assert sorted(path.name for path in photo.parent.iterdir()) == ["a.jpg", "a.png", "explain.html", "maps"]


def test_a_score_file_in_its_own_range(photo, model, tmp_path):
    other = photo.with_name("other.png")
    Image.fromarray(scene(seed=2)).save(other)
    scores = tmp_path / "scores.csv"
    scores.write_text(f"path,score\n{photo},2\n")
    (tmp_path / "scores.scale.json").write_text(json.dumps({"low": 1, "high": 5, "higher_is_better": False}))
    outcome = explain([str(photo), str(other)], tmp_path / "out", models=[model], options=SMALL, scores=scores)
    assert outcome.unscored == [str(other)]
    text = (tmp_path / "out" / "explain.html").read_text()
    assert "true score 2 of 1-5, lower is better: 75.0 on 0-100" in text
    assert "no true score given" in text


def test_score_files_that_do_not_fit(photo, model, tmp_path):
    scores = tmp_path / "scores.csv"
    scores.write_text(f"path,score\n{photo},20\nnone.jpg,60\n")
    with pytest.raises(DataError, match=r"scores\.csv, line 3: no image 'none\.jpg'"):
        explain([str(photo)], tmp_path / "out", models=[model], options=SMALL, scores=scores)
    other = photo.with_name("other.png")
    Image.fromarray(scene(seed=2)).save(other)
    scores.write_text(f"path,score\n{photo},20\n{other},60\n")
    third = tmp_path / "third.png"
    Image.fromarray(scene(seed=3)).save(third)
    with pytest.raises(DataError, match=r"names none of the photos, the first of which is .*third\.png"):
        explain([str(third)], tmp_path / "out", models=[model], options=SMALL, scores=scores)


def test_folders_that_cannot_be_written(photo, model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="cannot be written"):
        explain([str(photo)], tmp_path / "file", models=[model], options=SMALL)
    for name in ("scene.png", "explain.html"):
        out = tmp_path / f"taken-{name}"
        out.mkdir()
        (out / name).write_text("mine")
        with pytest.raises(OptionError, match="was not written by noref explain"):
            explain([str(photo)], out, models=[model], options=SMALL)
        assert (out / name).read_text() == "mine"


def test_photos_are_never_written_over(photo, model):
    before = photo.read_bytes()
    with pytest.raises(OptionError, match="was not written by noref explain"):
        explain([str(photo)], photo.parent, models=[model], options=SMALL)
    assert photo.read_bytes() == before


def test_photos_of_one_name_have_figures_of_their_own(photo, model, tmp_path):
    other = tmp_path / "more" / "Scene.jpg"
    other.parent.mkdir()
    Image.fromarray(scene(seed=1)).save(other)
    explain([str(photo), str(other)], tmp_path / "out", models=[model], options=SMALL)
    found = sorted(path.name.lower() for path in (tmp_path / "out").glob("*.png"))
    assert len(found) == 2
    assert all(re.fullmatch(r"scene-[0-9a-f]{6}\.png", name) for name in found)


def test_two_models_of_one_name_are_told_apart(photo, make_model, tmp_path):
    models = []
    for folder in ("first", "second"):
        model = make_model(BRIGHTNESS.format(height="h", width="w"), SIZES, "brightness")
        place = tmp_path / folder
        place.mkdir()
        models.append(str(model.rename(place / f"{folder}.onnx")))
        model.with_name("brightness.card.json").rename(place / f"{folder}.card.json")
    explain([str(photo)], tmp_path / "out", models=models, options=SMALL)
    with np.load(tmp_path / "out" / "maps" / "scene.npz") as kept:
        assert kept["models"].tolist() == ["brightness (first.onnx)", "brightness (second.onnx)"]


def test_a_map_that_a_model_has_not(photo, model, tmp_path):
    with pytest.raises(OptionError, match="has no map gradcam-up: it has quality"):
        explain([str(photo)], tmp_path / "out", models=[model], options=Options(("quality", "gradcam-up")))
    assert not (tmp_path / "out").exists()


def test_without_jinja2_there_are_figures_and_no_page(photo, model, tmp_path, monkeypatch):
    def missing(*_given):
        raise MissingExtraError("report", "the page of explanations")

    monkeypatch.setattr(runs, "render_page", missing)
    outcome = explain([str(photo)], tmp_path / "out", models=[model], options=SMALL)
    assert outcome.drawn == 1
    assert outcome.page is None
    assert "noref[report]" in outcome.no_page


def models():
    cam = Map("gradcam-up", np.arange(12.0).reshape(3, 4) / 11)
    window = Map("window", np.ones((14, 14)), (0.0, 0.25, 0.5, 0.75))
    return tuple(ModelMaps(name, score, (cam, window)) for name, score in (("A", 61.26), ("B", 7.0)))


def test_what_is_kept_comes_back(tmp_path):
    store.save(tmp_path / "a.npz", "key", models())
    found = store.load(tmp_path / "a.npz", "key")
    for one, other in zip(found, models(), strict=True):
        assert (one.model, one.score) == (other.model, other.score)
        for kept, given in zip(one.maps, other.maps, strict=True):
            assert (kept.type, kept.window) == (given.type, given.window)
            np.testing.assert_allclose(kept.values, given.values, rtol=1e-6)
    assert store.load(tmp_path / "a.npz", "another key") is None
    assert store.load(tmp_path / "none.npz", "key") is None


def test_the_page_asks_nobody_and_says_everything():
    pytest.importorskip("jinja2")
    photo_maps = PhotoMaps("a <b>.jpg", scene(), models(), "63.0")
    text = render_page([page_entry(photo_maps)], [("A", "first"), ("B", "second")])
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:|#)|url\((?!["']?data:)|https?://|@import|fetch\(""", text)
    assert "a &lt;b&gt;.jpg" in text
    for words in ("predicted 61.3", "predicted 7.0", "true score 63.0", "1.0 lifts most", 'type="range"'):
        assert words in text
    assert text.count('class="map"') == 4
    assert "prefers-color-scheme: dark" in text


def page_of(scores, map_types=("quality",)):
    pytest.importorskip("jinja2")
    entries = []
    for name, score in scores.items():
        maps = tuple(Map(one, np.linspace(39, 60, 12).reshape(3, 4)) for one in map_types)
        found = (ModelMaps("A", score, maps), ModelMaps("B", 100 - score, maps))
        entries.append(page_entry(PhotoMaps(name, scene(), found)))
    return render_page(entries, [("A", "first"), ("B", "second")])


def test_the_page_has_the_worst_photo_first_and_an_index():
    text = page_of({"good.jpg": 90.0, "bad.jpg": 29.0, "fair.jpg": 60.0})
    assert re.findall(r"<h2>(.*?)</h2>", text) == [
        "Photos and predicted scores by A, B",
        "bad.jpg",
        "fair.jpg",
        "good.jpg",
    ]
    index = re.findall(r'<li><a href="#(.*?)">(.*?)</a> <span>(.*?)</span></li>', text)
    assert index == [
        ("photo-1", "bad.jpg", "29.0, 71.0"),
        ("photo-2", "fair.jpg", "60.0, 40.0"),
        ("photo-3", "good.jpg", "90.0, 10.0"),
    ]
    assert re.findall(r'<article class="photo" id="(.*?)">\n<h2>(.*?)</h2>', text) == [one[:2] for one in index]
    assert "The photo with the lowest score by A comes first" in text
    assert 'class="index"' not in page_of({"one.jpg": 50.0})


def test_each_map_of_the_page_has_its_scale_right_below_it():
    text = page_of({"a.jpg": 29.0})
    assert len(re.findall(r'<img class="map"[^>]*>\s*</div>\s*<div class="scale">', text)) == 2
    assert text.count('<div class="scale">') == 2
    assert "39 worse" in text
    assert "60 better" in text


def test_the_page_says_that_a_crop_and_a_photo_are_scored_differently():
    words = "A crop and a whole photo are not scored alike"
    assert words in page_of({"a.jpg": 29.0})
    assert words not in page_of({"a.jpg": 29.0}, ("activation",))


def test_the_figure_has_a_column_a_model_and_no_scale_below_a_window(tmp_path):
    photo_maps = PhotoMaps("a.jpg", scene(), models(), None)
    figure = draw(photo_maps)
    assert figure.width == GAP + 3 * (CELL + GAP)
    pixels = np.asarray(figure).astype(int)
    gold = (abs(pixels - np.array([255, 214, 10])).sum(axis=2) < 12).sum(axis=0)
    assert gold[: GAP + CELL].sum() == 0  # no frame on the photo itself
    assert gold[GAP + CELL :].sum() > 100


def test_a_long_name_and_another_script_do_not_break_the_figure():
    assert draw(PhotoMaps("n" * 300 + " 写真.jpg", scene(), models(), "1")).width == GAP + 3 * (CELL + GAP)


def test_keys_of_files(tmp_path):
    assert key_of(tmp_path / "none.png") is None
    (tmp_path / "text.png").write_text("x")
    assert key_of(tmp_path / "text.png") == ""
