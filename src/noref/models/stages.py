"""The embedded model's network: statistics of every stage of a small CNN, at full and half scale, and one linear layer.

A stage is a run of blocks at one width. Its statistics are the mean and the standard deviation of each channel
over the whole image, so an image of any size gives the same number of features. The first stages stay as
ImageNet left them (*frozen*): their maps can be computed once and kept. The rest is tuned.
"""

from __future__ import annotations

from typing import Any

import timm
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from noref.errors import ModelError

EPSILON = 1e-5
NEWTON_STEPS = 20  # a handful is enough


class FoldedConv(nn.Module):
    """A convolution with its batch norm folded into weight and bias, then ReLU6 or nothing.

    Stride 2 pads one row below and one column to the right (TensorFlow's "same" for even sides, whatever the side).

    Args:
        conv: a timm convolution, depthwise or dense, kernel 1 or 3, stride 1 or 2.
        norm: the batch norm behind it; its running statistics are taken as they are.
        activate: ReLU6 behind it.
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d, activate: bool) -> None:
        super().__init__()
        if norm.running_mean is None or norm.running_var is None:
            raise ModelError("a batch norm without running statistics cannot be folded")
        gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        weight = (conv.weight * gain.view(-1, 1, 1, 1)).detach()
        self.weight = nn.Parameter(weight.clone(memory_format=torch.channels_last))
        self.bias = nn.Parameter((norm.bias - norm.running_mean * gain).detach().clone())
        self.stride, self.kernel, self.groups, self.activate = (
            conv.stride[0],
            conv.kernel_size[0],
            conv.groups,
            activate,
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H', W'), H' = H at stride 1 and H // 2 at stride 2."""
        around = (self.kernel - 1) // 2
        if self.stride == 1:
            y = functional.conv2d(x, self.weight, self.bias, 1, around, 1, self.groups)
        elif self.groups > 1 and torch.is_autocast_enabled("cpu"):
            # the CPU's bfloat16 gradient of a strided depthwise convolution is 15 times slower than this detour
            y = functional.conv2d(x, self.weight, self.bias, 1, around, 1, self.groups)[:, :, 1::2, 1::2]
        else:
            y = functional.conv2d(functional.pad(x, (0, 1, 0, 1)), self.weight, self.bias, 2, 0, 1, self.groups)
        return functional.relu6(y) if self.activate else y


class FoldedBlock(nn.Module):
    """A depthwise-separable or inverted-residual block of `FoldedConv`s, with its skip connection where it has one."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        names = [("conv_dw", "bn1"), ("conv_pw", "bn2")]
        if hasattr(block, "conv_pwl"):
            names = [("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")]
        last = len(names) - 1
        self.layers = nn.Sequential(
            *(FoldedConv(getattr(block, c), getattr(block, n), i < last) for i, (c, n) in enumerate(names))
        )
        self.skip = bool(block.has_skip)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H', W')."""
        y: Tensor = self.layers(x)
        return x + y if self.skip else y


def mobilenet_stages(state: dict[str, Tensor] | None = None, *, name: str = "mobilenetv2_100") -> nn.ModuleList:
    """The nine stages of a MobileNetV2: stem, seven runs of blocks, the 1 x 1 head convolution.

    Args:
        state: timm's state dictionary with TensorFlow padding (input in [-1, 1]); None: random weights.
        name: timm's name of a MobileNetV2.

    Raises:
        ModelError: `state` does not fit the network.
    """
    classes = len(state["classifier.weight"]) if state and "classifier.weight" in state else 1000
    network: Any = timm.create_model(name, pretrained=False, pad_type="same", num_classes=classes).eval()
    if state is not None:
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise ModelError(f"these weights are not those of {name}: {error}") from error
    blocks = [nn.Sequential(*(FoldedBlock(block) for block in run)) for run in network.blocks]
    stem = FoldedConv(network.conv_stem, network.bn1, True)
    return nn.ModuleList([stem, *blocks, FoldedConv(network.conv_head, network.bn2, True)])


def statistics(x: Tensor) -> Tensor:
    """Mean and standard deviation of each channel over the image.

    Args:
        x: (N, C, H, W), any float type.

    Returns:
        (N, 2C) float32: C means, then C deviations (population; sqrt(variance + 1e-5), so never 0).
    """
    flat = x.flatten(2).float()
    mean = flat.mean(2)
    variance = (flat - mean[:, :, None]).square().mean(2)
    return torch.cat([mean, (variance + EPSILON).sqrt()], dim=1)


