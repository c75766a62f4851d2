"""What single rows of CSIQA's tables need: adaptive sampling (Table 5), rank learning and noisy labels (15 and 16).

    python experiments/csiqa/variants.py bench csiqa --data livec=FOLDER --sampling adaptive ...

is `noref`'s own command line, whose method `csiqa` has four more options here and takes `--contrast ranking`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as functional
from lightning_fabric import Fabric
from torch import Generator, Tensor

from noref.card import Preprocessing, Scale
from noref.cli import main
from noref.data.loading import Crops
from noref.data.records import Record
from noref.errors import OptionError
from noref.methods import METHODS, csiqa
from noref.methods.csiqa import CSIQALoss
from noref.objectives.csiqa import Shares, candidates, distances, ranks, select_pairs, set_size, sets, usable
from noref.train.config import Supervised
from noref.train.run_folder import DataSet, Run
from noref.train.setup import opened
from noref.train.state import State
from noref.train.supervised import Forward, Hooks

RANKS = "contrast.ranks"  # where a run's state keeps the sampler's weights
NOISE = 15  # keeps the labels' noise apart from other chance of the same seed


@dataclass(frozen=True)
class Config(csiqa.Config):
    """CSIQA's options, and those of single rows.

    Args:
        contrast: quality context, or ranking to compare with.
        sampling: of easy pairs: fixed shares, shares that follow the batch's average, or ranks drawn more often the
            more often the network gets them wrong.
        delta: how fast adaptive sampling moves.
        margin: of ranking, as a share of the data set's scale.
        label_noise: deviation of noise that is added to the training labels, as a share of the data set's scale.
    """

    REMOVED: ClassVar[dict[str, tuple[str | None, str]]] = {
        name: words
        for name, words in Supervised.REMOVED.items()
        if name not in ("sampling", "delta", "margin", "label_noise")
    }

    contrast: Literal["none", "quality-context", "ranking"] = "quality-context"  # type: ignore[assignment]
    sampling: Literal["fixed", "average", "adaptive"] = "fixed"
    delta: float = 0.1
    margin: float = 0.05
    label_noise: float = 0.0


def train(
    config: Config, data: DataSet | Sequence[Record] | str, run: Run | Path | str, fabric: Fabric | None = None
) -> dict[str, Any]:
    """See `noref.methods.csiqa.train`.

    Raises:
        OptionError: options that do not go together.
    """
    check(config)
    data, run, fabric = opened("csiqa", config, data, run, fabric)
    loss = Variant(config, fabric, scale=data.scale)
    return csiqa.train(
        config, data, run, fabric, contrast=lambda config, fabric: loss, hooks=VariantHooks(config, loss)
    )


def check(config: Config) -> None:
    """Refuse options that do not go together.

    Raises:
        OptionError: says which.
    """
    if config.margin < 0 or config.label_noise < 0:
        raise OptionError("margin and label_noise must be >= 0")
    if config.sampling != "fixed" and config.pairs == "hard":
        raise OptionError(f"sampling {config.sampling} draws easy pairs: with pairs hard there are none")
    if not 0 < config.delta < 1:
        raise OptionError(f"delta must be between 0 and 1, got {config.delta:g}")
    if config.label_noise and config.wants_teacher and not config.teacher:
        raise OptionError("label_noise: a teacher of the run's own would learn from clean labels; give --distill 0")


class Variant(CSIQALoss):
    """The contrast or the ranking of a batch, with pairs as the options draw them.

    Args:
        config: its options.
        fabric: with several processes, the batch of all of them.
        scale: of the data set.
    """

    def __init__(self, config: Config, fabric: Fabric, *, scale: Scale) -> None:
        super().__init__(config, fabric)
        self.own, self.span, self.extras = config, scale.high - scale.low, dict[str, Tensor]()
        self.sampler = RankSampler(delta=config.delta, easy=config.easy, rough=config.rough)
        self.layers = None if config.contrast == "ranking" else config.embedding

    def __call__(self, outputs: Forward) -> Tensor:
        """See `CSIQALoss`; ranking is in units of the data set's scale."""
        if self.own.contrast != "ranking":
            return super().__call__(outputs)
        positive, negative = self.pairs(outputs)
        self.notes = {"dropped": 1 - usable(positive, negative).float().mean()}
        ours = self.all_crops(outputs.predicted, grads=True) * self.span
        labels = self.all_crops(outputs.quality[:, None].expand_as(outputs.predicted)) * self.span
        return ranking_loss(ours, labels, positive | negative, margin=self.own.margin * self.span)

    def pairs(self, outputs: Forward) -> tuple[Tensor, Tensor]:
        """See `CSIQALoss.pairs`; easy pairs by average or adaptive sampling where that is asked for."""
        own = self.own
        if own.sampling == "fixed":
            return super().pairs(outputs)
        labels = self.all_crops(outputs.quality[:, None].expand_as(outputs.predicted))
        groups = self.all_crops(outputs.indices[:, None].expand_as(outputs.predicted))
        teacher = None if outputs.teacher is None else self.all_crops(outputs.teacher)
        if own.label_weight == 0 and teacher is not None:
            labels, teacher = teacher, None
        kept = None
        if own.sampling == "adaptive":
            kept = self.fabric.broadcast(self.sampler.draw(len(labels)))
            self.sampler.update(labels, self.all_crops(outputs.predicted.detach()), groups=groups)
            self.extras[RANKS] = self.sampler.weights
        teacher = None if own.pairs == "easy" else teacher
        return sampled_pairs(labels, teacher, groups=groups, easy=own.easy, hard=own.hard, rough=own.rough, kept=kept)


