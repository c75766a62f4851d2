from __future__ import annotations

import copy
import dataclasses
import io
import itertools
import json
import os
import pickle
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from noref.card import Preprocessing, Scale
from noref.errors import ImageError, ModelError, OptionError
from noref.images import read
from noref.scoring import scorer as module
from noref.scoring.network import WORKERS, Network
from noref.scoring.scorer import Score, Scorer, score

SIZES = [(240, 320), (320, 240), (300, 300), (240, 321), (500, 224), (224, 500)]


def pictures(count=12):
    rng = np.random.default_rng(3)
    return [rng.integers(0, rng.integers(2, 256), (*SIZES[i % 6], 3), dtype=np.uint8) for i in range(count)]


def expected(pixels):
    """The model's formula: mean grey level / 255, as a percentage."""
    return 100 * pixels.mean() / 255


@pytest.fixture(scope="module")
def scorer(brightness):
    return Scorer(brightness)


def test_a_score_has_value_scale_quality_and_model(scorer):
    pixels = np.full((300, 300, 3), 51, np.uint8)
    found = scorer.score(pixels)
    assert found.value == pytest.approx(20.0, abs=1e-4)
    assert found.quality == pytest.approx(0.2, abs=1e-6)
    assert found.model == "brightness"
    assert found.scale == Scale(0, 100)
    assert float(found) == found.value


def test_a_score_says_which_size_was_judged(scorer):
    assert scorer.score(np.zeros((300, 320, 3), np.uint8)).judged == (320, 300)
    assert scorer.score(np.zeros((1000, 2000, 3), np.uint8)).judged == (707, 354)  # 250 000 pixels of 2 : 1


def test_any_source_gives_the_formula(scorer, tmp_path):
    for i, pixels in enumerate(pictures()):
        path = tmp_path / f"{i}.png"
        Image.fromarray(pixels).save(path)
        for source in (path, str(path), path.read_bytes(), pixels):
            assert scorer.score(source).value == pytest.approx(expected(pixels), abs=1e-3)


def test_scores_are_clipped_and_quality_is_not(make_model):
    model = make_model(
        """<ir_version: 8, opset_import: ["" : 17]> far (uint8[n, h, w, 3] image) => (float[n] quality) {
        level = Cast<to = 1>(image)
        mean = ReduceMean<axes = [1, 2, 3], keepdims = 0>(level)
        middle = Constant<value_float = 100.0>()
        quality = Sub(mean, middle)
        }"""
    )
    low, high = Scorer(model).score_many([np.zeros((300, 300, 3), np.uint8), np.full((300, 300, 3), 255, np.uint8)])
    assert (low.value, low.quality) == (0, -100)
    assert (high.value, high.quality) == (100, 155)


def test_the_same_alone_together_in_any_order_and_with_any_threads(brightness):
    sources = pictures()
    alone = [Scorer(brightness, threads=1).score(source).value for source in sources]
    assert alone == pytest.approx([expected(source) for source in sources], abs=1e-3)
    for threads in (1, 2, 7):
        many = Scorer(brightness, threads=threads)
        assert [s.value for s in many.score_many(sources)] == pytest.approx(alone, abs=1e-3)
        assert [s.value for s in many.score_many(sources[::-1])] == pytest.approx(alone[::-1], abs=1e-3)


def test_a_network_that_sees_crops_gets_the_mean_over_the_grid(make_model, brightness):
    # mean of crops = mean of the image only where crops do not overlap, so 2 x 3 crops of 224 on 448 x 672
    text = """<ir_version: 8, opset_import: ["" : 17]> top (uint8[n, 224, 224, 3] image) => (float[n] quality) {
        level = Cast<to = 1>(image)
        most = ReduceMax<axes = [1, 2, 3], keepdims = 0>(level)
        top = Constant<value_float = 255.0>()
        quality = Div(most, top)
        }"""
    crops = Scorer(make_model(text, Preprocessing(max_pixels=None, crop=224)))
    rng = np.random.default_rng(0)
    for height, width in [(448, 672), (224, 224), (300, 500), (224 * 5, 224 * 5)]:
        pixels = rng.integers(0, 200, (height, width, 3), dtype=np.uint8)
        pixels[:100, :100] = 255
        rows, columns = -(-height // 224), -(-width // 224)
        tops = [round(i * (height - 224) / max(1, rows - 1)) for i in range(rows)]
        lefts = [round(i * (width - 224) / max(1, columns - 1)) for i in range(columns)]
        by_hand = np.mean([pixels[y : y + 224, x : x + 224].max() for y, x in itertools.product(tops, lefts)])
        assert crops.score(pixels).value == pytest.approx(100 * by_hand / 255, abs=1e-3)


@pytest.mark.parametrize(("width", "height"), [(16, 16), (3000, 40), (40, 3000), (16, 90)])
def test_odd_sizes_get_a_score(scorer, width, height):
    pixels = np.full((height, width, 3), 102, np.uint8)
    assert scorer.score(pixels).value == pytest.approx(40, abs=1e-3)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (15, 300), (300, 15)])
