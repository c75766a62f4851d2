"""The embedded model's network: statistics of every stage of a small CNN, at full and half scale, and one linear layer.

A stage is a run of blocks at one width. Its statistics are the mean and the standard deviation of each channel
over the whole image, so an image of any size gives the same number of features. The first stages are frozen: they
stay as ImageNet left them, so their maps are computed once and cached. The others are fine-tuned.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as functional
from timm.layers import Conv2dSame  # type: ignore[attr-defined]
from torch import Tensor, nn

from noref.errors import ModelError
from noref.models.fused import convolve, folded

EPSILON = 1e-5
NEWTON_STEPS = 20  # about five are needed
SIGNED = (0.5, 0.5, 0.5)  # mean and deviation that give pixels in [-1, 1]


class FoldedConv(nn.Module):
    """A convolution with the batch norm behind it folded into weight and bias.

    With TensorFlow's "same" padding, stride 2 pads one row and one column more below and to the right. TensorFlow does
    so for even sides only; here it is done for all.

    Args:
        conv: a timm convolution, depthwise or dense, stride 1 or 2.
        norm: with running statistics.
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        weight, bias = folded(conv, norm)
        self.weight = nn.Parameter(weight.detach().clone(memory_format=torch.channels_last))
        self.bias = nn.Parameter(bias.detach().clone())
        self.stride, self.kernel, self.groups = conv.stride, conv.kernel_size[0], conv.groups
        self.same = isinstance(conv, Conv2dSame)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H', W'); H' = H at stride 1; at stride 2 H / 2, rounded down if "same", else up."""
        padding, shift = (self.kernel - 1) // 2, int(self.same and self.stride == (2, 2))
        return convolve(x, self.weight, self.bias, self.stride, padding, 1, self.groups, shift=shift)


