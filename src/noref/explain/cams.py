"""Grad-CAM of a score, crop by crop, through pytorch-grad-cam: what in a photo lifts its score, what lowers it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from noref.errors import MissingExtraError, ModelError, OptionError
from noref.explain.local import LARGEST, fading
from noref.explain.map_types import Plane
from noref.models.backbones import Cnn
from noref.models.vit import Vit

SHOWN = 60  # layers that a message names, at most


class CropBox(NamedTuple):
    """Where a crop lies in the photo, in pixels; it may reach over the borders, where it shows padding."""

    top: int
    left: int
    size: tuple[int, int]


def gradcam(model: nn.Module, crops: Tensor, layer: nn.Module, backbone: Cnn | Vit) -> NDArray[np.float64]:
    """Grad-CAM of each crop before its negative part is cut off: what lifts the score is positive.

    Args:
        model: (N, 3, S, S) -> (N,) or (1,) quality, higher is better, in evaluation mode.
        crops: float in [0, 1] or uint8.
        layer: inside `backbone`, one of `find_layers`.

    Returns:
        (N, h, w): sum over channels k of alpha_k A_k, alpha_k the mean gradient of the score over the layer's map.
        Its positive part is Grad-CAM with the score as target, the positive part of its negation with minus the score.

    Raises:
        OptionError: the score does not depend on the layer's map.
        MissingExtraError: grad-cam is not installed.

    Source:
        Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391, eq. 1 and 2. The ReLU is the caller's.
    """
    try:
        from pytorch_grad_cam import GradCAM
    except ImportError as error:
        raise MissingExtraError("explain", "Grad-CAM") from error
    transform = ReshapeTransform(backbone, (crops.shape[2], crops.shape[3]))
    cam = GradCAM(model=model, target_layers=[layer], reshape_transform=transform)
    hooks: Any = cam.activations_and_grads
    try:
        with torch.enable_grad():
            quality = hooks(crops)
            quality.sum().backward()
        if len(hooks.gradients) != 1 or not hooks.gradients[0].any():
            raise OptionError("the score does not depend on the output of this layer: choose another one")
        activations, gradients = (found[0].float().numpy() for found in (hooks.activations, hooks.gradients))
        image: NDArray[np.float32] = cam.get_cam_image(crops, layer, [], activations, gradients)
    finally:
        hooks.release()
        model.zero_grad(set_to_none=True)
    return image.astype(np.float64)


class ReshapeTransform:
    """A layer's output as (N, channels, rows, columns): the `reshape_transform` of pytorch-grad-cam.

    Args:
        backbone: a transformer's tokens lie row by row behind its class token; a CNN may put channels last.
        size: height and width of its input.
    """

    def __init__(self, backbone: Cnn | Vit, size: tuple[int, int]) -> None:
        self.channels_last = getattr(backbone.net, "output_fmt", "NCHW") == "NHWC"
        self.prefix, self.grid, self.lengths = 0, (0, 0), list[int]()
        if isinstance(backbone, Vit):
            rows, columns = backbone.net.patch_embed.patch_size
            self.prefix, self.grid = backbone.net.num_prefix_tokens, (size[0] // rows, size[1] // columns)
            patches = self.grid[0] * self.grid[1]
            quality_token = int(getattr(backbone, "mask", None) is not None)
            self.lengths = [patches, self.prefix + patches, self.prefix + patches + quality_token]

    def __call__(self, output: Any) -> Tensor:
        """(N, T, D), (N, H, W, C) or (N, C, H, W) -> (N, C, H, W); ValueError where an output is not spatial."""
        if not isinstance(output, Tensor):
            raise ValueError(f"an output of type {type(output).__name__} is not spatial")
        if output.ndim == 4 and not self.lengths:
            return output.permute(0, 3, 1, 2) if self.channels_last else output
        if output.ndim == 3 and output.shape[1] in self.lengths:
            first = 0 if output.shape[1] == self.lengths[0] else self.prefix
            tokens = output[:, first : first + self.lengths[0]].transpose(1, 2)
            return tokens.reshape(*tokens.shape[:2], *self.grid)
        raise ValueError(f"an output of {tuple(output.shape)} is not spatial")


def find_layers(model: nn.Module, backbone: Cnn | Vit, crops: Tensor) -> dict[str, nn.Module]:
    """The layers that Grad-CAM can use: those whose output is one map of more than one point. Arguments as `gradcam`.

    The backbone's own names, such as "blocks.6" -> module, in the order in which the network runs them.
    """
    found: dict[str, nn.Module] = {}
    counts = Counter[str]()
    transform = ReshapeTransform(backbone, (crops.shape[2], crops.shape[3]))
    names = {module: name for name, module in backbone.net.named_modules() if name}

    def keep(module: nn.Module, _given: Any, output: Any) -> None:
        with suppress(ValueError):
            points = transform(output)[0, 0].numel()
            counts[names[module]] += 1
            if points > 1:
                found[names[module]] = module

    handles = [module.register_forward_hook(keep) for module in names]
    try:
        with torch.no_grad():
            model(crops)
    finally:
        for handle in handles:
            handle.remove()
    return {name: module for name, module in found.items() if counts[name] == 1}


def choose_layer(
    found: dict[str, nn.Module], backbone: Cnn | Vit, name: str | None, model: str
) -> tuple[str, nn.Module]:
    """The layer by name, or the usual one: a CNN's last map; a transformer's last block as its attention reads it.

    Raises:
        OptionError: no such layer; the possible ones are listed.
        ModelError: the network has no layer with a spatial output.
    """
    if not found:
        raise ModelError(f"{model}: no layer of its backbone has a spatial output")
    if name is None:
        norms = [one for one in found if one.endswith(".norm1")] if isinstance(backbone, Vit) else []
        name = norms[-1] if norms else list(found)[-1]
    if name not in found:
        depth = next(n for n in (1, 2, 3) if any(one.count(".") < n for one in found))
        while depth < 4 and sum(one.count(".") <= depth for one in found) <= SHOWN:
            depth += 1
        shown = [one for one in found if one.count(".") < depth]
        more = f"; {len(found) - len(shown)} more are inside of these" if len(shown) < len(found) else ""
        raise OptionError(f"{model} has no layer {name!r}: possible are {', '.join(shown)}{more}")
    return name, found[name]


def stitch(cams: Plane, boxes: Sequence[CropBox], height: int, width: int) -> Plane:
    """Maps of crops -> one map of the photo: at each point the mean of the crops that show it, faded at their edges.

    Args:
        cams: (N, h, w).
        boxes: where each crop lies. A point that none of them shows has no part in the score and is 0.
        height, width: of the photo, in pixels.

    Returns:
        One value a pixel, or 1024 points along the longer side of a larger photo.
    """
    scale = min(1.0, LARGEST / max(height, width))
    rows, columns = ((np.arange(round(side * scale)) + 0.5) / scale for side in (height, width))
    total = weight = np.zeros((len(rows), len(columns)))
    for cam, box in zip(cams, boxes, strict=True):
        down, across = (rows - box.top) / box.size[0], (columns - box.left) / box.size[1]
        fade = np.outer(fading(down), fading(across))
        total = total + fade * (_bilinear(down, cam.shape[0]) @ cam @ _bilinear(across, cam.shape[1]).T)
        weight = weight + fade
    return np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)


def _bilinear(inside: Plane, cells: int) -> Plane:
    """(points, cells): the weight of each cell at points given as shares of the side, border cells continued."""
    position = (inside * cells - 0.5).clip(0, cells - 1)
    return np.maximum(0.0, 1.0 - np.abs(position[:, None] - np.arange(cells)[None, :]))