class VariantHooks(Hooks):
    """Noise on the training labels; what adaptive sampling learns stays in the run's state and its checkpoints."""

    def __init__(self, config: Config, loss: Variant) -> None:
        self.config, self.loss = config, loss

    def crops(self, config: Supervised, records: Sequence[Record], rule: Preprocessing) -> Crops:
        """The crops of images with noisy labels."""
        return super().crops(config, noisy(records, self.config.label_noise, seed=config.seed), rule)

    def resume(self, state: State) -> None:
        """Take the sampler's weights from the state."""
        self.loss.extras = state.extras
        if RANKS in state.extras:
            self.loss.sampler.weights = state.extras[RANKS]


def noisy(records: Sequence[Record], deviation: float, *, seed: int) -> list[Record]:
    """The records with Gaussian noise on their scores; scores may leave their scale.

    Args:
        records: of the training part.
        deviation: of the noise, as a share of the scale, >= 0; 0: none.
        seed: the same seed, the same noise, in the order of the records.

    Source:
        CSIQA appendix D, tables 15 and 16, which do not say how much noise.
    """
    noise = np.random.default_rng([seed, NOISE]).normal(0.0, deviation, len(records))
    return [
        dataclasses.replace(record, raw_score=record.raw_score + float(error) * (record.scale.high - record.scale.low))
        for record, error in zip(records, noise, strict=True)
    ]


def ranking_loss(predicted: Tensor, scores: Tensor, pairs: Tensor, *, margin: float) -> Tensor:
    """How far chosen pairs are from the order that people gave them: what quality context is compared with.

    For each pair (a, b) whose scores differ: max(0, margin - sign(score a - score b) * (predicted a - predicted b)).

    Args:
        predicted: (B,) a network's scores.
        scores: (B,) human scores, in the same direction.
        pairs: (B, B) bool, such as positives and negatives of `select_pairs` together.
        margin: by which predictions must differ, in their unit; >= 0.

    Returns:
        () mean over the pairs that have an order, 0 without any; lower is better.

    Raises:
        ValueError: shapes that differ, or a negative margin.

    Source:
        Liu et al. 2017 (RankIQA), https://arxiv.org/abs/1707.08347, eq. 2; CSIQA tables 15 and 16 compare with such
        a loss without saying which.

    Example:
        >>> import torch
        >>> pairs = torch.tensor([[False, True], [True, False]])
        >>> ranking_loss(torch.tensor([0.5, 0.25]), torch.tensor([1.0, 2.0]), pairs, margin=0.25)
        tensor(0.5000)
    """
    if margin < 0:
        raise ValueError(f"margin must be >= 0, got {margin}")
    batch = len(scores)
    if predicted.shape != (batch,) or scores.shape != (batch,) or pairs.shape != (batch, batch):
        raise ValueError(f"{tuple(predicted.shape)}, {tuple(scores.shape)} and {tuple(pairs.shape)} do not go together")
    order = (scores[:, None] - scores[None, :]).sign()
    ahead = predicted[:, None] - predicted[None, :]
    ordered = pairs & (order != 0)
    hinge = functional.relu(margin - order * ahead).masked_fill(~ordered, 0.0)
    return hinge.sum() / ordered.sum().clamp(min=1)


