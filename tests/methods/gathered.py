"""One step of quality context on one or two processes: python gathered.py DEVICES FILE CONTRAST SAMPLING."""

from __future__ import annotations

import sys

import torch
from lightning_fabric import Fabric
from torch import nn

from noref.card import Scale
from noref.methods.quality_context import ContrastOptions, QualityContext


class Watched(QualityContext):
    """Remembers its pairs."""

    def pairs(self, *args, **options):
        self.seen = super().pairs(*args, **options)
        return self.seen


def step(devices, contrast, sampling):
    """Pairs, values and gradient of one step over 12 images with two crops each; a process takes every other image."""
    fabric = Fabric(accelerator="cpu", devices=devices)
    fabric.launch()
    fabric.seed_everything(0, verbose=False)
    network = fabric.setup(nn.Linear(5, 4))
    source = torch.Generator().manual_seed(1)
    images = torch.randn(12, 2, 5, generator=source)
    quality = torch.randint(0, 6, (12,), generator=source) / 5  # some tie
    teacher = torch.rand(12, 2, generator=source)
    mine = slice(fabric.global_rank, None, fabric.world_size)
    options = ContrastOptions(contrast=contrast, sampling=sampling, contrast_weight=1.0)
    context = Watched(options, Scale(0, 10), fabric)
    layer = network(images[mine].flatten(0, 1))
    predicted = layer.mean(dim=1)
    label = (predicted - quality[mine].repeat_interleave(2)).square().mean()
    values = context.add(label, predicted, [layer, layer * 2 + 1], quality[mine], torch.arange(12)[mine], teacher[mine])
    fabric.backward(values["loss"])
    gradient = torch.cat([p.grad.flatten() for p in network.parameters()])
    means = {name: fabric.all_reduce(value.detach(), reduce_op="mean") for name, value in values.items()}
    return fabric, {"positive": context.seen[0], "negative": context.seen[1], "gradient": gradient, **means}


if __name__ == "__main__":
    fabric, found = step(int(sys.argv[1]), *sys.argv[3:])
    if fabric.is_global_zero:
        torch.save(found, sys.argv[2])