def cnn_stages(network: Any) -> nn.ModuleList:
    """The stages of a network of timm's EfficientNet family, MobileNets too: stem, runs of blocks, last convolution.

    The blocks are those of `network`, each batch norm folded into the convolution in front of it.
    """
    for module in list(network.modules()):
        for (name, conv), (norm_name, norm) in pairwise(list(module.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, FoldedConv(conv, norm))
                setattr(module, norm_name, getattr(norm, "act", nn.Identity()))  # timm's norms have an activation
    stem, last = (network.conv_stem, network.bn1), (network.conv_head, network.bn2)
    return nn.ModuleList([nn.Sequential(*stem), *network.blocks, nn.Sequential(*last)])


def statistics(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, 2C) float32: C means, C deviations over the image (population; sqrt(variance + 1e-5))."""
    flat = x.flatten(2).float()
    mean = flat.mean(2)
    variance = (flat - mean[:, :, None]).square().mean(2)
    return torch.cat([mean, (variance + EPSILON).sqrt()], dim=1)


class RidgeHead(nn.Module):
    """A linear layer on features that are centred and scaled; ridge regression gives it its values.

    `set_curve` puts a logistic curve behind it: human ratings are dense at the good end of their scale and sparse at
    the bad end, which a line cannot follow. The curve rises, so ranks stay as they are.
    """

    center: Tensor
    spread: Tensor
    curve: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(size))
        self.register_buffer("spread", torch.ones(size))
        self.register_buffer("curve", torch.tensor([0.0, 1.0, 0.5, 0.25]), persistent=False)  # only in what is exported
        self.curved = False
        self.weight, self.bias = nn.Parameter(torch.zeros(size)), nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        """(N, F) features -> (N,) quality, about [0, 1], higher is better."""
        quality: Tensor = ((features - self.center) / self.spread) @ self.weight + self.bias
        if self.curved:
            bottom, span, centre, width = self.curve
            quality = bottom + span * torch.sigmoid((quality - centre) / width)
        return quality

    def set_curve(self, *, bottom: float, top: float, centre: float, width: float) -> None:
        """Put a logistic curve behind the line, from `bottom` to `top`, its middle at `centre`; it must rise.

        Raises:
            ModelError: it does not.
        """
        if not (top > bottom and width > 0):
            raise ModelError(f"a curve from {bottom} to {top} with width {width} does not rise")
        self.curve.copy_(torch.tensor([bottom, top - bottom, centre, width]))
        self.curved = True

    @torch.no_grad()
    def fit(
        self, features: Tensor, quality: Tensor, *, alpha: float, steps: Tensor | None = None, margin: float = 0.0
    ) -> None:
        """Centre and scale by these features, and take the ridge regression of quality on them.

        With `steps`, the predicted quality should also fall by at least `margin` along each of them: where it falls by
        less, the square of what is missing is added to the cost. This is a squared hinge, so the cost is convex, and
        Newton's method finds its minimum: solve, see which steps fall by too little, solve with these, and so on.

        Args:
            features: (M, F).
            quality: (M,) labels.
            alpha: the penalty, > 0.
            steps: (K, F) features of a picture minus features of a worse version of it.
            margin: >= 0.
        """
        self.center.copy_(features.mean(0))
        self.spread.copy_(features.std(0) + 1e-3)
        x = ((features - self.center) / self.spread).double()
        mean = quality.double().mean()
        labels = quality.double() - mean
        weight = _ridge(x, labels, alpha)
        if steps is not None:
            scaled = (steps / self.spread).double()
            active = torch.zeros(len(scaled), dtype=torch.bool)
            for _ in range(NEWTON_STEPS):
                before, active = active, scaled @ weight < margin
                if torch.equal(before, active):
                    break
                wanted = labels.new_full((int(active.sum()),), margin)
                weight = _ridge(torch.cat([x, scaled[active]]), torch.cat([labels, wanted]), alpha)
        self.weight.copy_(weight)
        self.bias.copy_(mean)


def _ridge(x: Tensor, y: Tensor, alpha: float) -> Tensor:
    """(F,) weights of the ridge regression without intercept; by the dual, as there are fewer rows than features."""
    gram = x @ x.T + alpha * torch.eye(len(x), dtype=x.dtype)
    weight: Tensor = x.T @ torch.linalg.solve(gram, y)
    return weight


class StageRegressor(nn.Module):
    """Quality of whole images from the statistics of all stages at full and half scale.

    Args:
        stages: see `cnn_stages`.
        frozen: how many of them, from the first, are never trained.
        mean: of red, green and blue that the stages expect, for pixels in [0, 1].
        std: deviations likewise.

    The head starts at zero; its `fit` gives it values.
    """

    deviation: Tensor
    offset: Tensor

    def __init__(
        self, stages: nn.ModuleList, *, frozen: int, mean: Sequence[float] = SIGNED, std: Sequence[float] = SIGNED
    ) -> None:
        super().__init__()
        if not 0 < frozen < len(stages):
            raise ModelError(f"frozen must leave a stage on each side, got {frozen} of {len(stages)}")
        deviation, offset = (torch.tensor(values).view(3, 1, 1) for values in (std, mean))
        self.register_buffer("deviation", 255 * deviation, persistent=False)
        self.register_buffer("offset", offset / deviation, persistent=False)
        self.frozen_stages, self.tuned_stages = nn.ModuleList(stages[:frozen]), nn.ModuleList(stages[frozen:])
        self.frozen_stages.requires_grad_(False)
        with torch.no_grad():
            size = self.features(*self.frozen_features(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))).shape[1]
        self.head = RidgeHead(size)

    @torch.no_grad()
    def round_weights(self) -> None:
        """Round the stages' weights to bfloat16, kept as float32: they were trained so, under autocast."""
        for parameter in (*self.frozen_stages.parameters(), *self.tuned_stages.parameters()):
            parameter.copy_(parameter.bfloat16())

    def frozen_features(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, H, W, 3) uint8 RGB -> what the frozen stages compute, which training cannot change.

        Returns:
            map at full scale (N, C, h, w), map at half scale (N, C, h / 2, w / 2), statistics of the frozen
            stages at both scales (N, F) float32. Half scale is the mean of 2 x 2 pixels.
        """
        pixels = image.permute(0, 3, 1, 2).float()
        full = (pixels / self.deviation - self.offset).contiguous(memory_format=torch.channels_last)
        maps, found = [], []
        for x in (full, functional.avg_pool2d(full, 2)):
            for stage in self.frozen_stages:
                x = stage(x)
                found.append(statistics(x))
            maps.append(x)
        return maps[0], maps[1], torch.cat(found, dim=1)

    def features(self, full: Tensor, half: Tensor, frozen: Tensor) -> Tensor:
        """(N, F') float32, what the head reads: statistics of all stages; arguments as `frozen_features` returns."""
        return self.with_embedding(full, half, frozen)[0]

    def with_embedding(self, full: Tensor, half: Tensor, frozen: Tensor) -> tuple[Tensor, Tensor]:
        """`features`, and (N, C), what stands for an image: the means of the last stage's map at full scale."""
        found = [frozen]
        for x in (full, half):
            for stage in self.tuned_stages:
                x = stage(x)
                found.append(statistics(x))
        last = found[len(self.tuned_stages)]
        return torch.cat(found, dim=1), last[:, : last.shape[1] // 2]

    def forward(self, image: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 RGB -> (N,) quality, about [0, 1], higher is better."""
        quality: Tensor = self.head(self.features(*self.frozen_features(image)))
        return quality
