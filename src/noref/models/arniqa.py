"""ARNIQA's network: an encoder whose features have length 1, and the projector that pre-training adds."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from noref.card import Card
from noref.models import weights as files
from noref.models.backbones import Backbone, build_backbone, freeze_batch_norm
from noref.models.features import Normalize
from noref.models.fused import fuse_frozen_norms
from noref.models.plan import EncoderPlan as EncoderPlan

KIND = files.ENCODER


class Encoder(nn.Module):
    """Normalisation and backbone: the backbone's pooled feature, brought to length 1; built by `build_encoder`."""

    def __init__(self, normalize: Normalize, backbone: Backbone, plan: EncoderPlan) -> None:
        super().__init__()
        self.normalize, self.backbone, self.plan = normalize, backbone, plan
        self.width = backbone.width

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) RGB, uint8 or float in [0, 1] -> (B, D) of length 1."""
        pixels = self.normalize(images).contiguous(memory_format=torch.channels_last)
        return functional.normalize(self.backbone(pixels).pooled.float())


class EncoderWithProjector(nn.Module):
    """What is pre-trained: the encoder and a projector, which is left out afterwards.

    Args:
        encoder: D wide.
        hidden: width of the projector's hidden layer; None: D.
        width: of its output.
    """

    def __init__(self, encoder: Encoder, *, hidden: int | None = None, width: int = 128) -> None:
        super().__init__()
        between = hidden or encoder.width
        self.encoder = encoder
        self.projector = nn.Sequential(nn.Linear(encoder.width, between), nn.ReLU(), nn.Linear(between, width))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) RGB -> (B, width) embeddings, not normalised (eq. 2; length 1 first as in the released code)."""
        embedded: Tensor = self.projector(self.encoder(images))
        return embedded


def build_encoder(plan: EncoderPlan, *, weights: str = "timm") -> Encoder:
    """An encoder from its plan; arguments and errors as `noref.models.backbones.build_backbone`."""
    return Encoder(*build_backbone(plan, weights=weights)).to(memory_format=torch.channels_last)


def settle_batch_norm(encoder: Encoder, mode: Literal["auto", "frozen", "trained"], *, random: bool) -> int:
    """Decide whether batch norms train, and fuse frozen ones with their convolutions; how many are frozen.

    Args:
        encoder: changed in place.
        mode: "auto" freezes them where their statistics are empty: every mean 0, every variance the same, as
            in weights whose norms were folded into the convolutions. Training mode would destroy such a network.
        random: the weights are random, whose norms have such statistics too but must train.
    """
    norms = [layer for layer in encoder.modules() if isinstance(layer, _BatchNorm)]
    empty = not random and all(_is_empty(norm) for norm in norms)
    if not norms or mode == "trained" or (mode == "auto" and not empty):
        return 0
    count = freeze_batch_norm(encoder)
    fuse_frozen_norms(encoder.backbone.net, torch.linspace(-1, 1, 224).expand(1, 3, 224, 224))
    return count


def _is_empty(norm: _BatchNorm) -> bool:
    mean, variance = norm.running_mean, norm.running_var
    return mean is not None and variance is not None and not mean.any() and bool((variance == variance[0]).all())


def save_encoder(encoder: Encoder, path: Path, card: Card) -> Card:
    """Write an encoder to a safetensors file with its plan inside and its card beside it; the card as written."""
    return files.save(encoder, path, card, network={"kind": KIND, **dataclasses.asdict(encoder.plan)})


def load_encoder(path: Path) -> tuple[Encoder, Card]:
    """An encoder that `save_encoder` wrote, in evaluation mode, and its card; errors as `noref.models.weights.load`."""
    return files.load(
        path, lambda plan: build_encoder(EncoderPlan(**plan), weights="none"), kind=KIND, called="ARNIQA encoder"
    )
