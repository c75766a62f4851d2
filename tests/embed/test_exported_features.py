from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from PIL import Image

from noref import Scorer
from noref.embed.exported_features import ExportedModel, with_feature
from noref.embed.feature_extractor import load_extractor
from noref.errors import ImageError, ModelError
from noref.scoring.graph_outputs import quality_nodes
from noref.scoring.network import DEFAULT


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (300, 260, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_the_line_on_the_feature_is_the_score(photo):
    """By hand from the file's own numbers: standardised feature times weights, then the curve that ends the graph."""
    feature = ExportedModel("default").extract(photo).astype(np.float64)
    assert feature.shape[0] == 1
    graph = onnx.load(DEFAULT).graph
    fixed = {one.name: onnx.numpy_helper.to_array(one).astype(np.float64) for one in graph.initializer}
    after = [node for node in quality_nodes(graph) if node.op_type in ("Add", "Sub", "Div", "Mul")][-5:]
    value = feature @ fixed["head.weight"] + fixed["head.bias"]
    (sub, div, mul, add) = after[-4:]
    value = (value - fixed[sub.input[1]]) / fixed[div.input[1]]
    value = fixed[add.input[0]] + fixed[mul.input[0]] / (1 + np.exp(-value))
    assert 100 * float(value.reshape(-1)[0]) == pytest.approx(Scorer().score(photo).value, abs=0.01)


def test_the_default_gives_features_like_any_model(photo, tmp_path):
    extractor = load_extractor("default")
    assert extractor.feature_names == ("head",)
    found = extractor.features("head", [photo], tmp_path / "cache", {})
    assert np.array_equal(found[photo], ExportedModel("default").extract(photo)[0])


def test_a_broken_photo_is_named(tmp_path):
    (tmp_path / "torn.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"torn\.png"):
        ExportedModel("default").extract(tmp_path / "torn.png")


def graph_of(*nodes, fixed=()):
    given = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [None, 4])
    out = onnx.helper.make_tensor_value_info("quality", onnx.TensorProto.FLOAT, [None])
    tensors = [onnx.numpy_helper.from_array(np.ones((4, 1), np.float32), name) for name in fixed]
    return onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [given], [out], tensors)).SerializeToString()


def test_the_way_back_leads_through_what_stands_behind_the_line(tmp_path):
    node = onnx.helper.make_node
    nodes = [
        node("Relu", ["image"], ["seen"]),
        node("MatMul", ["seen", "w"], ["line"]),
        node("Sigmoid", ["line"], ["quality"]),
    ]
    content, name = with_feature(graph_of(*nodes, fixed=["w"]), tmp_path / "model.onnx")
    assert name == "seen"
    assert [one.name for one in onnx.load_from_string(content).graph.output] == ["quality", "seen"]


@pytest.mark.parametrize("kind", ["Relu", "MatMul"])
def test_a_score_from_no_line_is_refused(tmp_path, kind):
    """A product of two things that both vary is no line."""
    nodes = [onnx.helper.make_node("Relu", ["image"], ["seen"])]
    nodes.append(onnx.helper.make_node(kind, ["seen"] if kind == "Relu" else ["seen", "seen"], ["quality"]))
    with pytest.raises(ModelError, match="name the run"):
        with_feature(graph_of(*nodes), tmp_path / "model.onnx")


def test_no_onnx_file_is_refused(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    (tmp_path / "model.card.json").write_text(json.dumps({}))
    with pytest.raises(ModelError, match="model"):
        ExportedModel(tmp_path / "model.onnx")
