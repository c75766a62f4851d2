"""What CSIQA adds to a recipe of rated images: contrast between the images of a batch, and a teacher's scores.

Any recipe whose config has these options, and whose step ends with `QualityContext.add`, takes
`--contrast quality-context` on any timm backbone. What stands for an image in a layer is the class token of each
block of a transformer, beside its quality token where it has one, or the mean of a CNN's maps at strides 8 and 16
and of its last one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from noref.card import Scale
from noref.data.records import Record
from noref.errors import OptionError
from noref.models.features import Embedding
from noref.objectives.csiqa import RankSampler, Shares, quality_context_loss, select_pairs, usable
from noref.objectives.distill import Distance, distilled_loss, ranking_loss
from noref.train.state import State

RANKS = "contrast.ranks"  # where a run's state keeps the sampler's weights
NOISE = 15  # keeps the labels' noise apart from other chance of the same seed


@dataclass(frozen=True)
class ContrastOptions:
    """The options; recipes inherit them. Shares are of the batch: positives, negatives.

    Args:
        contrast: an extra loss between the images of a batch; ranking is there to compare with.
        contrast_weight: of the contrast: of quality context for each layer (l2), of ranking in units of the scale.
        temperature: of the contrast; smaller is sharper.
        pairs: easy: by human scores; hard: where the teacher disagrees with them; or both.
        easy: shares of the batch that are easy positives and negatives.
        hard: likewise for hard pairs.
        rough: what hard pairs are cut down to: the nearest and the farthest by human score.
        sampling: fixed shares, shares that follow the batch's average, or ranks drawn by how wrong they are.
        delta: how fast adaptive sampling moves.
        embedding: what stands for an image in a layer: its pooled feature (class token), or all its tokens.
        contrast_layers: only so many of the last layers; 0: all.
        margin: of ranking, as a share of the data set's scale.
        distill: weight of the distance to the teacher's scores (l1); none: 0.9 with quality context, else 0.
        label_weight: of the distance to the human scores; 0: the teacher's scores alone, for the pairs too.
        teacher: a run whose model teaches; empty: one is trained first, on the same images, without all this.
        teachers: folder where such teachers are kept for other runs of the same split and options; empty: in the run.
        teacher_epochs: of that training; none: as many as the run's own.
        teacher_backbone: a timm network for that training; empty: the run's own.
        teacher_weights: of such a backbone: "timm" downloads them, "none" is random, else a local safetensors file.
        teacher_scores: of every crop anew in each epoch, or one for each image, found once.
        label_noise: deviation of noise that is added to the training labels, as a share of the data set's scale.
        mask: gives a transformer a quality token, from which each token is hidden with this probability in training.
    """

    contrast: Literal["none", "quality-context", "ranking"] = "none"
    contrast_weight: float = 0.1
    temperature: float = 0.3
    pairs: Literal["easy", "hard", "easy-hard"] = "easy-hard"
    easy: tuple[float, float] = (0.1, 0.4)
    hard: tuple[float, float] = (0.1, 0.4)
    rough: tuple[float, float] = (0.2, 0.6)
    sampling: Literal["fixed", "average", "adaptive"] = "fixed"
    delta: float = 0.1
    embedding: Embedding = "pooled"
    contrast_layers: int = 0
    margin: float = 0.05
    distill: float | None = None
    label_weight: float = 1.0
    teacher: str = ""
    teachers: str = ""
    teacher_epochs: int | None = None
    teacher_backbone: str = ""
    teacher_weights: str = "timm"
    teacher_scores: Literal["crop", "image"] = "crop"
    label_noise: float = 0.0
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


class Scored(NamedTuple):
    """A batch of the loader with the teacher's scores.

    Attributes:
        crops: as in `noref.data.loading.Batch`.
        quality: likewise.
        indices: likewise.
        teacher: (N, C) quality of each crop by the teacher.
    """

    crops: Tensor
    quality: Tensor
    indices: Tensor
    teacher: Tensor


class QualityContext:
    """Adds the terms of CSIQA to the loss of a step.

    Args:
        options: see `ContrastOptions`.
        scale: of the data set; distances of scores are in its units.
        fabric: with several processes, pairs are chosen among the images of all of them.
        distance: between a score and the teacher's.
        beta: of smooth L1, in units of the scale.

    Raises:
        OptionError: options that make no sense.
    """

    def __init__(
        self,
        options: ContrastOptions,
        scale: Scale,
        fabric: Fabric,
        *,
        distance: Distance = "smooth_l1",
        beta: float = 1.0,
    ) -> None:
        check_options(options)
        self.options, self.fabric, self.distance, self.beta = options, fabric, distance, beta
        self.span = scale.high - scale.low
        self.extras: dict[str, Tensor] = {}
        self.sampler = RankSampler(delta=options.delta, easy=options.easy, rough=options.rough)

    @property
    def layers(self) -> Embedding | None:
        """What a step must ask the network for: see `QualityNet.forward`."""
        return self.options.embedding if self.options.contrast == "quality-context" else None

    def follow(self, state: State) -> None:
        """Keep what adaptive sampling learns in the run's state, and so in its checkpoints."""
        self.extras = state.extras
        if RANKS in state.extras:
            self.sampler.weights = state.extras[RANKS]

    def add(
        self,
        loss: Tensor,
        predicted: Tensor,
        layers: Sequence[Tensor],
        quality: Tensor,
        indices: Tensor,
        teacher: Tensor | None,
    ) -> dict[str, Tensor]:
        """The whole loss of a step, and its parts for the log.

        Args:
            loss: () the recipe's own.
            predicted: (N * C,) quality of all crops, image by image.
            layers: an embedding (N * C, D) for each layer.
            quality: (N,) labels.
            indices: (N,) which image it is: crops of one image are never a pair.
            teacher: (N, C) the teacher's scores, or None.

        Returns:
            loss: () total; label: the recipe's own; teacher: distance to the teacher's scores; contrast: summed over
            the layers, without its weight; dropped: share of crops that have no positive or no negative.
        """
        crops = len(predicted) // len(quality)
        values = {"label": loss}
        total = self.options.label_weight * loss
        if teacher is not None and self.options.distillation:
            wanted = teacher.flatten().to(predicted) * self.span
            values["teacher"] = distilled_loss(predicted * self.span, wanted, distance=self.distance, beta=self.beta)
            total = total + self.options.distillation * values["teacher"]
        if self.options.contrast != "none":
            labels = self._gathered(quality[:, None].expand(-1, crops))
            groups = self._gathered(indices[:, None].expand(-1, crops))
            scores = None if teacher is None else self._gathered(teacher)
            ours = self._gathered(predicted.view(-1, crops), grads=self.options.contrast == "ranking")
            if self.options.label_weight == 0 and scores is not None:
                labels, scores = scores, None
            positive, negative = self.pairs(labels, groups, scores, ours.detach())
            if self.options.contrast == "ranking":
                contrast = ranking_loss(
                    ours * self.span, labels * self.span, positive | negative, margin=self.options.margin * self.span
                )
            else:
                contrast = self._over_layers(layers, crops, positive, negative)
            total = total + self.options.contrast_weight * contrast
            values |= {"contrast": contrast, "dropped": 1 - usable(positive, negative).float().mean()}
        return {"loss": total, **values}

    def pairs(self, labels: Tensor, groups: Tensor, teacher: Tensor | None, predicted: Tensor) -> tuple[Tensor, Tensor]:
        """Positives and negatives of a batch of all processes: (B,) each -> two (B, B) bool."""
        options, kept = self.options, None
        if options.sampling == "adaptive":
            kept = self.fabric.broadcast(self.sampler.draw(len(labels)))
            self.sampler.update(labels, predicted, groups=groups)
            self.extras[RANKS] = self.sampler.weights
        if options.pairs == "easy":
            teacher = None
        easy: Shares | None = None if options.pairs == "hard" else options.easy
        return select_pairs(
            labels,
            teacher,
            groups=groups,
            easy=easy,
            hard=options.hard,
            rough=options.rough,
            sampling="average" if options.sampling == "average" else "fixed",
            kept=kept if easy is not None else None,
        )

    def _over_layers(self, layers: Sequence[Tensor], crops: int, positive: Tensor, negative: Tensor) -> Tensor:
        used = layers[-self.options.contrast_layers :]
        whole = [self._gathered(layer.view(-1, crops, layer.shape[-1]), grads=True) for layer in used]
        losses = [
            quality_context_loss(features, positive, negative, temperature=self.options.temperature)
            for features in whole
        ]
        return torch.stack(losses).sum()

    def _gathered(self, values: Tensor, *, grads: bool = False) -> Tensor:
        """(N, C, ...) of each process -> (W * N * C, ...) of all, in the order of one process that does it all."""
        if self.fabric.world_size == 1:
            return values.flatten(0, 1)
        everywhere = self.fabric.all_gather(values.contiguous(), sync_grads=grads)
        return torch.as_tensor(everywhere).transpose(0, 1).flatten(0, 2)


