"""A network cut behind its frozen stages: what they give for an image never changes, and can be cached."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from noref.errors import OptionError
from noref.models.features import Embedding, Features
from noref.models.network import QualityNet

TOLERANCE = 1e-4  # of the largest value


class TailNet(nn.Module):
    """The trainable part of a network: it takes the output of the frozen stages (`frozen_features`), not images.

    Args:
        whole: the network.
        stages: how many of its stages are frozen; 1 is the stem, as `noref.models.backbones.freeze_stages` counts.

    Raises:
        OptionError: a network without a stage boundary there.
    """

    def __init__(self, whole: QualityNet, stages: int) -> None:
        super().__init__()
        self.whole, self.stages = whole, stages
        last = whole.backbone.stage_count - 1
        if not 0 < stages <= last:
            raise OptionError(f"{whole.plan.backbone} can be cut behind 1 to {last} stages, not {stages}")
        with torch.no_grad():
            side = whole.backbone.side_to_try
            images = torch.rand(1, 3, side, side, device=next(whole.parameters()).device)
            training = whole.training
            whole.eval()  # a quality token's mask is drawn in training
            expected, found = whole.features(images).tokens, self.features(self.frozen_features(images)).tokens
            whole.train(training)
        if float((expected - found).abs().max()) > TOLERANCE * float(expected.abs().max()):
            raise OptionError(f"{whole.plan.backbone}: its stages are not run one after the other: it cannot be cut")

    @torch.no_grad()
    def frozen_features(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) RGB, uint8 or float in [0, 1] -> (B, C, h, w) maps of a CNN, (B, T, D) tokens of a ViT."""
        return self.whole.backbone.first_stages(self.whole.normalize(images), self.stages)

    def forward(
        self, frozen: Tensor, *, features: bool = False, layers: Embedding | None = None
    ) -> Tensor | tuple[Tensor, Features]:
        """As `QualityNet.forward`, from frozen features."""
        found = self.features(frozen, layers=layers)
        scores: Tensor = self.whole.head(found)
        return (scores, found) if features else scores

    def features(self, frozen: Tensor, *, layers: Embedding | None = None) -> Features:
        """As `QualityNet.features`, from frozen features; of `layers`, those behind the cut."""
        found: Features = self.whole.backbone(self._in_precision(frozen), layers=layers, stages=self.stages)
        return found

    def class_attention(self, frozen: Tensor, *, blocks: int = 3) -> tuple[Features, Tensor]:
        """As `Vit.class_attention`, from frozen features; the blocks must lie behind the cut."""
        return self.whole.backbone.class_attention(self._in_precision(frozen), blocks=blocks, stages=self.stages)

    def _in_precision(self, frozen: Tensor) -> Tensor:
        """A cache keeps half precision."""
        return frozen.to(next(self.whole.parameters()).dtype)
