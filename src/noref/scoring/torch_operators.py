"""The ONNX operators that noref's exports use, in torch: `TENSORS` for pixels and features, `SIZES` for whole numbers.

Names, arguments and defaults are those of the ONNX specification. A whole number or a row of them, such as a shape or
an index, is an int or a list of ints: it costs no device a transfer, and `torch.compile` sees through it.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor

from noref.errors import ModelError

Ints = list[int]
MODES = {"linear": "bilinear", "cubic": "bicubic"}
CORNERS = {"half_pixel": False, "pytorch_half_pixel": False, "align_corners": True}


def shape_of(x: Tensor, *, start: int = 0, end: int | None = None) -> list[int]:
    """Shape: the sizes from dimension `start` to before `end`."""
    return list(x.shape[start:end])


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    strides: Ints | None = None,
    dilations: Ints | None = None,
    pads: Ints | None = None,
    auto_pad: str = "NOTSET",
    group: int = 1,
    kernel_shape: Ints | None = None,
) -> Tensor:
    """Conv of any number of dimensions."""
    kernel = list(weight.shape[2:])
    strides, dilations = strides or [1] * len(kernel), dilations or [1] * len(kernel)
    x, padding = _padded(x, kernel, strides, dilations, pads, auto_pad, 0.0)
    return torch.convolution(x, weight, bias, strides, padding, dilations, False, [0] * len(kernel), group)


def max_pool(
    x: Tensor,
    *,
    kernel_shape: Ints,
    strides: Ints | None = None,
    dilations: Ints | None = None,
    pads: Ints | None = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    storage_order: int = 0,
) -> Tensor:
    """MaxPool over two dimensions."""
    strides, dilations = strides or [1, 1], dilations or [1, 1]
    x, padding = _padded(x, kernel_shape, strides, dilations, pads, auto_pad, -math.inf)
    return functional.max_pool2d(x, list(kernel_shape), strides, padding, dilations, ceil_mode=bool(ceil_mode))


def average_pool(
    x: Tensor,
    *,
    kernel_shape: Ints,
    strides: Ints | None = None,
    pads: Ints | None = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Ints | None = None,
) -> Tensor:
    """AveragePool over two dimensions, with the same padding on opposite sides."""
    strides = strides or [1, 1]
    sides = _sides(list(x.shape[2:]), kernel_shape, strides, [1, 1], pads, auto_pad)
    if sides[:2] != sides[2:] or set(dilations or [1]) != {1}:
        raise ModelError("AveragePool with uneven padding or dilation is not supported in torch")
    return functional.avg_pool2d(x, list(kernel_shape), strides, sides[:2], bool(ceil_mode), bool(count_include_pad))


def _sides(size: Ints, kernel: Ints, strides: Ints, dilations: Ints, pads: Ints | None, auto_pad: str) -> list[int]:
    """Padding before each dimension, then after each."""
    if auto_pad in ("NOTSET", "VALID"):
        return list(pads or [0] * 2 * len(kernel))
    geometry = zip(size, kernel, strides, dilations, strict=True)
    total = [max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0) for n, k, s, d in geometry]
    small, large = [n // 2 for n in total], [n - n // 2 for n in total]
    return small + large if auto_pad == "SAME_UPPER" else large + small


def _padded(
    x: Tensor, kernel: Ints, strides: Ints, dilations: Ints, pads: Ints | None, auto_pad: str, value: float
) -> tuple[Tensor, list[int]]:
    """The tensor, padded where opposite sides differ, and the even padding that is left to do."""
    sides = _sides(list(x.shape[2:]), kernel, strides, dilations, pads, auto_pad)
    before, after = sides[: len(kernel)], sides[len(kernel) :]
    if before == after:
        return x, before
    return functional.pad(x, _pairs(before, after), value=value), [0] * len(kernel)


def _pairs(before: Ints, after: Ints) -> list[int]:
    """Padding in the order of torch: the last dimension first."""
    return [side for pair in zip(reversed(before), reversed(after), strict=True) for side in pair]


def pad(
    x: Tensor, pads: Ints, value: float | None = None, axes: Ints | None = None, *, mode: str = "constant"
) -> Tensor:
    """Pad with a constant, the border or the mirror image."""
    count = len(pads) // 2
    before, after = [0] * x.ndim, [0] * x.ndim
    for place, axis in enumerate(axes if axes is not None else range(x.ndim)):
        before[axis], after[axis] = pads[place], pads[count + place]
    if mode == "constant":
        return functional.pad(x, _pairs(before, after), value=value or 0.0)
    return functional.pad(x, _pairs(before[2:], after[2:]), mode={"edge": "replicate", "reflect": "reflect"}[mode])


def resize(
    x: Tensor,
    roi: object = None,
    scales: object = None,
    sizes: Ints | None = None,
    *,
    mode: str = "nearest",
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    antialias: int = 0,
    **_: Any,
) -> Tensor:
    """Resize of (N, C, H, W) to given sizes, as torch's own `interpolate` is exported."""
    usual = mode != "cubic" or cubic_coeff_a == (-0.5 if antialias else -0.75)
    if sizes is None or mode not in MODES or coordinate_transformation_mode not in CORNERS or not usual:
        raise ModelError(f"Resize by {mode}, {coordinate_transformation_mode}, is not supported in torch")
    aligned = CORNERS[coordinate_transformation_mode]
    return functional.interpolate(x, sizes[2:], mode=MODES[mode], align_corners=aligned, antialias=bool(antialias))


