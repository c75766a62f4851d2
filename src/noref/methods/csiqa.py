"""CSIQA: images contrasted by quality over the whole batch, and a token that learns from what it is shown of one image.

Li et al. 2024, "Integrating Global Context Contrast and Local Sensitivity for Blind Image Quality Assessment",
ICML 2024. Equations, decisions, deviations and results: docs/papers/csiqa.md. It stands on DEIQT: crops, optimiser,
schedule and splits are those of `noref.methods.deiqt`.

| in the paper | here |
|---|---|
| eq. 1-2, the mask of the quality token | `quality_mask` in models/vit.py |
| eq. 3, B.1, attention with it, in every layer | `Vit` in models/vit.py |
| B.2, the decoder of class and quality token | `TwoTokenDecoder` in models/panel.py |
| eq. 4, distance to labels and to the teacher | `distilled_loss` in objectives/distill.py |
| eq. 5, quality context contrast | `quality_context_loss` in objectives/csiqa.py |
| eq. 6, all terms | `QualityContext.add` in methods/quality_context.py |
| eq. 7, 3.4, easy and hard pairs | `select_pairs` in objectives/csiqa.py |
| D, adaptive sampling | `RankSampler` in objectives/csiqa.py |
| C, the teacher | `find_teacher`, `teach` in methods/distillation.py |

1. A teacher without quality token is trained on the same images, and frozen (`--teacher RUN` takes another).
2. Crops go through the masked transformer; class and quality token of every layer are the image's embedding there.
3. Crops of a batch are paired by label, and by where the teacher disagrees; contrasted in every layer.
4. The decoder's score follows the label and the teacher's score. At test nothing is masked and there is no teacher.

Without `mask` this is the plug-in of Table 2, for any network: the same as `deiqt --contrast quality-context`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

import torch.nn.functional as functional
from lightning_fabric import Fabric
from torch import Tensor, nn

from noref.card import Preprocessing
from noref.data.loading import Protocol
from noref.data.records import Record
from noref.data.splits import load_split
from noref.errors import OptionError
from noref.methods import deiqt
from noref.models import network as networks
from noref.models.network import QualityNet
from noref.train.evaluator import Judge
from noref.train.run_folder import DataSet, Run


@dataclass(frozen=True)
class Config(deiqt.Config):
    """The paper's choices where they are not DEIQT's.

    Args:
        head: CSIQA's decoder of class and quality token; for networks without one: panel, or pooled.
        contrast: quality context, with easy and hard pairs.
        mask: probability that a token is hidden from the quality token in training; none: no such token.
    """

    head: Literal["panel", "pooled", "tokens"] = "tokens"
    contrast: Literal["none", "quality-context", "ranking"] = "quality-context"
    mask: float | None = 0.3


def train(config: Config, data: DataSet, run: Run, fabric: Fabric) -> dict[str, Any]:
    """Train the teacher, then the network; judge the test part. See `noref.methods.deiqt.train`.

    Returns:
        The figures on the test part; with a quality token also `token_cosine`, the mean cosine between class and
        quality token there, in [-1, 1] (Fig. 5; the paper has 0.29 on LIVE In the Wild and 0.07 on KonIQ).

    Raises:
        OptionError: options that do not go together.
    """
    if config.mask is None and config.head == "tokens":
        raise OptionError("head tokens reads a quality token: with mask none, give head panel or pooled")
    found = deiqt.train(config, data, run, fabric, recipe="csiqa")
    if config.mask is None:
        return found
    fabric.barrier()
    network, card = networks.load(run.file("model.safetensors"))
    split = load_split(run.file("split.json"), data.records)
    tested = [data.records[index] for index in split.test]
    cosine = token_cosine(network.to(fabric.device), tested, card.preprocessing, config.protocol, fabric)
    if run.writes:
        results = json.loads(run.file("results.json").read_text(encoding="utf-8"))
        run.write_results({**results, "token_cosine": cosine})
    return {**found, "token_cosine": cosine}


def token_cosine(
    network: QualityNet, records: list[Record], rule: Preprocessing, protocol: Protocol, fabric: Fabric
) -> float:
    """The mean cosine between class and quality token after the last norm, over all crops of all images: Fig. 5.

    Args:
        network: with a quality token, on the fabric's device.
        records: the images.
        rule: the network's.
        protocol: which crops.
        fabric: device and processes.

    Returns:
        In [-1, 1]; near 1 the two tokens say the same.
    """
    judge = Judge(records, preprocessing=rule, protocol=protocol, fabric=fabric)
    return float(judge.scores(_TokenCosine(network)).mean())


class _TokenCosine(nn.Module):
    """(B, 3, S, S) -> (B,) cosine between class and quality token."""

    def __init__(self, network: QualityNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        features = self.network.features(images)
        if features.quality is None:
            raise OptionError("this network has no quality token")
        return functional.cosine_similarity(features.pooled.float(), features.quality.float(), dim=1)