def test_a_picture_below_the_least_side_has_no_score(scorer, brightness, width, height):
    pixels = np.full((height, width, 3), 102, np.uint8)
    with pytest.raises(ImageError, match=rf"^<array>: {width} x {height} pixels are too few: the least side is 16$"):
        scorer.score(pixels)
    small = pickle.loads(pickle.dumps(Scorer(brightness, least_side=1)))
    assert small.score(pixels).value == pytest.approx(40, abs=1e-3)


def test_a_line_is_a_clear_error(scorer):
    with pytest.raises(ImageError, match=r"^<array>: 3000 x 20 pixels are too long and thin"):
        scorer.score(np.zeros((20, 3000, 3), np.uint8))


def test_the_preprocessing_of_the_card_is_used(make_model):
    text = """<ir_version: 8, opset_import: ["" : 17]> side (uint8[n, h, w, 3] image) => (float[n] quality) {
        sizes = Shape<start = 2, end = 3>(image)
        width = Cast<to = 1>(sizes)
        thousand = Constant<value_floats = [1000.0]>()
        quality = Div(width, thousand)
        }"""
    wide = Scorer(make_model(text, Preprocessing(max_pixels=30_000, min_side=10)))
    assert wide.score(np.zeros((600, 800, 3), np.uint8)).value == pytest.approx(20)
    assert wide.card.preprocessing.max_pixels == 30_000


def test_the_budget_is_passed_on(brightness):
    small = Scorer(brightness, max_megapixels=0.01)
    with pytest.raises(ImageError, match="over the budget"):
        small.score(np.zeros((200, 200, 3), np.uint8))


@pytest.mark.parametrize("quality", ["nan", "inf", "-inf"])
def test_no_number_is_an_error(make_model, quality):
    top, bottom = {"nan": (0.0, 0.0), "inf": (1.0, 0.0), "-inf": (-1.0, 0.0)}[quality]
    model = make_model(
        f"""<ir_version: 8, opset_import: ["" : 17]> none (uint8[n, h, w, 3] image) => (float[n] quality) {{
        level = Cast<to = 1>(image)
        mean = ReduceMean<axes = [1, 2, 3], keepdims = 0>(level)
        zero = Sub(mean, mean)
        top = Constant<value_float = {top}>()
        bottom = Constant<value_float = {bottom}>()
        above = Add(zero, top)
        below = Add(zero, bottom)
        quality = Div(above, below)
        }}"""
    )
    with pytest.raises(ImageError, match=f"^<array>: the model other put out {quality} instead of a quality"):
        Scorer(model).score(np.zeros((300, 300, 3), np.uint8))


def test_a_network_that_fails_on_a_size_is_an_error_of_that_image(make_model):
    model = make_model(
        """<ir_version: 8, opset_import: ["" : 17]> picky (uint8[n, h, w, 3] image) => (float[n] quality) {
        shape = Constant<value_ints = [-1, 300, 300, 3]>()
        square = Reshape(image, shape)
        level = Cast<to = 1>(square)
        quality = ReduceMean<axes = [1, 2, 3], keepdims = 0>(level)
        }"""
    )
    good, bad = np.zeros((300, 300, 3), np.uint8), np.zeros((301, 300, 3), np.uint8)
    outcomes = list(Scorer(model).stream([bad, good]))
    assert isinstance(outcomes[0], ImageError)
    assert str(outcomes[0]).startswith("<array>: the model other fails on 300 x 301 pixels: ")
    assert isinstance(outcomes[1], Score)


