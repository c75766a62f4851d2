"""CSIQA: images contrasted by quality over the whole batch, and a token that learns from a masked view of one image.

Li et al. 2024, "Integrating Global Context Contrast and Local Sensitivity for Blind Image Quality Assessment",
ICML 2024. Equations, decisions, deviations and results: docs/papers/csiqa.md. It adds to DEIQT: crops, optimiser,
schedule and splits are those of `noref.methods.deiqt`.

    eq. 1-2, the mask of the quality token            quality_mask in models/vit.py
    eq. 3, B.1, attention with it, in every layer     Vit.forward in models/vit.py
    B.2, the decoder of class and quality token       TwoTokenDecoder in models/panel.py
    eq. 4, distance to labels and to the teacher      `terms`, below; distilled_loss in objectives/distill.py
    eq. 5, quality-context contrast                   quality_context_loss in objectives/csiqa.py
    eq. 6, summed over layers, and all terms          `CSIQALoss` and `terms`, below
    eq. 7, 3.4, easy and hard pairs                   select_pairs in objectives/csiqa.py
    C, the teacher                                    `teacher`, below; train/distillation.py

1. A teacher without quality token is trained on the same images, and frozen (`--teacher RUN` takes another).
2. Crops go through the masked transformer; class and quality token of every layer are the image's embedding there.
3. Crops of a batch are paired by label, and where the teacher disagrees with it; contrasted in every layer.
4. The decoder's score follows the label and the teacher's score. At test nothing is masked and there is no teacher.

Without a mask this is the plug-in of Table 2, for any network: `--mask none --head panel`. On a CNN the layers are the
means of its maps at strides 8 and 16 and of its last one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch import Tensor

from noref.card import Scale
from noref.data.records import Record
from noref.data.splits import Split
from noref.errors import OptionError
from noref.methods import deiqt
from noref.methods.token_cosine import add_token_cosine
from noref.models.features import Embedding
from noref.models.heads import HEADS
from noref.objectives.csiqa import Shares, quality_context_loss, select_pairs, usable
from noref.objectives.distill import Distance, distilled_loss
from noref.train import supervised
from noref.train.config import Distillation, Supervised
from noref.train.distillation import Baseline, DistillationTeacher, baseline_config, find_teacher
from noref.train.run_folder import DataSet, Run
from noref.train.setup import opened
from noref.train.supervised import Forward, Hooks, Term, gathered


@dataclass(frozen=True)
class Contrast:
    """What CSIQA adds to a method. Shares are of the batch: positives, negatives.

    Args:
        contrast: CSIQA's quality-context contrast between the images of a batch.
        contrast_weight: of it, for each layer (l2).
        temperature: of the contrast; smaller is sharper.
        pairs: easy: by human scores; hard: where the teacher disagrees with them; or both.
        easy: shares of the batch that are easy positives and negatives.
        hard: likewise for hard pairs.
        rough: hard pairs are taken among these: the nearest and the farthest by human score.
        embedding: of an image in a layer: its pooled feature (class token), or all its tokens.
        contrast_layers: only so many of the last layers; 0: all.
        distill: weight of the distance to the teacher's scores (l1); none: 0.9 with quality context, else 0.
        label_weight: of the distance to the human scores; 0: the teacher's scores alone, for the pairs too.
        loss: distance of scores, in units of the data set's scale.
        mask: gives a transformer a quality token, from which each token is hidden with this probability in training;
            none: no such token.
    """

    contrast: Literal["none", "quality-context"] = "none"
    contrast_weight: float = 0.1
    temperature: float = 0.3
    pairs: Literal["easy", "hard", "easy-hard"] = "easy-hard"
    easy: tuple[float, float] = (0.1, 0.4)
    hard: tuple[float, float] = (0.1, 0.4)
    rough: tuple[float, float] = (0.2, 0.6)
    embedding: Embedding = "pooled"
    contrast_layers: int = 0
    distill: float | None = None
    label_weight: float = 1.0
    loss: Distance = "smooth_l1"
    mask: float | None = None

    @property
    def distillation(self) -> float:
        """The weight of the teacher's scores."""
        if self.distill is not None:
            return self.distill
        return 0.9 if self.contrast == "quality-context" else 0.0

    @property
    def wants_teacher(self) -> bool:
        """Whether a teacher's scores are used, for distillation or for hard pairs."""
        return self.distillation > 0 or (self.contrast != "none" and self.pairs != "easy")


