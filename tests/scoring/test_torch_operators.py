"""Each operator gives what ONNX Runtime gives; the graphs are written by hand."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort
import pytest
import torch

from noref.errors import ModelError
from noref.scoring.torch_graph import Graph
from noref.scoring.torch_operators import SIZES, TENSORS

RNG = np.random.default_rng(0)
W, B = "float[4, 3, 3, 3] w", "float[4] b"
CASES = {
    "Conv": ("y = Conv<strides = [2, 2], pads = [1, 1, 1, 1]>(x, w, b)", (2, 3, 9, 8), [W, B]),
    "Conv same": ('y = Conv<strides = [2, 2], auto_pad = "SAME_UPPER">(x, w, b)', (2, 3, 8, 9), [W, B]),
    "Conv same lower": ('y = Conv<strides = [2, 2], auto_pad = "SAME_LOWER">(x, w)', (2, 3, 8, 10), [W]),
    "Conv uneven": ("y = Conv<pads = [0, 1, 2, 1], dilations = [2, 1]>(x, w)", (1, 3, 8, 9), [W]),
    "Conv groups": ("y = Conv<group = 3>(x, w)", (1, 3, 6, 6), ["float[6, 1, 2, 2] w"]),
    "MaxPool": ("y = MaxPool<kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]>(x)", (2, 3, 9, 8), []),
    "MaxPool uneven": ("y = MaxPool<kernel_shape = [2, 3], pads = [0, 1, 1, 1]>(x)", (2, 3, 9, 8), []),
    "MaxPool ceil": ("y = MaxPool<kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1>(x)", (1, 2, 9, 7), []),
    "AveragePool": ("y = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x)", (2, 3, 9, 8), []),
    "AveragePool pad": (
        "y = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = 1>(x)", (2, 3, 9, 8), [],
    ),
    "AveragePool ceil": (
        "y = AveragePool<kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1>(x)", (1, 2, 9, 7), [],
    ),
    "GlobalAveragePool": ("y = GlobalAveragePool(x)", (2, 3, 4, 5), []),
    "Pad": ("p = Constant<value_ints = [0, 0, 1, 2, 0, 0, 3, 0]>() y = Pad(x, p)", (1, 2, 3, 4), []),
    "Pad mirror": (
        'p = Constant<value_ints = [0, 0, 1, 2, 0, 0, 2, 0]>() y = Pad<mode = "reflect">(x, p)', (1, 2, 3, 4), [],
    ),
    "Pad border": (
        'p = Constant<value_ints = [1, 2]>() a = Constant<value_ints = [-1]>() '
        'y = Pad<mode = "edge">(x, p, , a)', (1, 2, 3, 4), [],
    ),
    "Resize cubic": (
        's = Constant<value_ints = [1, 2, 5, 4]>() y = Resize<mode = "cubic", cubic_coeff_a = -0.5, antialias = 1, '
        "exclude_outside = 1>(x, , , s)", (1, 2, 11, 9), [],
    ),
    "Resize linear": (
        's = Constant<value_ints = [1, 2, 7, 5]>() y = Resize<mode = "linear">(x, , , s)', (1, 2, 4, 4), [],
    ),
    "Reshape": ("s = Constant<value_ints = [0, -1, 2]>() y = Reshape(x, s)", (3, 4, 5), []),
    "Flatten": ("y = Flatten<axis = 2>(x)", (2, 3, 4, 5), []),
    "Slice": (
        "a = Constant<value_ints = [1, 0]>() b = Constant<value_ints = [-1, 9223372036854775807]>() "
        "c = Constant<value_ints = [2, 0]>() d = Constant<value_ints = [2, 1]>() y = Slice(x, a, b, c, d)",
        (2, 3, 7), [],
    ),
    "Split": ("s = Constant<value_ints = [1, 3]>() z, y = Split<axis = 1>(x, s)", (2, 4), []),
    "Split in equal parts": ("y, z = Split<axis = -1, num_outputs = 2>(x)", (2, 5), []),
    "Gather one": ("i = Constant<value_int = 1>() y = Gather<axis = 1>(x, i)", (2, 3, 4), []),
    "Gather row": ("i = Constant<value_ints = [2, 0, 2, 1]>() y = Gather<axis = 1>(x, i)", (2, 3, 4), []),
    "Gather table": ("y = Gather<axis = -1>(x, i)", (2, 3, 4), ["int64[2, 3] i"]),
    "Expand": ("s = Constant<value_ints = [4, 3, 1]>() y = Expand(x, s)", (3, 5), []),
    "Expand less": ("s = Constant<value_ints = [4, 1]>() y = Expand(x, s)", (2, 1, 5), []),
    "Squeeze": ("a = Constant<value_ints = [0, -1]>() y = Squeeze(x, a)", (1, 3, 1), []),
    "Squeeze all": ("y = Squeeze(x)", (1, 3, 1), []),
    "Unsqueeze": ("a = Constant<value_ints = [0, -1]>() y = Unsqueeze(x, a)", (2, 3), []),
    "Transpose": ("y = Transpose<perm = [2, 0, 1]>(x)", (2, 3, 4), []),
    "Transpose all": ("y = Transpose(x)", (2, 3, 4), []),
    "Concat": ("y = Concat<axis = 1>(x, x)", (2, 3), []),
    "LayerNormalization": (
        "y = LayerNormalization<epsilon = 0.001>(x, s, t)", (2, 4, 5), ["float[5] s", "float[5] t"],
    ),
    "BatchNormalization": (
        "y = BatchNormalization<epsilon = 0.01>(x, s, t, m, v)", (2, 3, 4), [f"float[3] {n}" for n in "stmv"],
    ),
    "Gemm": (
        "y = Gemm<alpha = 0.5, beta = 2.0, transA = 1, transB = 1>(x, w, c)", (4, 2), ["float[3, 4] w", "float[3] c"],
    ),
    "MatMul": ("y = MatMul(x, w)", (2, 3, 4), ["float[4, 5] w"]),
    "Softmax": ("y = Softmax<axis = 1>(x)", (2, 3, 4), []),
    "Clip": ("a = Constant<value_float = 0.2>() y = Clip(x, a)", (3, 4), []),
    "ReduceMean": ("a = Constant<value_ints = [1, 2]>() y = ReduceMean<keepdims = 0>(x, a)", (2, 3, 4), []),
    "ReduceMean all": ("y = ReduceMean<keepdims = 1>(x)", (2, 3, 4), []),
    "ReduceMean none": ("y = ReduceMean<noop_with_empty_axes = 1>(x)", (2, 3, 4), []),
    "HardSigmoid": ("y = HardSigmoid<alpha = 0.3>(x)", (3, 40), []),
    "LeakyRelu": ("y = LeakyRelu<alpha = 0.3>(x)", (3, 4), []),
    "sizes": (  # of a half, as a row of numbers
        "n = Shape<start = 1, end = 2>(x) one = Squeeze(n) two = Constant<value_int = 2>() h = Div(one, two) "
        "k = Mod(one, two) r = Constant<value_ints = [-1]>() q = Reshape(h, r) f = Shape<end = 1>(x) "
        "z = Mul(q, two) e = Sub(n, z) l = Max(e, f) m = Min(l, q) c = Clip(m, one) a = Constant<value_ints = [0]>() "
        "u = Unsqueeze(k, a) s = Concat<axis = 0>(f, c, r, u) y = Reshape(x, s)", (2, 5, 10), [],
    ),
}  # fmt: skip
UNARY = [
    "Abs",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "HardSwish",
    "Identity",
    "Neg",
    "Relu",
    "Round",
    "Sigmoid",
    "Softplus",
    "Tanh",
]
BINARY = ["Add", "Div", "Mul", "Pow", "Sub"]
CASES |= {name: (f"y = {name}(x)", (3, 40), []) for name in ["Abs", *UNARY]}
CASES |= {name: (f"z = Exp(x) y = {name}(z)", (3, 40), []) for name in ("Log", "Reciprocal", "Sqrt")}
CASES |= {name: (f"z = Exp(x) y = {name}(z, w)", (3, 4), ["float[4] w"]) for name in BINARY}
CASES |= {
    name: (f"a = Constant<value_ints = [-1]>() y = {name}(x, a)", (2, 3, 4), [])
    for name in ("ReduceL2", "ReduceMax", "ReduceMin", "ReduceSum")
}


def model_of(nodes, shape, weights):
    """A model of one input `x` and one output `y`, with random weights; those that are floats are above 0."""
    dims = ", ".join(f"d{i}" for i in range(len(shape)))
    inputs = ", ".join([f"float[{dims}] x", *weights])
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 20]> g ({inputs}) => (float y) {{ {nodes} }}')
    model.graph.output[0].type.tensor_type.ClearField("shape")
    while len(model.graph.input) > 1:
        declared = model.graph.input.pop()
        sides = [side.dim_value for side in declared.type.tensor_type.shape.dim]
        whole = declared.type.tensor_type.elem_type == onnx.TensorProto.INT64
        value = RNG.integers(0, 4, sides) if whole else RNG.uniform(0.1, 1, sides).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, declared.name))
    return model


@pytest.mark.parametrize("name", CASES)
def test_it_is_onnx_runtimes(name):
    nodes, shape, weights = CASES[name]
    model = model_of(nodes, shape, weights)
    x = RNG.normal(size=shape).astype(np.float32)
    (expected,) = ort.InferenceSession(model.SerializeToString()).run(["y"], {"x": x})
    (found,) = Graph(model, ["y"])(torch.from_numpy(x))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert found.shape == expected.shape


def test_every_operator_is_compared():
    elsewhere = {"Cast", "Range"}  # with the networks
    compared = {node.op_type for nodes, *rest in CASES.values() for node in model_of(nodes, *rest).graph.node}
    assert (TENSORS.keys() | SIZES.keys()) - compared == elsewhere


def test_rounding_lets_the_gradient_through():
    x = torch.tensor([0.2, 1.7], requires_grad=True)
    for name in ("Round", "Floor"):
        (slope,) = torch.autograd.grad((TENSORS[name](x) * torch.tensor([3.0, 5.0])).sum(), x)
        assert slope.tolist() == [3.0, 5.0]


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        ("y = Celu(x)", "the operator ai.onnx.Celu"),
        ("y = AveragePool<kernel_shape = [2, 2], pads = [0, 0, 1, 1]>(x)", "uneven padding"),
        ("s = Constant<value_ints = [1, 1, 2, 2]>() y = Resize(x, , , s)", "Resize by nearest"),
        ("s = Shape(x) t = Relu(s) y = Reshape(x, t)", "Relu is not supported in torch for whole numbers"),
    ],
)
def test_what_has_no_twin_is_named(nodes, says):
    with pytest.raises(ModelError, match=says):
        Graph(model_of(nodes, (1, 1, 4, 4), []), ["y"])(torch.ones(1, 1, 4, 4))


def test_only_what_an_output_needs_is_kept():
    model = model_of("z = Mul(x, w) y = Relu(x) c = Celu(z)", (2, 3), ["float[3] w"])
    assert list(Graph(model, ["y"]).parameters()) == []
    assert [tuple(weight.shape) for weight in Graph(model, ["z", "y"]).parameters()] == [(3,)]
    assert [value.shape for value in Graph(model, ["z", "y", "x"])(torch.ones(2, 3))] == [(2, 3)] * 3
    with pytest.raises(ModelError, match="no quality"):
        Graph(model, ["quality"])