def test_many_stops_at_the_first_bad_one_and_stream_goes_on(scorer):
    good = np.full((300, 300, 3), 51, np.uint8)
    with pytest.raises(ImageError, match=r"^<bytes>: empty file$"):
        scorer.score_many([good, b"", good, b"text"])
    outcomes = list(scorer.stream([good, b"", good, b"text"]))
    assert [type(outcome) for outcome in outcomes] == [Score, ImageError, Score, ImageError]


@pytest.mark.parametrize("source", ["a.jpg", b"abc"])
def test_one_source_where_several_are_meant(scorer, source):
    with pytest.raises(OptionError, match="put it into a list"):
        scorer.score_many(source)


def test_no_sources_no_scores(scorer):
    assert scorer.score_many([]) == []


def test_stream_works_ahead_by_a_few_only(scorer):
    taken = []

    def endless():
        for i in itertools.count():
            taken.append(i)
            yield np.full((224, 224, 3), i % 256, np.uint8)

    stream = scorer.stream(endless())
    for i in range(20):
        assert next(stream).value == pytest.approx(100 * i / 255, abs=1e-3)
        assert len(taken) - i <= module.AHEAD * WORKERS + 1
    stream.close()


def test_a_closed_stream_leaves_no_thread(scorer):
    before = threading.active_count()
    stream = scorer.stream(pictures(30))
    next(stream)
    stream.close()
    assert threading.active_count() == before


def test_an_error_in_the_sources_comes_through(scorer):
    def failing():
        yield np.zeros((224, 224, 3), np.uint8)
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match=r"^mine$"):
        scorer.score_many(failing())


def test_a_scorer_is_safe_in_threads(scorer):
    sources = pictures(6)
    found = {}
    threads = [
        threading.Thread(target=lambda i=i: found.update({i: scorer.score(sources[i % 6]).value})) for i in range(24)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[i] for i in range(24)] == pytest.approx([expected(sources[i % 6]) for i in range(24)], abs=1e-3)


@pytest.mark.parametrize(
    "wrong", [{"threads": 0}, {"threads": -1}, {"threads": 10_000}, {"max_megapixels": 0}, {"least_side": 0}]
)
def test_numbers_outside_their_range(brightness, wrong):
    with pytest.raises(OptionError, match=next(iter(wrong))):
        Scorer(brightness, **wrong)


@pytest.mark.parametrize("budget", [float("nan"), float("inf"), -1])
def test_budgets_outside_their_range(brightness, budget):
    with pytest.raises(OptionError, match="max_megapixels"):
        Scorer(brightness, max_megapixels=budget)


def test_a_network_can_be_shared(brightness):
    network = Network(brightness)
    one, two = Scorer(network), Scorer(network, max_megapixels=0.001)
    assert one.card is two.card is network.card


def test_the_short_form_loads_a_model_once(brightness, monkeypatch):
    loads = []

    class Counting(Scorer):
        def __init__(self, *args, **kwargs):
            loads.append(args)
            super().__init__(*args, **kwargs)

    module._loaded.cache_clear()
    monkeypatch.setattr(module, "Scorer", Counting)
    pixels = pictures(1)[0]
    values = [score(pixels, model=brightness).value for _ in range(3)]
    module._loaded.cache_clear()
    assert values == pytest.approx([expected(pixels)] * 3, abs=1e-3)
    assert len(loads) == 1


def test_the_decoder_and_the_scorer_see_the_same(scorer):
    file = io.BytesIO()
    Image.fromarray(pictures(1)[0]).save(file, "jpeg")
    pixels = read(file.getvalue(), preprocessing=scorer.card.preprocessing)
    assert scorer.score(file.getvalue()).value == scorer.score(pixels).value


def test_pipes_and_urls_are_errors_at_once(scorer, tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ImageError, match=r"pipe\.jpg: not a regular file"):
        scorer.score(tmp_path / "pipe.jpg")
    with pytest.raises(ImageError, match=r"https://a\.org/b\.jpg: URLs are not fetched"):
        scorer.score("https://a.org/b.jpg")