@dataclass(frozen=True)
class Config(Contrast, Distillation, Supervised):
    """Every option of a run: CSIQA's own, then the shared ones.

    Args:
        head: CSIQA's decoder of class and quality token; for networks without a quality token panel or pooled.
    """

    head: str = field(default="tokens", metadata={"choices": HEADS})
    contrast: Literal["none", "quality-context"] = "quality-context"
    mask: float | None = 0.3


def train(
    config: Config,
    data: DataSet | Sequence[Record] | str,
    run: Run | Path | str,
    fabric: Fabric | None = None,
    *,
    contrast: Callable[[Any, Fabric], CSIQALoss] | None = None,
    hooks: Hooks | None = None,
) -> dict[str, Any]:
    """Train the teacher, then the network; score the test part. See `noref.methods.deiqt.train`.

    An experiment may make another `contrast` in place of `CSIQALoss`, and have `hooks`.

    Returns:
        The metrics on the test part; with a quality token also `token_cosine`, the mean cosine between class and
        quality token there, in [-1, 1] (Fig. 5; the paper has 0.29 on LIVE In the Wild and 0.07 on KonIQ).
    """
    check_contrast(config)
    data, run, fabric = opened("csiqa", config, data, run, fabric)
    label = deiqt.score_term(
        data.scale, distance=config.loss, beta=config.beta, name="label", weight=config.label_weight
    )
    loss = [label, *terms(config, data.scale, fabric, beta=config.beta, contrast=contrast)]
    first = teacher(config, data, run, fabric) if config.wants_teacher else None
    found = supervised.train(
        config, data, run, fabric, recipe="csiqa", terms=loss, hooks=hooks, teacher=first, more=words(config)
    )
    return found if config.mask is None else found | add_token_cosine(config.protocol, data, run, fabric)


def terms(
    config: Contrast,
    scale: Scale,
    fabric: Fabric,
    *,
    beta: float = 1.0,
    name: str = "contrast",
    contrast: Callable[[Any, Fabric], CSIQALoss] | None = None,
) -> list[Term]:
    """What CSIQA adds to a loss on the labels: the teacher's term of eq. 4, and the contrast (eq. 6).

    Args:
        config: any config with these options.
        scale: of the data set; distances of scores, and `beta` of smooth L1, are in its units.
        fabric: with several processes, pairs are chosen among the images of all of them.
        beta: see there.
        name: of the contrast, in the log.
        contrast: makes it; None: `CSIQALoss`.
    """
    span = scale.high - scale.low
    found = []

    def distance(outputs: Forward) -> Tensor:
        if outputs.teacher is None:
            raise OptionError("distill: the batches carry no teacher's scores")
        wanted = outputs.teacher.to(outputs.predicted) * span
        return distilled_loss(outputs.predicted * span, wanted, distance=config.loss, beta=beta)

    if config.distillation:
        found.append(Term("teacher", config.distillation, distance))
    if config.contrast != "none":
        loss = (contrast or CSIQALoss)(config, fabric)
        notes = lambda outputs: loss.notes  # noqa: E731
        found.append(Term(name, config.contrast_weight, loss, layers=loss.layers, whole_batch=True, notes=notes))
    return found


