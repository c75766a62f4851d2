from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest

from noref.calibrate.onnx_graph import Line, with_line
from noref.errors import ModelError

FEATURED = """
<ir_version: 8, opset_import: ["" : 18]>
featured (uint8[n, h, w, 3] image) => (float[n] quality, float[n, 3] features)
<float[3] weight = {0.5, 0.25, -0.25}>
{
    level = Cast<to = 1>(image)
    axes = Constant<value_ints = [1, 2]>()
    features = ReduceMean<keepdims = 0>(level, axes)
    sum = MatMul(features, weight)
    top = Constant<value_float = 255.0>()
    quality = Div(sum, top)
}
"""
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)
LINE = Line(0.125, 0.5, np.array([0.001, -0.002, 0.003]), 130.0)


@pytest.fixture
def content():
    return onnx.parser.parse_model(FEATURED).SerializeToString()


def outputs(content):
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return [output.name for output in session.get_outputs()], session.run(None, {"image": IMAGES})


def by_hand(line, quality, features):
    rows = zip(quality.astype(float), features.astype(float), strict=True)
    return [
        line.intercept + line.slope * q + sum(w * min(line.clip, max(-line.clip, v)) for w, v in zip(line.weight, f))  # noqa: B905
        for q, f in rows
    ]


def test_the_file_computes_the_line_and_keeps_its_other_outputs(content):
    names, (quality, features) = outputs(content)
    changed_names, (changed, same) = outputs(with_line(content, LINE, Path("a.onnx")))
    assert changed_names == names == ["quality", "features"]
    np.testing.assert_array_equal(same, features)
    wanted = by_hand(LINE, quality, features)
    np.testing.assert_allclose(changed, wanted, atol=1e-5)
    np.testing.assert_allclose(LINE(quality.astype(float), features.astype(float)), wanted)
    assert np.abs(features).max() > LINE.clip > np.abs(features).min(), "the clip must matter here"


def test_a_calibrated_file_can_be_calibrated_again(content):
    _, (quality, features) = outputs(content)
    again = Line(-0.5, 2.0, np.array([0.0, 0.001, 0.0]), 1e6)
    _, (changed, _) = outputs(with_line(with_line(content, LINE, Path("a")), again, Path("a")))
    np.testing.assert_allclose(changed, by_hand(again, np.array(by_hand(LINE, quality, features)), features), atol=1e-5)


def test_what_is_not_touched_stays_byte_for_byte(content):
    model = onnx.load_from_string(content)
    changed = onnx.load_from_string(with_line(content, LINE, Path("a")))
    kept = changed.graph.node[: len(model.graph.node)]
    for old, new in zip(model.graph.node, kept, strict=True):
        assert (old.op_type, [a.SerializeToString() for a in old.attribute]) == (
            new.op_type,
            [a.SerializeToString() for a in new.attribute],
        )
    assert changed.opset_import == model.opset_import
    assert list(changed.graph.initializer)[: len(model.graph.initializer)] == list(model.graph.initializer)


def test_a_file_without_features_is_refused(content):
    model = onnx.load_from_string(content)
    del model.graph.output[1]
    with pytest.raises(ModelError, match=r"plain\.onnx: has no output `features`"):
        with_line(model.SerializeToString(), LINE, Path("plain.onnx"))


@pytest.mark.parametrize("broken", [b"", b"no onnx", b"\xff" * 40, b"\x3a\x7f\x01"])
def test_what_is_no_onnx_file_is_refused(broken):
    with pytest.raises(ModelError, match=r"a\.onnx: not an ONNX model"):
        with_line(broken, LINE, Path("a.onnx"))


def test_a_cut_file_is_refused(content):
    for size in range(len(content) - 6):  # behind it only the version of the operators
        with pytest.raises(ModelError):
            with_line(content[:size], LINE, Path("a.onnx"))
