"""One step of a method on one or two processes: python gathered.py DEVICES FILE METHOD."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import nn

from noref.card import Scale
from noref.data.loading import Batch
from noref.methods import csiqa, lml_iqa
from noref.models.features import Features
from noref.train.distillation import ScoredBatch
from noref.train.supervised import step_of

VARIANTS = Path(__file__).parents[2] / "experiments" / "csiqa" / "variants.py"
SCALE = Scale(0, 10)


class Linear(nn.Module):
    """(B, 1, 1, 5) -> scores, and two layers of features."""

    def __init__(self):
        super().__init__()
        self.line = nn.Linear(5, 4)

    def forward(self, images, features=False, layers=None):
        layer = self.line(images.flatten(1))
        seen = Features(layer, layer[:, None], (1, 1), layers=(layer, layer * 2 + 1) if layers else ())
        return (layer.mean(dim=1), seen) if features else layer.mean(dim=1)


def terms_of(method, fabric):
    if method == "lml_iqa":
        return lml_iqa.terms(lml_iqa.Config(alpha=0.5, crops=2, together=2), SCALE, fabric)
    if method == "csiqa":
        config = csiqa.Config(contrast_weight=1.0)
        return csiqa.terms(config, SCALE, fabric)
    spec = importlib.util.spec_from_file_location("variants", VARIANTS)
    variants = sys.modules["variants"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(variants)
    config = variants.Config(contrast="ranking", sampling="adaptive", contrast_weight=1.0, distill=0.9)
    return csiqa.terms(config, SCALE, fabric, contrast=lambda c, f: variants.Variant(config, fabric, scale=SCALE))


def step(devices, method):
    """Values and gradient of one step over 12 images with two crops each, and one more; every other image a process."""
    fabric = Fabric(accelerator="cpu", devices=devices)
    fabric.launch()
    fabric.seed_everything(0, verbose=False)
    network = fabric.setup(Linear())
    source = torch.Generator().manual_seed(1)
    images = torch.randn(12, 2 + (method == "lml_iqa"), 1, 1, 5, generator=source)
    quality = torch.randint(0, 6, (12,), generator=source) / 5  # some tie
    teacher = torch.rand(12, 2, generator=source)
    mine = slice(fabric.global_rank, None, fabric.world_size)
    batch = Batch(images[mine], quality[mine], torch.arange(12)[mine])
    batch = batch if method == "lml_iqa" else ScoredBatch(*batch, teacher[mine])
    values = step_of(terms_of(method, fabric), 2)(network, batch)
    fabric.backward(values["loss"])
    gradient = torch.cat([p.grad.flatten() for p in network.parameters()])
    means = {name: fabric.all_reduce(value.detach(), reduce_op="mean") for name, value in values.items()}
    return fabric, {"gradient": gradient, **means}


if __name__ == "__main__":
    fabric, found = step(int(sys.argv[1]), sys.argv[3])
    if fabric.is_global_zero:
        torch.save(found, sys.argv[2])