def reshape(x: Tensor, shape: Ints, *, allowzero: int = 0) -> Tensor:
    """Reshape; a 0 keeps the dimension unless `allowzero`."""
    return x.reshape([x.shape[i] if n == 0 and not allowzero else n for i, n in enumerate(shape)])


def cut(x: Tensor, starts: Ints, ends: Ints, axes: Ints | None = None, steps: Ints | None = None) -> Tensor:
    """Slice with steps above 0."""
    places: list[slice] = [slice(None)] * x.ndim
    for i, axis in enumerate(axes if axes is not None else range(len(starts))):
        places[axis] = slice(starts[i], ends[i], steps[i] if steps is not None else 1)
    return x[tuple(places)]


def split(x: Tensor, sizes: Ints | None = None, *, axis: int = 0, num_outputs: int | None = None) -> list[Tensor]:
    """Split into parts of given or equal sizes."""
    length = -(-x.shape[axis] // (num_outputs or 1))
    return list(torch.split(x, sizes or length, dim=axis))


def gather(x: Tensor, index: int | Ints | Tensor, *, axis: int = 0) -> Tensor:
    """Gather along one dimension."""
    if isinstance(index, int):
        return x.select(axis, index)
    places = torch.as_tensor(index, device=x.device)
    shape = [*x.shape[:axis], *places.shape, *x.shape[axis:][1:]]
    return x.index_select(axis, places.flatten()).reshape(shape)


def expand(x: Tensor, shape: Ints) -> Tensor:
    """Expand by the rules of broadcasting."""
    own, other = [1] * (len(shape) - x.ndim) + list(x.shape), [1] * (x.ndim - len(shape)) + shape
    return x.expand([max(pair) for pair in zip(own, other, strict=True)])


def squeeze(x: Tensor, axes: Ints | None = None) -> Tensor:
    """Squeeze all or the given dimensions."""
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


def unsqueeze(x: Tensor, axes: Ints) -> Tensor:
    """Unsqueeze at the given places of the result."""
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


def layer_norm(
    x: Tensor, scale: Tensor, bias: Tensor | None = None, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    """LayerNormalization over the dimensions from `axis`."""
    return functional.layer_norm(x, x.shape[axis:], scale, bias, epsilon)


def batch_norm(
    x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor, *, epsilon: float = 1e-5, **_: Any
) -> Tensor:
    """BatchNormalization by statistics that are kept."""
    return functional.batch_norm(x, mean, var, scale, bias, eps=epsilon)


def gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | float = 0.0,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,  # noqa: N803  ONNX's name
    transB: int = 0,  # noqa: N803
) -> Tensor:
    """Gemm: alpha a b + beta c."""
    product = (a.T if transA else a) @ (b.T if transB else b)
    return (product if alpha == 1 else alpha * product) + (c if beta == 1 else beta * c)


def clip(x: Tensor, low: float | None = None, high: float | None = None) -> Tensor:
    """Clip to a range that may be open."""
    return x if low is None and high is None else x.clamp(low, high)


def reduced(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A reduction, with its dimensions as an input (from opset 18) or as an attribute."""

    def reduce(
        x: Tensor,
        inputs: Ints | None = None,
        *,
        axes: Ints | None = None,
        keepdims: int = 1,
        noop_with_empty_axes: int = 0,
    ) -> Tensor:
        chosen = inputs if inputs is not None else axes
        if not chosen and noop_with_empty_axes:
            return x
        return function(x, dim=tuple(chosen or range(x.ndim)), keepdim=bool(keepdims))

    return reduce


def straight_through(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A step function whose gradient is taken as 1: rounding inside a network would else end every gradient."""
    return lambda x: x + (function(x) - x).detach()


def _gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    return functional.gelu(x, approximate=approximate)


TENSORS: dict[str, Callable[..., Any]] = {
    "Abs": torch.abs,
    "Add": operator.add,
    "AveragePool": average_pool,
    "BatchNormalization": batch_norm,
    "Cast": lambda x, *, to, saturate=1: x,  # the module computes in the type of its weights
    "Clip": clip,
    "Concat": lambda *parts, axis: torch.cat(parts, dim=axis),
    "Conv": conv,
    "Div": operator.truediv,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Expand": expand,
    "Flatten": lambda x, *, axis=1: x.reshape(math.prod(x.shape[:axis]), -1),
    "Floor": straight_through(torch.floor),
    "Gather": gather,
    "Gelu": _gelu,
    "Gemm": gemm,
    "GlobalAveragePool": lambda x: x.mean(dim=tuple(range(2, x.ndim)), keepdim=True),
    "HardSigmoid": lambda x, *, alpha=0.2, beta=0.5: (alpha * x + beta).clamp(0, 1),
    "HardSwish": functional.hardswish,
    "Identity": lambda x: x,
    "LayerNormalization": layer_norm,
    "LeakyRelu": lambda x, *, alpha=0.01: functional.leaky_relu(x, alpha),
    "Log": torch.log,
    "MatMul": torch.matmul,
    "MaxPool": max_pool,
    "Mul": operator.mul,
    "Neg": torch.neg,
    "Pad": pad,
    "Pow": operator.pow,
    "Reciprocal": torch.reciprocal,
    "ReduceL2": reduced(torch.linalg.vector_norm),
    "ReduceMax": reduced(torch.amax),
    "ReduceMean": reduced(torch.mean),
    "ReduceMin": reduced(torch.amin),
    "ReduceSum": reduced(torch.sum),
    "Relu": torch.relu,
    "Reshape": reshape,
    "Resize": resize,
    "Round": straight_through(torch.round),
    "Shape": shape_of,
    "Sigmoid": torch.sigmoid,
    "Slice": cut,
    "Softmax": lambda x, *, axis=-1: torch.softmax(x, dim=axis),
    "Softplus": functional.softplus,
    "Split": split,
    "Sqrt": torch.sqrt,
    "Squeeze": squeeze,
    "Sub": operator.sub,
    "Tanh": torch.tanh,
    "Transpose": lambda x, *, perm=None: x.permute(*(perm or reversed(range(x.ndim)))),
    "Unsqueeze": unsqueeze,
}


def _each(function: Callable[..., int]) -> Callable[..., Any]:
    """A function of numbers, for numbers and rows of them; a single number goes with each of a row."""

    def run(*values: Any, **_: Any) -> Any:
        length = max((len(value) for value in values if isinstance(value, list)), default=0)
        if not length:
            return function(*values)
        rows = [value * length if isinstance(value, list) and len(value) == 1 else value for value in values]
        rows = [row if isinstance(row, list) else [row] * length for row in rows]
        return [function(*row) for row in zip(*rows, strict=True)]

    return run


def _within(value: int, low: int | None = None, high: int | None = None) -> int:
    value = value if low is None else max(value, low)
    return value if high is None else min(value, high)


def _row(value: Any) -> list[int]:
    return value if isinstance(value, list) else [value]


SIZES: dict[str, Callable[..., Any]] = {
    "Add": _each(operator.add),
    "Cast": lambda value, **_: value,
    "Clip": _each(_within),
    "Concat": lambda *parts, axis: [number for part in parts for number in part],
    "Div": _each(operator.floordiv),  # of sizes, which are not negative
    "Gather": lambda row, index, *, axis=0: _each(row.__getitem__)(index),
    "Identity": lambda value: value,
    "Max": _each(max),
    "Min": _each(min),
    "Mod": _each(operator.mod),
    "Mul": _each(operator.mul),
    "Neg": _each(operator.neg),
    "Range": lambda start, end, step: list(range(start, end, step)),
    "Reshape": lambda value, shape, *, allowzero=0: _row(value) if shape else _row(value)[0],
    "Slice": lambda row, starts, ends, axes=None, steps=(1,): row[starts[0] : ends[0] : steps[0]],
    "Squeeze": lambda row, axes=None: row[0],
    "Sub": _each(operator.sub),
    "Unsqueeze": lambda value, axes: _row(value),
}