def test_a_score_is_a_number(brightness):
    low, high = Score(20.26, 0.2026, "m"), Score(62.5, 0.625, "m")
    assert sorted([high, low]) == [low, high]
    assert max(low, high) is high
    assert (low < high, low > 30, high >= 62.5, high == 62.5) == (True, False, True, True)
    assert (f"{low:.1f}", f"{low:6.2f}", round(low, 1), round(low)) == ("20.3", " 20.26", 20.3, 20)
    assert (str(low), f"{low}") == ("20.3", "20.3")
    assert json.loads(json.dumps({"score": high})) == {"score": 62.5}
    assert np.mean([low, high]) == pytest.approx(41.38)
    assert repr(low).startswith("Score(value=20.26, quality=0.2026, model='m', scale=Scale(")
    for again in (pickle.loads(pickle.dumps(low)), copy.deepcopy(low), dataclasses.replace(low)):
        assert (again, again.quality, again.model, again.scale) == (low, 0.2026, "m", low.scale)
    assert dataclasses.replace(low, value=30.0) == 30
    with pytest.raises(dataclasses.FrozenInstanceError):
        low.value = 3


def test_a_scorer_can_be_pickled(brightness, tmp_path, monkeypatch):
    pixels = np.full((300, 300, 3), 51, np.uint8)
    monkeypatch.chdir(brightness.parent)
    scorer = Scorer(brightness.name, threads=1, max_megapixels=0.1)
    packed = pickle.dumps(scorer)
    assert len(packed) < 1000
    monkeypatch.chdir(tmp_path)
    again = pickle.loads(packed)
    assert again.score(pixels) == scorer.score(pixels)
    assert again.card == scorer.card
    with pytest.raises(ImageError, match="over the budget"):
        again.score(np.zeros((400, 400, 3), np.uint8))
    assert pickle.loads(pickle.dumps(Scorer())).score(pixels) == Scorer().score(pixels)


def test_a_scorer_whose_model_was_replaced_is_not_unpickled(make_model):
    text = BRIGHTER.format(top="255.0")
    packed = pickle.dumps(Scorer(make_model(text)))
    make_model(BRIGHTER.format(top="510.0"))
    with pytest.raises(ModelError, match="other model"):
        pickle.loads(packed)


BRIGHTER = """<ir_version: 8, opset_import: ["" : 17]> b (uint8[n, h, w, 3] image) => (float[n] quality) {{
    level = Cast<to = 1>(image)
    mean = ReduceMean<axes = [1, 2, 3], keepdims = 0>(level)
    top = Constant<value_float = {top}>()
    quality = Div(mean, top)
}}"""


def test_errors_in_their_place(scorer):
    pixels = np.full((300, 300, 3), 51, np.uint8)
    first, second, third = scorer.score_many([pixels, "none.jpg", pixels], errors="row")
    assert first == third == pytest.approx(20, abs=1e-3)
    assert isinstance(second, ImageError)
    assert str(second) == "none.jpg: No such file or directory"
    with pytest.raises(ImageError, match="none"):
        scorer.score_many([pixels, "none.jpg"], errors="raise")
    with pytest.raises(OptionError, match="errors must be raise or row, got 'rows'"):
        scorer.score_many([pixels], errors="rows")


@pytest.mark.parametrize("kind", ["array", "grey", "tensor", "picture", "file", "bytearray"])
def test_one_source_where_several_are_asked_for(brightness, tmp_path, kind):
    """A tensor (3, H, W) had been scored as three grey pictures."""
    pixels = np.full((32, 40, 3), 128, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    scorer = Scorer(brightness)
    with (tmp_path / "a.png").open("rb") as file:
        sources = {
            "array": pixels,
            "grey": pixels[..., 0],
            "tensor": torch.from_numpy(pixels).permute(2, 0, 1),
            "picture": Image.fromarray(pixels),
            "file": file,
            "bytearray": bytearray(b"abc"),
        }
        with pytest.raises(OptionError, match=r"one source, not several|one picture, or several grey ones"):
            scorer.score_many(sources[kind])
    assert len(scorer.score_many(np.stack([pixels, pixels]))) == 2


def test_several_sources_where_one_is_asked_for(brightness):
    with pytest.raises(ImageError, match="for several call score_many"):
        Scorer(brightness).score(["a.png", "b.png"])