class RidgeHead(nn.Module):
    """A linear layer on features that are centred and scaled; ridge regression gives it its values.

    Behind it, once `bend` was called, a logistic curve: people's ratings bunch at the good end of their scale and
    thin out at the bad one, and a line cannot follow. The curve rises, so ranks stay as they are.

    Args:
        size: F, the number of features.
    """

    center: Tensor
    spread: Tensor
    curve: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(size))
        self.register_buffer("spread", torch.ones(size))
        self.register_buffer("curve", torch.tensor([0.0, 1.0, 0.5, 0.25]), persistent=False)  # only in what is exported
        self.bent = False
        self.weight, self.bias = nn.Parameter(torch.zeros(size)), nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        """(N, F) features -> (N,) quality, about [0, 1], higher is better."""
        line: Tensor = ((features - self.center) / self.spread) @ self.weight + self.bias
        if not self.bent:
            return line
        bottom, span, centre, width = self.curve
        bent: Tensor = bottom + span * torch.sigmoid((line - centre) / width)
        return bent

    def bend(self, *, bottom: float, top: float, centre: float, width: float) -> None:
        """Put a logistic curve behind the line: from `bottom` to `top`, half-way at `centre`.

        Raises:
            ModelError: the curve does not rise.
        """
        if not (top > bottom and width > 0):
            raise ModelError(f"a curve from {bottom} to {top} with width {width} does not rise")
        self.curve.copy_(torch.tensor([bottom, top - bottom, centre, width]))
        self.bent = True

    @torch.no_grad()
    def fit(
        self, features: Tensor, quality: Tensor, *, alpha: float, drops: Tensor | None = None, margin: float = 0.0
    ) -> None:
        """Centre and scale by these features, and take the ridge regression of quality on them.

        With `drops`, quality must also fall by `margin` along each of those differences: what is missing is
        penalised by its square. The minimum of this convex sum is found by solving for the drops that are too
        small, looking which are too small then, and so on (Newton's method on a squared hinge).

        Args:
            features: (M, F).
            quality: (M,) labels.
            alpha: the penalty, > 0.
            drops: (K, F) features of a picture minus features of a worse version of it; None: none.
            margin: by which quality must fall, >= 0.
        """
        self.center.copy_(features.mean(0))
        self.spread.copy_(features.std(0) + 1e-3)
        x = ((features - self.center) / self.spread).double()
        mean = quality.double().mean()
        rows, wanted = x, quality.double() - mean
        weight = _ridge(rows, wanted, alpha)
        if drops is not None:
            steps = (drops / self.spread).double()
            short = torch.zeros(len(steps), dtype=torch.bool)
            for _ in range(NEWTON_STEPS):
                before, short = short, steps @ weight < margin
                if torch.equal(before, short):
                    break
                asked = torch.full((int(short.sum()),), margin, dtype=torch.float64)
                weight = _ridge(torch.cat([rows, steps[short]]), torch.cat([wanted, asked]), alpha)
        self.weight.copy_(weight)
        self.bias.copy_(mean)


def _ridge(x: Tensor, wanted: Tensor, alpha: float) -> Tensor:
    """(F,) weights of the ridge regression without intercept; in the dual, for there are fewer rows than features."""
    gram = x @ x.T + alpha * torch.eye(len(x), dtype=x.dtype)
    weight: Tensor = x.T @ torch.linalg.solve(gram, wanted)
    return weight


class StageRegressor(nn.Module):
    """Quality of whole images from the statistics of all stages at full and half scale.

    Args:
        stages: see `mobilenet_stages`; each maps (N, C, H, W) to (N, C', H', W').
        frozen: how many of them, from the first, are never trained.

    The head starts at zero; its `fit` gives it values.
    """

    def __init__(self, stages: nn.ModuleList, *, frozen: int) -> None:
        super().__init__()
        if not 0 < frozen < len(stages):
            raise ModelError(f"frozen must leave a stage on each side, got {frozen} of {len(stages)}")
        self.cold, self.warm = nn.ModuleList(stages[:frozen]), nn.ModuleList(stages[frozen:])
        self.cold.requires_grad_(False)
        with torch.no_grad():
            size = self.features(*self.chill(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))).shape[1]
        self.head = RidgeHead(size)

    @torch.no_grad()
    def round_weights(self) -> None:
        """Round the stages' weights to bfloat16, kept as float32.

        Autocast rounds them in every step of training, so the stages have learnt to work with rounded weights;
        in float32 the model must have the same ones. Unlike the rounding of activations this is no noise.
        """
        for parameter in (*self.cold.parameters(), *self.warm.parameters()):
            parameter.copy_(parameter.bfloat16())

    def chill(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The frozen part: everything about an image that training cannot change.

        Args:
            image: (N, H, W, 3) uint8 RGB.

        Returns:
            map at full scale (N, C, h, w), map at half scale (N, C, h / 2, w / 2), statistics of the frozen
            stages at both scales (N, F) float32. Half scale is the mean of 2 x 2 pixels.
        """
        full = (image.permute(0, 3, 1, 2).float() / 127.5 - 1.0).contiguous(memory_format=torch.channels_last)
        maps, found = [], []
        for x in (full, functional.avg_pool2d(full, 2)):
            for stage in self.cold:
                x = stage(x)
                found.append(statistics(x))
            maps.append(x)
        return maps[0], maps[1], torch.cat(found, dim=1)

    def features(self, full: Tensor, half: Tensor, cold: Tensor) -> Tensor:
        """The tuned part's statistics behind the frozen ones: (N, F') float32; arguments as `chill` returns them."""
        return self.with_embedding(full, half, cold)[0]

    def with_embedding(self, full: Tensor, half: Tensor, cold: Tensor) -> tuple[Tensor, Tensor]:
        """`features`, and of them (N, C), what stands for an image: the means of the last stage's map at full scale."""
        found = [cold]
        for x in (full, half):
            for stage in self.warm:
                x = stage(x)
                found.append(statistics(x))
        last = found[len(self.warm)]
        return torch.cat(found, dim=1), last[:, : last.shape[1] // 2]

    def forward(self, image: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 RGB -> (N,) quality, about [0, 1], higher is better."""
        quality: Tensor = self.head(self.features(*self.chill(image)))
        return quality
