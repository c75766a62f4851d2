"""A network cut behind its frozen stages: what they make of an image never changes, and can be kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from noref.errors import OptionError
from noref.models.backbones import stage_at
from noref.models.features import Embedding, Features, of_maps
from noref.models.network import QualityNet
from noref.models.vit import Vit

Part = Callable[[Tensor], Tensor]
TOLERANCE = 1e-4  # of the largest value


class TailNet(nn.Module):
    """A network that is trained on the maps behind its first stages instead of on images.

    Args:
        whole: its first `stages` do not learn.
        stages: how many; 1 is the stem, as `noref.models.backbones.freeze_stages` counts.
        side: of images to try the cut on.

    Raises:
        OptionError: a network that cannot be cut there.
    """

    def __init__(self, whole: QualityNet, stages: int, *, side: int = 64) -> None:
        super().__init__()
        self.whole, self.stages = whole, stages
        parts = _parts(whole)
        if not 0 < stages < len(parts):
            raise OptionError(f"{whole.plan.backbone} can be cut behind 1 to {len(parts) - 1} stages, not {stages}")
        with torch.no_grad():
            images = torch.rand(1, 3, side, side, device=next(whole.parameters()).device)
            expected, found = whole.features(images).tokens, self.with_features(self.frozen_features(images))[1].tokens
        if float((expected - found).abs().max()) > TOLERANCE * float(expected.abs().max()):
            raise OptionError(f"{whole.plan.backbone}: its stages are not run one after the other: it cannot be cut")

    @torch.no_grad()
    def frozen_features(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) RGB, uint8 or float in [0, 1] -> (B, C, h, w), what the first stages make of them."""
        x: Tensor = self.whole.normalize(images).contiguous(memory_format=torch.channels_last)
        for part in _parts(self.whole)[: self.stages]:
            x = part(x)
        return x

    def forward(
        self, maps: Tensor, *, features: bool = False, layers: Embedding | None = None
    ) -> Tensor | tuple[Tensor, Features]:
        """(B, C, h, w) of `frozen_features` -> (B,) quality, higher is better; with `features` as `QualityNet`."""
        scores, seen = self.with_features(maps, layers=layers)
        return (scores, seen) if features else scores

    def with_features(self, maps: Tensor, *, layers: Embedding | None = None) -> tuple[Tensor, Features]:
        """(B,) quality, and the features that it came from."""
        features = self.features(maps, layers=layers)
        return self.whole.head(features), features

    def features(self, maps: Tensor, *, layers: Embedding | None = None) -> Features:
        """(B, C, h, w) as `frozen_features` gives them -> what the backbone sees in them.

        Args:
            maps: see above.
            layers: also give an embedding for each layer that `Cnn` gives one for. Layers before the cut are left out;
                one at the cut is given, though nothing learns from it.
        """
        parts, asked = _parts(self.whole), _layers(self.whole) if layers else ()
        x = maps.to(next(self.whole.parameters()).dtype).contiguous(memory_format=torch.channels_last)
        seen = [x] if self.stages - 1 in asked else []
        for place, part in enumerate(parts[self.stages :], start=self.stages):
            x = part(x)
            if place in asked:
                seen.append(x)
        return of_maps(x, seen, layers)

    def attention(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) quality and (B, rows, columns), where the panel looked; see `Head.attention`."""
        return self.whole.head.attention(self.features(maps))


def _layers(whole: QualityNet) -> tuple[int, ...]:
    """Which of `_parts` end at the strides that `Cnn` gives embeddings for, before the last one."""
    net: Any = whole.backbone.net
    places = [stage_at(net, stride) for stride in (8, 16)]
    names = [net.feature_info[place]["module"] for place in places if place is not None]
    return tuple(
        1 + int(name.removeprefix("blocks.")) if name.startswith("blocks") else int(name[-1]) for name in names
    )


def _parts(whole: QualityNet) -> list[Part]:
    """The stages of timm's EfficientNet family (MobileNets too) or ResNets, one after the other."""
    net: Any = whole.backbone.net
    if not isinstance(whole.backbone, Vit):
        if all(hasattr(net, name) for name in ("conv_stem", "bn1", "blocks", "conv_head", "bn2")):
            stem: Part = lambda x: net.bn1(net.conv_stem(x))  # noqa: E731
            *blocks, last = net.blocks
            return [stem, *blocks, lambda x: net.bn2(net.conv_head(last(x)))]
        if all(hasattr(net, name) for name in ("conv1", "bn1", "act1", "maxpool", "layer1", "layer4")):
            first: Part = lambda x: net.maxpool(net.act1(net.bn1(net.conv1(x))))  # noqa: E731
            return [first, net.layer1, net.layer2, net.layer3, net.layer4]
    raise OptionError(f"{whole.plan.backbone} cannot be cut: only networks of the EfficientNet family and ResNets can")
