"""DEIQT: a transformer's tokens, read by a panel of learnt queries, and one loss on human scores: the baseline.

Qin et al. 2023, "Data-Efficient Image Quality Assessment with Attention-Panel Decoder",
https://arxiv.org/abs/2301.00962. Equations, deviations and results: docs/papers/deiqt.md.

    1. ten random crops of every image an epoch, mirrored by chance,    Crops in data/loading.py
       each with its image's score
    2. backbone -> class token and patch tokens; six queries, each      AttentionPanel in models/panel.py
       added to the class token, attend to the patches; one linear
       layer gives six scores, which are averaged
    3. smooth L1 on the data set's own scale                            `score_term`, below
    4. AdamW, warm-up, the rate cut by ten every three epochs           StepDecay in train/optim.py
    5. an image's score is the mean over its crops                      Evaluator in train/evaluator.py
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from torch import Tensor

from noref.card import Scale
from noref.data.records import Record
from noref.objectives.distill import Distance, distilled_loss
from noref.train import supervised
from noref.train.config import Supervised
from noref.train.run_folder import DataSet, Run
from noref.train.setup import opened
from noref.train.supervised import Forward, Term


@dataclass(frozen=True)
class Config(Supervised):
    """Every option of a run; defaults are the paper's or its code's, but for `validation`, `max_pixels`, `protocol`."""


def score_term(
    scale: Scale, *, distance: Distance = "smooth_l1", beta: float = 1.0, name: str = "score", weight: float = 1.0
) -> Term:
    """The distance of each crop's score from its image's, in units of the data set's scale.

    Args:
        scale: of the data set; quality in [0, 1] is multiplied by its span.
        distance: smooth L1 in the paper.
        beta: of smooth L1, in units of the scale.
        name: its column in the log.
        weight: in the loss.
    """
    span = scale.high - scale.low

    def loss(outputs: Forward) -> Tensor:
        wanted = outputs.quality[:, None].expand_as(outputs.predicted)
        return distilled_loss(outputs.predicted * span, wanted * span, distance=distance, beta=beta)

    return Term(name, weight, loss)


def train(
    config: Config, data: DataSet | Sequence[Record] | str, run: Run | Path | str, fabric: Fabric | None = None
) -> dict[str, Any]:
    """Train, choose the epoch, score the test part; everything is kept in the run's folder.

    Args:
        config: every option.
        data: the rated images: a data set, records, or `NAME=PATH` as on the command line.
        run: a new folder, or a run that is begun already; a resumed one goes on from its checkpoint.
        fabric: device and processes; None: as the options say.

    Returns:
        The metrics on the test part.

    Raises:
        OptionError: options that do not go together.
        DataError: too few images for the split, or a split of other images.
        ImageError: an image cannot be read; names the file.
        ModelError: backbone weights or a checkpoint that are broken or do not fit the network.
    """
    data, run, fabric = opened("deiqt", config, data, run, fabric)
    terms = [score_term(data.scale, beta=config.beta)]
    return supervised.train(config, data, run, fabric, recipe="deiqt", terms=terms)
