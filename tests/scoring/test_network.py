from __future__ import annotations

import json

import numpy as np
import pytest

from noref.card import Preprocessing, card_path
from noref.errors import ModelError, OptionError
from noref.scoring.network import MODELS, Network, locate

HEAD = '<ir_version: 8, opset_import: ["" : 17]> other'
BODY = """{
    level = Cast<to = 1>(image)
    quality = ReduceMean<axes = [1, 2, 3], keepdims = 0>(level)
}"""


def load(path):
    network = Network(path, threads=1)
    network.ready()
    return network


def test_a_good_model_loads(brightness):
    assert load(brightness).card.name == "brightness"
    assert load(str(brightness)).quality(np.full((4, 5, 3), 51, np.uint8)) == pytest.approx(0.2)


@pytest.mark.parametrize("name", ["defualt", "lml"])
def test_an_unknown_name_offers_the_known(name):
    with pytest.raises(OptionError, match=rf"unknown model '{name}': .*default"):
        locate(name)


def test_a_name_that_is_known():
    assert locate("default") == MODELS["default"]


def test_no_such_file(tmp_path):
    for path in (tmp_path / "a", "some/where", "model.onnx"):
        with pytest.raises(OptionError, match=f"{path}: there is no such model file"):
            locate(path)


def test_a_folder_asks_for_an_export(tmp_path):
    with pytest.raises(OptionError, match="noref export"):
        locate(tmp_path)


@pytest.mark.parametrize("content", [b"", b"text", b"\0" * 1000])
def test_what_is_no_onnx(make_model, content):
    path = make_model(f"{HEAD} (uint8[n, h, w, 3] image) => (float[n] quality) {BODY}")
    card = json.loads(card_path(path).read_text())
    path.write_bytes(content)
    from noref.card import digest

    card_path(path).write_text(json.dumps(card | {"sha256": digest(path)}))
    with pytest.raises(ModelError, match=r"other\.onnx: not an ONNX model that runs here: ."):
        load(path)


def test_a_truncated_onnx_with_its_card(make_model):
    path = make_model(f"{HEAD} (uint8[n, h, w, 3] image) => (float[n] quality) {BODY}")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ModelError, match=r"other\.onnx: sha256"):
        load(path)


def test_no_card(make_model):
    path = make_model(f"{HEAD} (uint8[n, h, w, 3] image) => (float[n] quality) {BODY}")
    card_path(path).unlink()
    with pytest.raises(ModelError, match=r"other\.card\.json: the model's card cannot be read"):
        load(path)


@pytest.mark.parametrize(
    ("signature", "reason"),
    [
        ("(float[n, h, w, 3] image) => (float[n] quality)", "input must be uint8"),
        ("(uint8[n, 3, h, w] image) => (float[n] quality)", "input must be uint8"),
        ("(uint8[1, h, w, 3] image) => (float[n] quality)", "N free"),
        ("(uint8[n, 300, 300, 3] image) => (float[n] quality)", "takes 300 x 300 pixels, its card says any size"),
        ("(uint8[n, h, w, 3] image, float[n] more) => (float[n] quality)", "one input, one output"),
        ("(uint8[n, h, w, 3] image) => (float[n] quality, float[n, h, w, 3] level)", "at most features, faults"),
        ("(uint8[n, h, w, 3] image) => (float[n] quality, float[n, 1] spread)", "spread must be float32 of rank 1"),
        ("(uint8[n, h, w, 3] image) => (float[n, h, w, 3] level)", "output must be float32"),
    ],
)
def test_another_signature(make_model, signature, reason):
    spread = "    spread = ReduceMean<axes = [1, 2], keepdims = 0>(level)\n}"
    body = BODY.replace("}", spread) if "spread" in reason else BODY
    path = make_model(f"{HEAD} {signature} {body}")
    with pytest.raises(ModelError, match=rf"other\.onnx: .*{reason}"):
        load(path)


def test_a_crop_of_another_size(make_model):
    path = make_model(f"{HEAD} (uint8[n, 200, 200, 3] image) => (float[n] quality) {BODY}", Preprocessing(crop=224))
    with pytest.raises(ModelError, match="takes 200 x 200 pixels, its card says 224"):
        load(path)


def test_a_free_size_suits_crops(make_model):
    path = make_model(f"{HEAD} (uint8[n, h, w, 3] image) => (float[n] quality) {BODY}", Preprocessing(crop=224))
    assert load(path).quality(np.full((300, 300, 3), 7, np.uint8)) == pytest.approx(7)


def test_an_output_of_another_length(make_model):
    body = """{
        level = Cast<to = 1>(image)
        quality = ReduceMean<axes = [0, 2, 3], keepdims = 0>(level)
    }"""
    path = make_model(f"{HEAD} (uint8[n, h, w, 3] image) => (float[m] quality) {body}")
    with pytest.raises(ValueError, match=r"put out \(9,\) for 1 images"):
        load(path).quality(np.zeros((9, 8, 3), np.uint8))


FURTHER = f"""{HEAD} (uint8[n, h, w, 3] image) => (float[n] quality, float[n, 3] features) {{
    level = Cast<to = 1>(image)
    features = ReduceMean<axes = [1, 2], keepdims = 0>(level)
    quality = ReduceMean<axes = [1], keepdims = 0>(features)
}}"""


def test_further_outputs_come_from_the_same_run(make_model):
    network = load(make_model(FURTHER))
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    quality, found = network.quality_and(pixels, "features", "faults")
    assert network.further == ("features",)
    assert quality == network.quality(pixels) == pytest.approx(pixels.mean(), rel=1e-6)
    assert list(found) == ["features"]
    assert found["features"] == pytest.approx(pixels.mean((0, 1)), rel=1e-6)


def test_further_outputs_of_crops_are_their_mean(make_model):
    """A picture of two crops side by side, so that the mean over crops is that over the picture."""
    pixels = np.random.default_rng(0).integers(0, 256, (10, 20, 3), dtype=np.uint8)
    _, found = load(make_model(FURTHER, Preprocessing(crop=10))).quality_and(pixels, "features")
    assert found["features"] == pytest.approx(pixels.mean((0, 1)), rel=1e-6)


def test_a_model_with_one_output_has_no_further(brightness):
    assert load(brightness).further == ()
    assert load(brightness).quality_and(np.zeros((9, 9, 3), np.uint8), "features") == (0.0, {})
