"""The fault head: what it learns from features that tell all, and its graph against numpy."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from noref.default_model.fault_head import SIZES, FaultHead, graph_numbers, learn
from noref.default_model.tones import tones
from noref.scoring.fault_outputs import add_faults, drop_output


@pytest.fixture(scope="module")
def told():
    """Each type has a feature of its own, which is its severity and a little noise."""
    rng = np.random.default_rng(0)
    severities = np.zeros((1500, 24), np.float32)
    severities[np.arange(1500), rng.integers(24, size=1500)] = rng.integers(1, 6, 1500) / 5
    severities[:100] = 0
    features = np.concatenate([severities, np.zeros((1500, 6))], 1) * 3 + rng.normal(0, 0.1, (1500, 30))
    return features.astype(np.float32), rng.uniform(0, 1, (1500, 76)).astype(np.float32), severities


@pytest.fixture(scope="module")
def head(told):
    return learn(*(part[:1200] for part in told), [f"photo {number // 8}" for number in range(1200)])


def test_it_learns_what_features_tell(head, told):
    features, other, severities = (part[1200:] for part in told)
    found = head.severities(features, other)
    strong = severities.max(1) >= 0.6
    assert (found.argmax(1) == severities.argmax(1))[strong].mean() > 0.95
    assert np.abs(found.max(1) - severities.max(1)).mean() < 0.15
    assert found.min() >= 0
    assert found.max() <= 1


def test_the_graph_gives_the_same():
    """Features are the means of red, green and blue; the head is drawn at random."""
    rng = np.random.default_rng(0)
    shapes = [(3 + 76, 62), (62,), (62 + 76, 16), (16,), (16 + 62 + 76, 31), (31,)]
    head = FaultHead(*(rng.normal(0, 0.5, shape).astype(np.float32) for shape in shapes))
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 18]>
    g (uint8[n, h, w, 3] image) => (float[n, 3] features) <int64[2] sides = {1, 2}> {
        level = Cast<to = 1>(image)
        features = ReduceMean<keepdims = 0>(level, sides)
    }""")
    for _ in range(2):  # the second replaces the first
        add_faults(model, graph_numbers(head), SIZES)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    images = rng.integers(0, 256, (3, 31, 46, 3), dtype=np.uint8)
    images[1] //= 100
    expected = head.severities(images.mean((1, 2), dtype=np.float32), tones(images))
    assert session.run(["faults"], {"image": images})[0] == pytest.approx(expected, abs=1e-4)
    assert [output.name for output in model.graph.output] == ["features", "faults"]
    drop_output(model, "faults")
    assert (len(model.graph.node), len(model.graph.initializer)) == (2, 1)


def test_tones_by_hand():
    """A picture half black, half red: a loop over pixels and bins."""
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, 4:, 0] = 255
    found = tones(image[None])[0].reshape(4, 19)
    for row, values in zip(found, ([0, 1 / 3], [0, 1], [0, 0], [0, 1]), strict=True):
        for cell, (center, slope) in zip(row, [*((i / 16, 16) for i in range(17)), (0, 255), (1, 255)], strict=True):
            share = sum(max(0, 1 - abs(value - center) * slope) for value in values) / 2
            assert cell == pytest.approx((share + 1e-4) ** 0.5, abs=1e-3)
