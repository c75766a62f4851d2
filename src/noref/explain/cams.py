"""Grad-CAM of a score, through pytorch-grad-cam: which places of a layer's map lift a picture's score, which lower it.

The library hooks the layer, weighs its channels by the mean gradient and sums them; here the score is its target, and
the crops that a network judges are put back where they lie in the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from noref.errors import MissingExtraError, ModelError, OptionError
from noref.models.backbones import Cnn
from noref.models.vit import Vit

Plane = NDArray[np.float64]
LARGEST = 1024  # points along a map's longer side, at most
SHOWN = 60  # layers that a message names, at most


class Place(NamedTuple):
    """Where a crop lies in the picture, in pixels; it may reach over the borders, where it shows a continuation."""

    top: int
    left: int
    size: tuple[int, int]


def gradcam(model: nn.Module, crops: Tensor, layer: nn.Module, backbone: Cnn | Vit) -> NDArray[np.float64]:
    """Grad-CAM of each crop before its negative part is cut off: what lifts the score is positive.

    Args:
        model: (N, 3, S, S) -> (N,) or (1,) quality, higher is better, in evaluation mode.
        crops: float in [0, 1] or uint8.
        layer: inside `backbone`, one of `layers`.
        backbone: says how tokens become places.

    Returns:
        (N, h, w): sum over channels k of alpha_k A_k, alpha_k the mean gradient of the score over the layer's places.
        Its positive part is Grad-CAM with the score as target; the positive part of its negation is Grad-CAM with
        minus the score, as the gradient changes its sign and nothing else.

    Raises:
        OptionError: the score does not depend on the layer's places.
        MissingExtraError: grad-cam is not installed.

    Source:
        Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391, eq. 1 and 2. The ReLU is the caller's.
    """
    try:
        from pytorch_grad_cam import GradCAM
    except ImportError as error:
        raise MissingExtraError("explain", "Grad-CAM") from error
    places = Places(backbone, (crops.shape[2], crops.shape[3]))
    cam = GradCAM(model=model, target_layers=[layer], reshape_transform=places)
    hooks: Any = cam.activations_and_grads
    try:
        with torch.enable_grad():
            quality = hooks(crops)
            quality.sum().backward()
        if len(hooks.gradients) != 1 or not hooks.gradients[0].any():
            raise OptionError("the score does not depend on the places of this layer: choose another one")
        activations, gradients = (found[0].float().numpy() for found in (hooks.activations, hooks.gradients))
        image: NDArray[np.float32] = cam.get_cam_image(crops, layer, [], activations, gradients)
    finally:
        hooks.release()
        model.zero_grad(set_to_none=True)
    return image.astype(np.float64)


class Places:
    """A layer's output as (N, channels, rows, columns): the `reshape_transform` of pytorch-grad-cam.

    Args:
        backbone: a transformer's tokens lie row by row behind its class token; a CNN may put channels last.
        size: of its input.

    Raises:
        ValueError: when called with an output that has no places.
    """

    def __init__(self, backbone: Cnn | Vit, size: tuple[int, int]) -> None:
        self.last = getattr(backbone.net, "output_fmt", "NCHW") == "NHWC"
        self.prefix, self.grid, self.extra = 0, (0, 0), 0
        if isinstance(backbone, Vit):
            patch = backbone.net.patch_embed.patch_size
            self.prefix, self.grid = backbone.net.num_prefix_tokens, (size[0] // patch[0], size[1] // patch[1])
            self.extra = int(backbone.mask is not None)

    def __call__(self, output: Tensor) -> Tensor:
        """(N, T, D), (N, H, W, C) or (N, C, H, W) -> (N, C, H, W)."""
        if output.ndim == 4 and not self.grid[0]:
            return output.permute(0, 3, 1, 2) if self.last else output
        count = self.grid[0] * self.grid[1]
        if (
            output.ndim == 3
            and count
            and output.shape[1] in (count, self.prefix + count, self.prefix + count + self.extra)
        ):
            skip = 0 if output.shape[1] == count else self.prefix
            rows = output[:, skip : skip + count].transpose(1, 2)
            return rows.reshape(*rows.shape[:2], *self.grid)
        raise ValueError(f"an output of {tuple(output.shape)} has no places")


def layers(model: nn.Module, backbone: Cnn | Vit, crops: Tensor) -> dict[str, nn.Module]:
    """The layers that Grad-CAM can look at, in the order in which the network runs them.

    Args:
        model: as for `gradcam`.
        backbone: in it.
        crops: any of the right size.

    Returns:
        The backbone's own names, such as "blocks.6" -> module, where the output is one map of more than one place.
    """
    found: dict[str, nn.Module] = {}
    counts: dict[str, int] = {}
    places = Places(backbone, (crops.shape[2], crops.shape[3]))

    def watch(name: str, module: nn.Module) -> Any:
        def keep(_module: nn.Module, _given: Any, output: Any) -> None:
            if not isinstance(output, Tensor):
                return
            try:
                rows, columns = places(output).shape[2:]
            except ValueError:
                return
            counts[name] = counts.get(name, 0) + 1
            if rows * columns > 1:
                found.pop(name, None)
                found[name] = module

        return module.register_forward_hook(keep)

    handles = [watch(name, module) for name, module in backbone.net.named_modules() if name]
    try:
        with torch.no_grad():
            model(crops)
    finally:
        for handle in handles:
            handle.remove()
    return {name: module for name, module in found.items() if counts[name] == 1}


def choose(found: dict[str, nn.Module], backbone: Cnn | Vit, name: str | None, model: str) -> tuple[str, nn.Module]:
    """The layer by name, or the usual one: a CNN's last map; a transformer's last block as its attention reads it.

    Raises:
        OptionError: no such layer; the possible ones are listed.
        ModelError: the network has no layer with places.
    """
    if not found:
        raise ModelError(f"{model}: no layer of its backbone has places")
    if name is None:
        norms = [one for one in found if one.endswith(".norm1") and isinstance(backbone, Vit)]
        name = norms[-1] if norms else list(found)[-1]
    if name not in found:
        depth = next(n for n in (1, 2, 3) if any(one.count(".") < n for one in found))
        while depth < 4 and sum(one.count(".") <= depth for one in found) <= SHOWN:
            depth += 1
        shown = [one for one in found if one.count(".") < depth]
        more = f"; {len(found) - len(shown)} more are inside of these" if len(shown) < len(found) else ""
        raise OptionError(f"{model} has no layer {name!r}: possible are {', '.join(shown)}{more}")
    return name, found[name]


def stitch(cams: Plane, places: Sequence[Place], height: int, width: int) -> Plane:
    """Maps of crops -> one map of the picture: at each point the mean of the crops that show it, faded at their edges.

    Args:
        cams: (N, h, w).
        places: where each crop lies; together they cover the picture.
        height: of the picture.
        width: of the picture.

    Returns:
        One value a pixel, or 1024 points along the longer side of a larger picture.
    """
    scale = min(1.0, LARGEST / max(height, width))
    rows, columns = (np.arange(round(side * scale)) + 0.5 for side in (height, width))
    total, weight = np.zeros((len(rows), len(columns))), np.zeros((len(rows), len(columns)))
    for cam, place in zip(cams, places, strict=True):
        insides = [
            (points / scale - begin) / size
            for points, begin, size in ((rows, place.top, place.size[0]), (columns, place.left, place.size[1]))
        ]
        kept = [np.flatnonzero((inside > 0) & (inside < 1)) for inside in insides]
        down, across = (_bilinear(inside[keep], n) for inside, keep, n in zip(insides, kept, cam.shape, strict=True))
        fade = np.outer(*(np.sin(np.pi * inside[keep]) ** 2 for inside, keep in zip(insides, kept, strict=True)))
        total[np.ix_(*kept)] += fade * (down @ cam @ across.T)
        weight[np.ix_(*kept)] += fade
    return total / weight


def _bilinear(inside: Plane, cells: int) -> Plane:
    """(points, cells): how much each cell counts at points given as shares of the side, border cells continued."""
    position = (inside * cells - 0.5).clip(0, cells - 1)
    return np.maximum(0.0, 1.0 - np.abs(position[:, None] - np.arange(cells)[None, :]))
