"""The differentiable twin is the model that ONNX Runtime runs: same pixels, same quality, and a gradient."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch

import noref
from noref.card import Card, Preprocessing, Scale
from noref.errors import ModelError, OptionError
from noref.images import read
from noref.models.arniqa import build_encoder
from noref.models.arniqa_regressor import ARNIQA
from noref.models.network import FromBytes, Plan, build
from noref.models.plan import EncoderPlan
from noref.scoring.export import export_onnx
from noref.scoring.network import Network
from noref.scoring.twin import load_torch

PLANS = {
    "ResNet and panel": Plan("test_resnet", width=24, heads=3),
    "EfficientNet with same padding": Plan("test_efficientnet", head="pooled", pad_type="same"),
    "transformer with quality token": Plan("test_vit", head="tokens", heads=4, image_size=64, mask=0.3),
}


def levels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def tensor(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2) / 255


@pytest.fixture(scope="module")
def twin():
    return load_torch()


@pytest.fixture(scope="module")
def default():
    network = Network("default", threads=1)
    network.ready()
    return network


@pytest.mark.parametrize("shape", [(1, 224, 224), (3, 97, 131), (2, 240, 161)])
def test_the_default_is_the_same(shape, twin, default):
    images = levels(*shape, 3)
    with torch.no_grad():
        found = twin(tensor(images))
    np.testing.assert_allclose(found, default.qualities(images), atol=1e-5)
    assert found.shape == shape[:1]


def test_it_is_the_quality_of_a_score_where_the_size_fits(twin):
    picture = read(levels(300, 700, 3), preprocessing=twin.card.preprocessing)
    with torch.no_grad():
        assert twin(tensor(picture[None])).item() == pytest.approx(noref.score(picture).quality, abs=1e-5)


@pytest.mark.parametrize("kind", PLANS)
def test_exports_of_every_head_are_the_same(kind, tmp_path):
    torch.manual_seed(0)
    network, path = FromBytes(build(PLANS[kind], weights="none")).eval(), tmp_path / "model.onnx"
    card = Card("n", "m", Scale(0, 100), Preprocessing(crop=64, min_side=64))
    export_onnx(network, path, card, example=levels(2, 64, 64, 3), dynamic_size=False)
    images = levels(3, 64, 64, 3, seed=1)
    found = load_torch(path)(tensor(images))
    onnx_runtime = Network(path, threads=1)
    np.testing.assert_allclose(found, onnx_runtime.qualities(images), atol=1e-5)
    large = levels(2, 90, 150, 3)  # 2 x 3 crops
    expected = [onnx_runtime.quality(image) for image in large]
    np.testing.assert_allclose(load_torch(path)(tensor(large)), expected, atol=1e-5)
    with pytest.raises(ValueError, match="crops of 64 do not fit"):
        load_torch(path)(torch.rand(1, 3, 63, 64))


def test_arniqa_is_the_same_and_its_rounding_ends_no_gradient(tmp_path):
    torch.manual_seed(0)
    network = ARNIQA(build_encoder(EncoderPlan("test_resnet"), weights="none"), crop=64).eval()
    network.set_linear_head(torch.randn(192) / 10, 0.5)
    card = Card("n", "m", Scale(0, 100), Preprocessing(max_pixels=None, min_side=64))
    export_onnx(FromBytes(network), tmp_path / "a.onnx", card, example=levels(2, 96, 96, 3), dynamic_size=True)
    onnx_runtime, twin = Network(tmp_path / "a.onnx", threads=1), load_torch(tmp_path / "a.onnx")
    for shape in [(2, 97, 131), (1, 66, 140)]:
        images = levels(*shape, 3)
        np.testing.assert_allclose(twin(tensor(images)), onnx_runtime.qualities(images), atol=1e-4)
    pixels = torch.rand(1, 3, 96, 96, requires_grad=True)
    twin(pixels).backward()
    assert pixels.grad.abs().sum() > 0


SMALL = """
<ir_version: 8, opset_import: ["" : 18]>
small (uint8[n, h, w, 3] image) => (float[n] quality, float[n, 2] features)
<float[2, 3, 3, 3] weight, float[2] slope>
{
    level = Cast<to = 1>(image)
    top = Constant<value_float = 255.0>()
    share = Div(level, top)
    x = Transpose<perm = [0, 3, 1, 2]>(share)
    y = Conv<strides = [2, 2], auto_pad = "SAME_UPPER">(x, weight)
    z = Tanh(y)
    sides = Constant<value_ints = [2, 3]>()
    features = ReduceMean<keepdims = 0>(z, sides)
    weighted = Mul(features, slope)
    last = Constant<value_ints = [1]>()
    sum = ReduceSum<keepdims = 0>(weighted, last)
    quality = Sigmoid(sum)
    unused = Celu(z)
}
"""


@pytest.fixture
def small(tmp_path):
    """A file with an output besides quality, and an operator without a twin that quality does not need."""
    model = onnx.parser.parse_model(SMALL)
    rng = np.random.default_rng(1)
    for name, shape in (("weight", (2, 3, 3, 3)), ("slope", (2,))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name))
    onnx.save(model, tmp_path / "small.onnx")
    Card("small", "by hand", Scale(0, 1), Preprocessing(min_side=1)).write(tmp_path / "small.onnx")
    return tmp_path / "small.onnx"


def test_gradients_are_those_of_finite_differences(small):
    images = torch.rand(2, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(load_torch(small).double(), images)
    crops = load_torch(small).double()
    crops.card = Card("small", "by hand", Scale(0, 1), Preprocessing(min_side=4, crop=4))
    assert torch.autograd.gradcheck(crops, images)


def test_the_defaults_gradient_is_that_of_a_finite_difference(twin):
    twin = copy.deepcopy(twin).double()
    images = torch.rand(1, 3, 64, 80, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    way = torch.randn(images.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (slope,) = torch.autograd.grad(twin(images.requires_grad_()).sum(), images)
    with torch.no_grad():
        step = 1e-6 * way
        expected = (twin(images + step) - twin(images - step)).item() / 2e-6
    assert (slope * way).sum().item() == pytest.approx(expected, rel=1e-3)


def test_weights_are_parameters_that_ask_for_no_gradient(twin, small):
    weights = dict(load_torch(small).named_parameters())
    assert {name: tuple(weight.shape) for name, weight in weights.items()} == {
        "graph.weight": (2, 3, 3, 3),
        "graph.slope": (2,),
    }
    assert not any(weight.requires_grad for weight in twin.parameters())
    tuned = load_torch(small).requires_grad_()
    tuned(torch.rand(1, 3, 8, 8)).backward()
    assert all(weight.grad.abs().sum() > 0 for weight in tuned.parameters())


@pytest.mark.parametrize(("dtype", "off"), [(torch.float64, 1e-5), (torch.bfloat16, 0.05), (torch.float16, 0.02)])
def test_it_computes_in_the_type_of_its_weights(dtype, off, twin):
    images = tensor(levels(2, 96, 128, 3))
    with torch.no_grad():
        found = copy.deepcopy(twin).to(dtype)(images)
        assert found.dtype == dtype
        torch.testing.assert_close(found.float(), twin(images), atol=off, rtol=0)


def test_autocast_computes_in_half_precision(twin):
    images = tensor(levels(2, 64, 96, 3))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = twin(images)
    torch.testing.assert_close(found.float(), twin(images), atol=0.05, rtol=0)


def test_compile_sees_through_it(small):
    twin, images = load_torch(small), torch.rand(2, 3, 7, 9)
    torch.testing.assert_close(torch.compile(twin, backend="eager", fullgraph=True)(images), twin(images))


def test_it_is_copied_pickled_and_its_weights_are_loaded(small):
    twin, images = load_torch(small), torch.rand(2, 3, 7, 9)
    for other in (copy.deepcopy(twin), pickle.loads(pickle.dumps(twin))):
        torch.testing.assert_close(other(images), twin(images))
    other = load_torch(small)
    other.load_state_dict({name: torch.zeros_like(value) for name, value in twin.state_dict().items()})
    assert other(images).tolist() == [0.5, 0.5]


def test_a_single_output_may_have_another_name(small, make_model):
    text = """<ir_version: 8, opset_import: ["" : 17]> old (uint8[n, h, w, 3] image) => (float[n] score)
    { level = Cast<to = 1>(image) score = ReduceMean<axes = [1, 2, 3], keepdims = 0>(level) }"""
    twin = load_torch(make_model(text))
    assert twin(torch.full((2, 3, 8, 9), 0.25)).tolist() == pytest.approx([63.75, 63.75])


def test_wrong_calls_say_what_is_right(twin, make_model):
    for images in (torch.rand(3, 64, 64), torch.rand(1, 4, 64, 64), torch.ones(1, 3, 64, 64, dtype=torch.uint8)):
        with pytest.raises(ValueError, match=r"\(B, 3, H, W\) floats in \[0, 1\], got"):
            twin(images)
    with pytest.raises(OptionError, match="unknown model 'defualt'"):
        load_torch("defualt")
    path = make_model('<ir_version: 8, opset_import: ["" : 17]> g (float[n] x) => (float[n] y) { y = Celu(x) }')
    with pytest.raises(ModelError, match=r"other\.onnx: the operator ai\.onnx\.Celu is not supported in torch"):
        load_torch(path)
    path.write_bytes(b"no model")
    Card("n", "m", Scale(0, 1), Preprocessing()).write(path)
    with pytest.raises(ModelError, match=r"other\.onnx: not an ONNX model"):
        load_torch(path)


def test_without_torch_the_extra_is_named():
    code = "import sys; sys.modules['torch'] = None; import noref; noref.load_torch"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "MissingExtraError: a model in torch needs an extra: pip install 'noref[train]'" in done.stderr
