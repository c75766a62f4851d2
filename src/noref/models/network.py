"""Pixels to quality: normalisation, backbone and head as one network, built from a few numbers that a file can hold."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from torch import Tensor, nn

from noref.card import Card
from noref.errors import unknown
from noref.models import weights as files
from noref.models.backbones import Backbone, build_backbone, freeze_batch_norm
from noref.models.features import Embedding, Features, Normalize
from noref.models.fused import fuse_frozen_norms
from noref.models.heads import HEADS, Head
from noref.models.plan import Plan as Plan

SMALL_WIDTH = 192


class QualityNet(nn.Module):
    """Normalisation, backbone and head, and the plan that `build` made them from."""

    def __init__(self, normalize: Normalize, backbone: Backbone, head: Head, plan: Plan) -> None:
        super().__init__()
        self.normalize, self.backbone, self.head, self.plan = normalize, backbone, head, plan

    @property
    def whole(self) -> QualityNet:
        """Itself; of a `TailNet` the network that it is the tail of."""
        return self

    def forward(
        self, images: Tensor, *, features: bool = False, layers: Embedding | None = None
    ) -> Tensor | tuple[Tensor, Features]:
        """(B, 3, H, W) RGB, uint8 or float in [0, 1] -> (B,) quality in about [0, 1], higher is better.

        With `features`, also what `features` gives: one pass for losses on both. (Fabric gives its precision and its
        processes to `forward` alone.)
        """
        found = self.features(images, layers=layers)
        scores: Tensor = self.head(found)
        return (scores, found) if features else scores

    def features(self, images: Tensor, *, layers: Embedding | None = None) -> Features:
        """(B, 3, H, W) RGB -> the backbone's features, with an embedding for each of its layers if asked."""
        features: Features = self.backbone(self.normalize(images), layers=layers)
        return features

    def attention(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) quality and (B, rows, columns), the head's attention map; errors as `Head.attention`."""
        return self.head.attention(self.features(images))

    def class_attention(self, images: Tensor, *, blocks: int = 3) -> tuple[Features, Tensor]:
        """See `Vit.class_attention`."""
        return self.backbone.class_attention(self.normalize(images), blocks=blocks)


class FromBytes(nn.Module):
    """A network that takes (B, 3, H, W), for `export_onnx` and the scorer, whose images are (B, H, W, 3) uint8."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 RGB -> (B,) float32 quality."""
        scores: Tensor = self.network(images.permute(0, 3, 1, 2))
        return scores


def build(plan: Plan, *, weights: str = "timm") -> QualityNet:
    """A network from its plan. Every batch norm stays in evaluation mode; the head starts random (torch's generator).

    `weights` are those of the backbone; errors as `noref.models.backbones.load_backbone`.

    Raises:
        OptionError: also a head that does not exist, or that does not go with the backbone.
    """
    if plan.head not in HEADS:
        raise unknown("head", plan.head, HEADS)
    normalize, backbone, plan = build_backbone(plan, weights=weights)
    if plan.mask is not None:
        backbone.add_quality_token(plan.mask, plan.mask_from)
    plan = dataclasses.replace(plan, width=plan.width or (backbone.width if backbone.normalised else SMALL_WIDTH))
    network = QualityNet(normalize, backbone, HEADS[plan.head](plan, backbone), plan)
    freeze_batch_norm(network)
    return network.to(memory_format=torch.channels_last)


def fuse(network: QualityNet, crop: int) -> None:
    """Let a network's frozen batch norms run inside its convolutions, if that changes nothing on crops of that side."""
    noise = torch.randn(1, 3, crop, crop, generator=torch.Generator().manual_seed(0))
    fuse_frozen_norms(network.backbone.net, noise.to(next(network.parameters()).device))


def save(network: QualityNet, path: Path, card: Card) -> Card:
    """Write a network to a safetensors file with its plan inside and its card beside it; the card as written."""
    return files.save(network, path, card, network=dataclasses.asdict(network.plan))


def load(path: Path) -> tuple[QualityNet, Card]:
    """A network that `save` wrote, in evaluation mode, and its card; errors as `noref.models.weights.load`."""
    called = "network that gives a score"
    return files.load(path, lambda plan: build(Plan(**plan), weights="none"), kind=None, called=called)
