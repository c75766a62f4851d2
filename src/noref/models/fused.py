"""Frozen batch norms computed as part of the convolutions in front of them: the same numbers in less time.

A batch norm in evaluation mode is a factor and an offset for each channel. Taken into the convolution's weights at
every call, it costs no pass over the maps, and it still learns: the parameters, and their names, stay where they are.
"""

from __future__ import annotations

import types
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as functional
from timm.layers import Conv2dSame, pad_same  # type: ignore[attr-defined]
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from noref.errors import ModelError

TOLERANCE = 1e-3  # of the largest value; float32 leaves 1e-5


def fuse_frozen_norms(net: nn.Module, example: Tensor) -> int:
    """Run each convolution and the frozen batch norm behind it as one convolution; how many, 0 where it cannot be done.

    Pairs are neighbours among a module's children. Whether the network really applies them one after the other is
    not known from that, so its output on `example` is compared, and where it changes everything is put back.

    Args:
        net: its batch norms never train; changed in place.
        example: (N, 3, H, W) input, normalised.
    """
    pairs = [pair for module in net.modules() for pair in _neighbours(module)]
    if not pairs:
        return 0
    with torch.no_grad():
        expected = net(example)
        for conv, norm in pairs:
            conv.__dict__["norm"] = norm  # past nn.Module's registration: the norm keeps its place and name
            conv.forward = types.MethodType(_convolve, conv)  # type: ignore[method-assign]
            norm.forward = types.MethodType(_activate, norm)
        tolerance = TOLERANCE * max(float(expected.abs().max()), 1e-6)
        if torch.allclose(net(example), expected, rtol=0, atol=tolerance):
            return len(pairs)
    for conv, norm in pairs:
        for name, module in (("norm", conv), ("forward", conv), ("forward", norm)):
            del module.__dict__[name]
    return 0


def _neighbours(module: nn.Module) -> list[tuple[nn.Conv2d, Any]]:
    return [
        (conv, norm)
        for conv, norm in pairwise(module.children())
        if isinstance(conv, nn.Conv2d)
        and isinstance(norm, _BatchNorm)
        and not norm.training
        and norm.running_mean is not None
        and norm.num_features == conv.out_channels
    ]


def folded(conv: nn.Conv2d, norm: Any) -> tuple[Tensor, Tensor]:
    """Weight (O, I, k, k) and bias (O,) of a convolution with the batch norm behind it; gain = w / sqrt(var + eps).

    Raises:
        ModelError: a norm without running statistics.
    """
    if norm.running_mean is None or norm.running_var is None:
        raise ModelError("a batch norm without running statistics cannot be folded")
    gain = (1 if norm.weight is None else norm.weight) / torch.sqrt(norm.running_var + norm.eps)
    offset = -norm.running_mean * gain if conv.bias is None else (conv.bias - norm.running_mean) * gain
    return conv.weight * gain.view(-1, 1, 1, 1), offset if norm.bias is None else offset + norm.bias


def _convolve(self: Any, x: Tensor) -> Tensor:
    """The convolution, with the norm's factor and offset in its weights."""
    weight, offset = folded(self, self.norm)
    more = (self.dilation, self.groups)
    if not isinstance(self, Conv2dSame):
        return convolve(x, weight, offset, self.stride, self.padding, *more)
    usual = (self.kernel_size, self.stride, self.dilation) == ((3, 3), (2, 2), (1, 1))
    if usual and not (x.shape[2] | x.shape[3]) & 1:
        return convolve(x, weight, offset, self.stride, 1, *more, shift=1)
    x = pad_same(x, list(self.kernel_size), list(self.stride), list(self.dilation))
    return convolve(x, weight, offset, self.stride, 0, *more)


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor, stride: Any, padding: Any, dilation: Any, groups: int, *, shift: int = 0
) -> Tensor:
    """torch's `conv2d` with `shift` fewer rows and columns of padding above and to the left (`padding` is a number).

    A strided depthwise one under autocast on the CPU takes a detour: its bfloat16 gradient is 15 times slower. The
    detour pads inside the convolution: a padded copy of the maps would cost 40 % of a step.
    """
    if groups > 1 and stride != (1, 1) and x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        whole = functional.conv2d(x, weight, bias, 1, padding, dilation, groups)
        return whole[:, :, shift :: stride[0], shift :: stride[1]]
    if shift:
        x, padding = functional.pad(x, (padding - shift, padding, padding - shift, padding)), 0
    return functional.conv2d(x, weight, bias, stride, padding, dilation, groups)


def _activate(self: Any, x: Tensor) -> Tensor:
    """What is left of a norm whose factor and offset are in the convolution: timm's have an activation of their own."""
    for part in (getattr(self, "drop", None), getattr(self, "act", None)):
        x = x if part is None else part(x)
    return x
