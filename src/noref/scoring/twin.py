"""The differentiable twin of a model file: `load_torch` (extra `train`)."""

from __future__ import annotations

from pathlib import Path

from noref.card import Card, read_card, read_model
from noref.images import grid
from noref.scoring.network import locate
from noref.scoring.torch_graph import Graph, torch_graph  # first of those with torch: it names the extra

import torch  # isort: skip
from torch import Tensor, nn  # isort: skip

from noref.scoring.onnx_file import parse  # isort: skip


class TorchModel(nn.Module):
    """A model file as a differentiable module; `load_torch` makes it.

    Args:
        graph: from levels 0 to 255, (N, H, W, 3), to quality.
        card: the model's.
    """

    def __init__(self, graph: Graph, card: Card) -> None:
        super().__init__()
        self.graph, self.card = graph, card

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) RGB floats in [0, 1] -> (B,) quality, about [0, 1], higher is better, not clipped.

        Nothing is resized. For a model whose input is a crop, it is the mean over the crops that cover the image.
        Values outside [0, 1] are neither refused nor clipped: an optimiser's step may lead there.

        Raises:
            ValueError: another shape, whole numbers instead of floats, or smaller than the model's crop.
        """
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise ValueError(f"images must be (B, 3, H, W) floats in [0, 1], got {tuple(images.shape)} {images.dtype}")
        size = self.card.preprocessing.crop
        levels = (255 * images).to(next(self.graph.parameters(), images).dtype).permute(0, 2, 3, 1)
        if size is None:
            return self._quality(levels)
        corners = grid(levels.shape[1], levels.shape[2], size)
        crops = [levels[:, top : top + size, left : left + size] for top, left in corners]
        return torch.stack([self._quality(crop) for crop in crops]).mean(dim=0)

    def _quality(self, levels: Tensor) -> Tensor:
        quality: Tensor = self.graph(levels)[0]
        return quality


def load_torch(model: str | Path = "default") -> TorchModel:
    """A model as a differentiable torch module, made from the same file as `noref.Scorer` uses.

    It gives `Score.quality` of an image that has the model's size already (`noref.images.read` with the card's
    preprocessing), within 1e-4. Two differences: pixels are floats, not rounded to 8 bits, and where the network itself
    rounds, the gradient goes through as if it did not. The weights ask for no gradient. To move it, `.to(device)`;
    `.double()`, `.bfloat16()` and `torch.autocast` change the type that it computes in.

    Args:
        model: as for `noref.Scorer`.

    Raises:
        OptionError: there is no such model.
        ModelError: the file or its card is broken, or its graph has an operator that has no torch twin.

    Example:
        >>> import torch
        >>> images = torch.rand(2, 3, 96, 128, requires_grad=True)
        >>> quality = load_torch()(images)
        >>> quality.sum().backward()
        >>> quality.shape, images.grad.shape
        (torch.Size([2]), torch.Size([2, 3, 96, 128]))
    """
    path = locate(model)
    content = read_model(path)
    card = read_card(path, content)
    return TorchModel(torch_graph(parse(content, path), path, count=1), card).eval()