def sampled_pairs(
    scores: Tensor,
    teacher_scores: Tensor | None = None,
    *,
    groups: Tensor | None = None,
    easy: Shares = (0.1, 0.4),
    hard: Shares = (0.1, 0.4),
    rough: Shares = (0.2, 0.6),
    kept: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """As `noref.objectives.csiqa.select_pairs`, with easy pairs by average or adaptive sampling (Table 5).

    Args:
        scores: see there.
        teacher_scores: likewise.
        groups: likewise.
        easy: moved with the batch: twice the share of the batch that lies on the query's side of the mean score
            multiplies the positives, the rest the negatives. Not used with `kept`.
        hard: see there.
        rough: likewise.
        kept: (B, B) bool by query and rank, see `RankSampler`: those ranks of the rough sets are the easy pairs.

    Source:
        CSIQA appendix D.
    """
    candidate = candidates(scores, groups)
    rank, count = ranks(distances(scores), candidate), candidate.sum(dim=1, keepdim=True)
    if kept is None:
        positive, negative = sets(rank, count, *average_sizes(scores, easy))
    else:
        near, far = sets(rank, count, set_size(rough[0], len(scores)), set_size(rough[1], len(scores)))
        chosen = kept.to(rank.device).gather(1, rank)
        positive, negative = near & chosen, far & chosen
    if teacher_scores is not None:
        harder = select_pairs(scores, teacher_scores, groups=groups, easy=None, hard=hard, rough=rough)
        positive, negative = positive | harder[0], negative | harder[1]
    positive, negative = positive & candidate, negative & candidate
    return positive, negative & ~positive


def average_sizes(scores: Tensor, easy: Shares) -> tuple[Tensor, Tensor]:
    """(B, 1) sizes of both sets for each query, by how much of the batch lies on its side of the mean."""
    above = scores.double() >= scores.double().mean()
    same = (above[:, None] == above[None, :]).sum(dim=1, keepdim=True)
    sizes = ((2 * easy[0] * same), (2 * easy[1] * (len(scores) - same)))
    return sizes[0].add(1e-9).floor().clamp(min=1), sizes[1].add(1e-9).floor().clamp(min=1)


class RankSampler:
    """Easy pairs by chance, more of those ranks that the network still gets wrong (Table 5, "adaptive sampling").

    Each rank, from the nearest candidate to the farthest, has a weight. It starts at 1. It falls by the factor
    1 - delta for a query whose candidate of that rank is ranked the same by the network's own scores, and rises by
    1 + delta for one where it is not; over the queries of a batch these factors are averaged. A rank of the rough
    positives is drawn with probability weight * easy / rough, so that the sets start with the easy sets' sizes.

    Args:
        delta: of the factors; the paper gives none.
        easy: sizes at the start, as shares of the batch.
        rough: the sets to draw from.

    Source:
        CSIQA appendix D.
    Differs:
        Weights stay in [0.1, 10], or a rank that is always right would never be seen again.

    Example:
        >>> sampler = RankSampler(delta=0.5)
        >>> sampler.update(torch.tensor([0.0, 0.3, 1.0]), torch.tensor([0.0, 0.3, 1.0]))  # all ranks right
        >>> sampler.weights[:2].tolist()
        [0.5, 0.5]
    """

    def __init__(self, *, delta: float = 0.1, easy: Shares = (0.1, 0.4), rough: Shares = (0.2, 0.6)) -> None:
        if not 0 < delta < 1:
            raise ValueError(f"delta must be in (0, 1), got {delta}")
        self.delta, self.easy, self.rough = delta, easy, rough
        self.weights = torch.ones(0, dtype=torch.float64)  # on the CPU; one a rank, longer as batches ask for it

    def draw(self, batch: int, generator: Generator | None = None) -> Tensor:
        """(B, B) bool by query and rank, on the CPU: which candidates of the rough sets are taken, for `select_pairs`.

        Args:
            batch: B.
            generator: of the CPU; None: torch's own.
        """
        self._reach(batch)
        share = torch.full((batch,), self.easy[1] / self.rough[1], dtype=torch.float64)
        share[: set_size(self.rough[0], batch)] = self.easy[0] / self.rough[0]
        return torch.rand(batch, batch, generator=generator, dtype=torch.float64) < share * self.weights[:batch]

    def update(self, scores: Tensor, predicted: Tensor, *, groups: Tensor | None = None) -> None:
        """Learn from a batch which ranks are predicted right.

        Args:
            scores: (B,) human scores.
            predicted: (B,) the network's scores.
            groups: as for `select_pairs`.
        """
        candidate = candidates(scores, groups)
        wanted, found = (ranks(distances(values.detach()), candidate) for values in (scores, predicted))
        self._reach(len(scores))
        right = torch.zeros_like(wanted, dtype=torch.float64).scatter_(1, wanted, (wanted == found).double())
        seen = torch.zeros_like(right).scatter_(1, wanted, candidate.double())
        share = ((right * seen).sum(dim=0) / seen.sum(dim=0).clamp(min=1)).cpu()
        factor = torch.where(seen.sum(dim=0).cpu() > 0, 1 + self.delta * (1 - 2 * share), 1.0)[: len(self.weights)]
        self.weights[: len(factor)] = (self.weights[: len(factor)] * factor).clamp(0.1, 10)

    def _reach(self, batch: int) -> None:
        more = max(0, batch - len(self.weights))
        self.weights = torch.cat([self.weights, torch.ones(more, dtype=torch.float64)])


if __name__ == "__main__":
    METHODS["csiqa"] = "__main__"
    main()
