"""The feature of a metric of IQA-PyTorch: the input of the last linear layer that it runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from noref import images
from noref.errors import ImageError, OptionError
from noref.scoring.pyiqa_metric import create_metric

PROBE = (1, 3, 256, 256)


def pyiqa_extractor(source: str) -> Callable[[str, Path], Tensor]:
    """Feature and image -> (rows, D), one row for each crop or token that the metric judges.

    Raises:
        OptionError: as `create_metric`; or a metric without a linear layer, such as PIQE, which has no features.
    """
    metric, seen = create_metric(source), list[Tensor]()
    for layer in metric.modules():
        if isinstance(layer, nn.Linear):
            layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))

    def features(pixels: Tensor) -> Tensor | None:
        seen.clear()
        with torch.inference_mode():
            metric(pixels)
        return seen[-1].flatten(0, -2).float() if seen else None

    def extract(_: str, path: Path) -> Tensor:
        pixels = torch.from_numpy(images.read(path)).permute(2, 0, 1)[None].float() / 255
        try:
            found = features(pixels)
        except Exception as error:  # whatever a metric of another project may raise: too small, out of memory
            raise ImageError(f"{images.name(path)}: {source}: {error}") from error
        if found is None:
            raise ImageError(f"{images.name(path)}: {source}: no linear layer was run")
        return found

    try:
        probe = features(torch.rand(PROBE, generator=torch.Generator().manual_seed(0)))
    except Exception as error:
        raise OptionError(f"{source}: fails on a picture of noise: {error}") from error
    if probe is None:
        raise OptionError(f"{source}: has no linear layer, and so no features to show")
    return extract