def check_fits(options: ContrastOptions, *, images: int, layers: int) -> None:
    """Refuse a contrast that the batch or the network has nothing for.

    Args:
        options: with a contrast.
        images: in a batch, or the part of it that is worked through at once, over all processes.
        layers: that the network gives an embedding for.

    Raises:
        OptionError: says which of the two is too little.
    """
    if images < 3:
        raise OptionError(f"contrast: needs three images in a batch, one to compare with two others, got {images}")
    if options.contrast_layers > layers:
        raise OptionError(f"contrast_layers {options.contrast_layers}: this network gives {layers}")


def check_options(options: ContrastOptions) -> None:
    """Refuse options that make no sense, whatever the network and the batch.

    Raises:
        OptionError: says which.
    """
    if options.temperature <= 0 or options.contrast_weight < 0 or options.contrast_layers < 0:
        raise OptionError("temperature must be > 0, contrast_weight and contrast_layers >= 0")
    if options.distillation < 0 or options.label_weight < 0 or options.margin < 0 or options.label_noise < 0:
        raise OptionError("distill, label_weight, margin and label_noise must be >= 0")
    if options.label_weight == 0 and options.distillation == 0:
        raise OptionError("label_weight 0 needs a teacher: give distill a weight")
    if options.label_weight == 0 and options.pairs == "hard":
        raise OptionError("label_weight 0 has no hard pairs: they are where the teacher disagrees with the labels")
    if options.sampling != "fixed" and options.pairs == "hard":
        raise OptionError(f"sampling {options.sampling} draws easy pairs: with pairs hard there are none")
    if not 0 < options.delta < 1:
        raise OptionError(f"delta must be between 0 and 1, got {options.delta:g}")
    for name in ("easy", "hard", "rough"):
        shares = getattr(options, name)
        if not all(0 < share <= 1 for share in shares):
            raise OptionError(f"{name}: shares must be above 0 and at most 1, got {shares}")


def noisy(records: Sequence[Record], deviation: float, *, seed: int) -> list[Record]:
    """The records with Gaussian noise on their scores; scores may leave their scale.

    Args:
        records: of the training part.
        deviation: of the noise, as a share of the scale; 0: none.
        seed: the same seed, the same noise, in the order of the records.

    Raises:
        OptionError: a negative deviation.

    Source:
        CSIQA appendix D, tables 15 and 16, which do not say how much noise.
    """
    if deviation < 0:
        raise OptionError(f"label_noise must be >= 0, got {deviation:g}")
    if deviation == 0:
        return list(records)
    noise = np.random.default_rng([seed, NOISE]).normal(0.0, deviation, len(records))
    spans = [record.scale.high - record.scale.low for record in records]
    return [
        dataclasses.replace(record, raw_score=record.raw_score + float(error) * span)
        for record, error, span in zip(records, noise, spans, strict=True)
    ]