class CSIQALoss:
    """The quality-context contrast, eq. 5, of a batch (of all processes), summed over the layers."""

    def __init__(self, config: Contrast, fabric: Fabric) -> None:
        self.config, self.fabric = config, fabric
        self.notes: Mapping[str, Tensor] = {}  # of the last batch: share of crops without a positive or a negative
        self.layers: Embedding | None = config.embedding

    def __call__(self, outputs: Forward) -> Tensor:
        """() sum over the layers; lower is better."""
        positive, negative = self.pairs(outputs)
        self.notes = {"dropped": 1 - usable(positive, negative).float().mean()}
        layers = [self.all_crops(layer, grads=True) for layer in outputs.layers[-self.config.contrast_layers :]]
        heat = self.config.temperature
        return torch.stack([quality_context_loss(one, positive, negative, temperature=heat) for one in layers]).sum()

    def pairs(self, outputs: Forward) -> tuple[Tensor, Tensor]:
        """Positives and negatives among the B crops of all processes: two (B, B) bool, row: the query."""
        config = self.config
        labels = self.all_crops(outputs.quality[:, None].expand_as(outputs.predicted))
        groups = self.all_crops(outputs.indices[:, None].expand_as(outputs.predicted))
        scores = None if outputs.teacher is None else self.all_crops(outputs.teacher)
        if config.label_weight == 0 and scores is not None:
            labels, scores = scores, None  # pseudo-labels only, Table 8
        easy: Shares | None = None if config.pairs == "hard" else config.easy
        scores = None if config.pairs == "easy" else scores
        return select_pairs(labels, scores, groups=groups, easy=easy, hard=config.hard, rough=config.rough)

    def all_crops(self, values: Tensor, *, grads: bool = False) -> Tensor:
        """(N, H, ...) of this process -> (B, ...) of all, an image's crops side by side."""
        return gathered(self.fabric, values, grads=grads).flatten(0, 1)


def teacher(config: Any, data: DataSet, run: Run, fabric: Fabric) -> Callable[[Split], DistillationTeacher]:
    """How the teacher is found, or trained first: the same network as a plain baseline, on the same split (C)."""
    head = "panel" if config.head == "tokens" else config.head
    plain = baseline_config(deiqt.Config, config, run, head=head)
    if not config.teacher:
        supervised.check(plain)
    baseline = Baseline("deiqt", plain, lambda own: deiqt.train(plain, data, own, fabric))
    return lambda split: find_teacher(config, baseline, data, split, run, fabric)


def words(config: Contrast) -> str:
    """What a model's card says of the contrast."""
    return "" if config.contrast == "none" else f", {config.contrast} contrast"


def check_contrast(config: Any) -> None:
    """Refuse options that do not go together, and a contrast that batch or network have nothing for.

    Raises:
        OptionError: says which.
    """
    if config.mask is None and config.head == "tokens":
        raise OptionError("head tokens reads a quality token: with mask none, give head panel or pooled")
    if config.mask is not None and config.head == "panel" and config.contrast == "none":
        raise OptionError("mask: only head tokens or pooled, or --contrast quality-context, read a quality token")
    if config.temperature <= 0 or config.contrast_weight < 0 or config.contrast_layers < 0:
        raise OptionError("temperature must be > 0, contrast_weight and contrast_layers >= 0")
    if config.distillation < 0 or config.label_weight < 0:
        raise OptionError("distill and label_weight must be >= 0")
    if config.label_weight == 0 and config.distillation == 0:
        raise OptionError("label_weight 0 needs a teacher: give distill a weight")
    if config.label_weight == 0 and config.pairs == "hard":
        raise OptionError("label_weight 0 has no hard pairs: they are where the teacher disagrees with the labels")
    for name in ("easy", "hard", "rough"):
        if not all(0 < share <= 1 for share in getattr(config, name)):
            raise OptionError(f"{name}: shares must be above 0 and at most 1, got {getattr(config, name)}")
    supervised.check(config)
    if config.contrast == "none":
        return
    if config.batch // max(1, config.together) < 3:
        found = config.batch // max(1, config.together)
        raise OptionError(f"contrast: needs three images in a batch, one to compare with two others, got {found}")
    layers = supervised.layers_seen(config, config.embedding)
    if config.contrast_layers > layers:
        raise OptionError(f"contrast_layers {config.contrast_layers}: this network gives {layers}")
