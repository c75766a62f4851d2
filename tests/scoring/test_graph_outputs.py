"""The output `features`: the default has it, and its quality is that of the graph without it."""

from __future__ import annotations

import shutil

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest

from noref.card import card_path, read_card
from noref.default_model import outputs
from noref.errors import ModelError
from noref.scoring.graph_outputs import add_features, feature_layers, quality_nodes
from noref.scoring.network import DEFAULT, FEATURES, QUALITY, Network


def without_further_outputs(path):
    model = onnx.load(path)
    del model.graph.output[1:]
    return model


def run(model, images):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run([QUALITY], {"image": images})[0]


def test_the_line_on_the_features_is_the_default_s_score():
    """By hand from the file's own numbers: features times weights, then the curve that ends the graph."""
    pixels = np.random.default_rng(0).integers(0, 256, (390, 400, 3), dtype=np.uint8)
    network = Network("default")
    network.ready()
    quality, found = network.quality_and(pixels, FEATURES)
    graph = onnx.load(DEFAULT).graph
    fixed = {one.name: onnx.numpy_helper.to_array(one).astype(np.float64) for one in graph.initializer}
    line = next(node for node in graph.node if FEATURES in node.input and node.op_type == "MatMul")
    value = found[FEATURES] @ fixed[line.input[1]] + fixed["head.bias"]
    sub, div, mul, add = [node for node in quality_nodes(graph) if node.op_type in ("Add", "Sub", "Div", "Mul")][-4:]
    value = 1 / (1 + np.exp(-(value - fixed[sub.input[1]]) / fixed[div.input[1]]))
    assert fixed[add.input[0]] + fixed[mul.input[0]] * value == pytest.approx(quality, abs=1e-5)


@pytest.mark.parametrize("size", [(64, 64), (75, 98)])
def test_further_outputs_do_not_change_the_quality_by_a_bit(size):
    images = np.random.default_rng(1).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    assert np.array_equal(run(without_further_outputs(DEFAULT), images), run(onnx.load(DEFAULT), images))


def test_the_command_gives_an_export_its_features(tmp_path, monkeypatch, capsys):
    path = tmp_path / "mine.onnx"
    onnx.save(without_further_outputs(DEFAULT), path)
    shutil.copy(card_path(DEFAULT), card_path(path))
    read_card(DEFAULT).write(path)
    monkeypatch.setattr(outputs, "SIZES", [(64, 65)])
    monkeypatch.setattr("sys.argv", ["outputs", str(path)])
    outputs.main()
    assert "quality, features" in capsys.readouterr().out
    network = Network(path)
    network.ready()
    assert network.further == (FEATURES,)


def test_a_feature_of_several_tokens_is_refused(tmp_path):
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]>
    g (float[n, 6, 4] image) => (float[n] quality) <float[4, 1] w = {1, 2, 3, 4}> {
        seen = Relu(image)
        scores = MatMul(seen, w)
        quality = ReduceMean<axes = [1, 2], keepdims = 0>(scores)
    }""")
    with pytest.raises(ModelError, match="has 3 dimensions"):
        add_features(model, tmp_path / "model.onnx")


TWO_LAYERS = """
<ir_version: 8, opset_import: ["" : 18]>
two (uint8[n, h, w, 3] image) => (float[n] quality)
<float[3, 5] first, float[5, 4] second, float[9] centre, float[9] head>
{
    level = Cast<to = 1>(image)
    axes = Constant<value_ints = [1, 2]>()
    mean = ReduceMean<keepdims = 0>(level, axes)
    shallow = MatMul(mean, first)
    deep = MatMul(shallow, second)
    both = Concat<axis = 1>(shallow, deep)
    features = Sub(both, centre)
    quality = MatMul(features, head)
}
"""


def test_the_layers_of_features_and_how_deep_they_are():
    """By hand: 5 features behind one layer with weights, 4 behind two."""
    assert feature_layers(onnx.parser.parse_model(TWO_LAYERS)) == [(5, 0.5), (4, 1.0)]


def test_the_card_of_the_default_describes_its_features():
    model = onnx.load(DEFAULT)
    layers = read_card(DEFAULT).outputs["features"]["layers"]
    assert [tuple(layer) for layer in layers] == feature_layers(model)
    assert sum(count for count, _ in layers) == 8096
