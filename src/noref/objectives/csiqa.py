"""CSIQA's quality context: which images of a batch are alike in quality, and the contrast between them.

Li et al. 2024, "Integrating Global Context Contrast and Local Sensitivity for Blind Image Quality Assessment",
ICML 2024. Three lines put it into any training loop:

    positive, negative = select_pairs(labels, teacher_scores, groups=image_numbers)
    loss = loss + 0.1 * quality_context_loss(features, positive, negative, temperature=0.3)
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as functional
from torch import Generator, Tensor

Shares = tuple[float, float]  # of the batch: positives, negatives
EPSILON = 1e-6  # added to the distance of two teacher scores


def select_pairs(
    scores: Tensor,
    teacher_scores: Tensor | None = None,
    *,
    groups: Tensor | None = None,
    easy: Shares | None = (0.1, 0.4),
    hard: Shares | None = (0.1, 0.4),
    rough: Shares = (0.2, 0.6),
    sampling: Literal["fixed", "average"] = "fixed",
    kept: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """For each image of a batch, those that are alike in quality and those that are not.

    A query's candidates are all elements outside of its group, in the order of their distance in score, ties by
    index. Easy pairs: the nearest are positives, the farthest negatives. Hard pairs: people see the same quality
    and the teacher does not, or the other way round. The candidates are ordered by
    E = distance in score / (distance in teacher score + 1e-6); the smallest E that are also roughly near are
    positives, the largest E that are also roughly far are negatives. Easy and hard are united.

    Args:
        scores: (B,) human scores, any scale and direction.
        teacher_scores: (B,) a frozen network's scores of the same elements, any scale; None: easy pairs only.
        groups: (B,) whole numbers, equal for crops of one image, which are never a pair; None: each its own.
        easy: shares of B in (0, 1] that are easy positives and negatives; None: hard pairs only.
        hard: likewise for hard pairs, before they are cut down to the rough ones; None: easy pairs only.
        rough: likewise, what is roughly near and roughly far.
        sampling: "average" moves the easy shares with the batch: twice the share of the batch that lies on the
            query's side of the mean score multiplies the positives, the rest the negatives (Table 5).
        kept: (B, B) bool by query and rank, see `RankSampler`: those ranks of the rough sets are the easy pairs.

    Returns:
        positive and negative, two (B, B) bool, row: the query. Shares are floored to whole elements, at least one
        where there is a candidate. No element is on both sides: in batches so small that the sets would meet,
        what is positive is no negative. A query without either kind plays no part in the loss.

    Raises:
        ValueError: shapes that differ, scores that are not finite, shares out of (0, 1], or no kind of pair left.

    Source:
        CSIQA section 3.4, eq. 7; appendix D for `sampling` and `kept`.
    Differs:
        The paper's E divides by itself as printed; the text says what is meant. Candidates exclude the query and
        its whole group, which the paper does not say.

    Example:
        >>> positive, negative = select_pairs(torch.tensor([0.1, 0.2, 0.9, 1.0]))
        >>> positive.int().tolist()
        [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]]
    """
    _check(scores, teacher_scores, groups, easy, hard, rough)
    batch = len(scores)
    apart = _apart(scores)
    candidate = _candidates(scores, groups)
    rank, count = _ranks(apart, candidate), candidate.sum(dim=1, keepdim=True)  # (B, B), (B, 1)
    near, far = _sets(rank, count, _size(rough[0], batch), _size(rough[1], batch))
    positive, negative = torch.zeros_like(near), torch.zeros_like(far)
    if kept is not None:
        chosen = kept.to(rank.device).gather(1, rank)
        positive, negative = near & chosen, far & chosen
    elif easy is not None and sampling == "average":
        positive, negative = _sets(rank, count, *_average_sizes(scores, easy))
    elif easy is not None:
        positive, negative = _sets(rank, count, _size(easy[0], batch), _size(easy[1], batch))
    if teacher_scores is not None and hard is not None:
        error = apart / (_apart(teacher_scores) + EPSILON)
        small, large = _sets(_ranks(error, candidate), count, _size(hard[0], batch), _size(hard[1], batch))
        positive, negative = positive | (small & near), negative | (large & far)
    positive, negative = positive & candidate, negative & candidate
    return positive, negative & ~positive


def _check(
    scores: Tensor,
    teacher_scores: Tensor | None,
    groups: Tensor | None,
    easy: Shares | None,
    hard: Shares | None,
    rough: Shares,
) -> None:
    for name, value in (("scores", scores), ("teacher_scores", teacher_scores), ("groups", groups)):
        if value is None:
            continue
        if value.ndim != 1 or len(value) != len(scores):
            raise ValueError(f"{name} must be ({len(scores)},), got {tuple(value.shape)}")
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise ValueError(f"{name} must be finite numbers")
    if easy is None and (hard is None or teacher_scores is None):
        raise ValueError("no pairs: neither easy ones, nor hard ones with teacher scores")
    for shares in (easy, hard, rough):
        if shares is not None and not all(0 < share <= 1 for share in shares):
            raise ValueError(f"shares must be in (0, 1], got {shares}")


def _apart(scores: Tensor) -> Tensor:
    """(B,) -> (B, B) distances; in double precision, so that rounding makes no ties."""
    exact = scores.double()
    return (exact[:, None] - exact[None, :]).abs()


def _candidates(scores: Tensor, groups: Tensor | None) -> Tensor:
    groups = torch.arange(len(scores), device=scores.device) if groups is None else groups
    return groups[:, None] != groups[None, :]


def _ranks(values: Tensor, candidate: Tensor) -> Tensor:
    """(B, B): each candidate's place in its row's ascending order, ties by index; the others come behind."""
    order = values.masked_fill(~candidate, float("inf")).argsort(dim=1, stable=True)
    places = torch.arange(len(values), device=values.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)


def _sets(rank: Tensor, count: Tensor, first: int | Tensor, last: int | Tensor) -> tuple[Tensor, Tensor]:
    """The first and the last of each row's `count` candidates."""
    return (rank < first) & (rank < count), (rank >= count - last) & (rank < count)


def _size(share: float, batch: int) -> int:
    return max(1, int(share * batch + 1e-9))  # 0.29 * 100 is a little less than 29


def _average_sizes(scores: Tensor, easy: Shares) -> tuple[Tensor, Tensor]:
    """(B, 1) sizes of both sets for each query, by how much of the batch lies on its side of the mean."""
    above = scores.double() >= scores.double().mean()
    same = (above[:, None] == above[None, :]).sum(dim=1, keepdim=True)
    sizes = ((2 * easy[0] * same), (2 * easy[1] * (len(scores) - same)))
    return sizes[0].add(1e-9).floor().clamp(min=1), sizes[1].add(1e-9).floor().clamp(min=1)


def usable(positive: Tensor, negative: Tensor) -> Tensor:
    """(B,) bool: queries that have both kinds; the others drop out of the loss.

    Example:
        >>> usable(torch.tensor([[False, True], [False, False]]), torch.tensor([[True, False], [True, True]])).tolist()
        [True, False]
    """
    return positive.any(dim=1) & negative.any(dim=1)


def quality_context_loss(features: Tensor, positive: Tensor, negative: Tensor, *, temperature: float) -> Tensor:
    """Pull each image towards those of its quality, away from those of another quality.

    For query a: the mean over its positives p of -log(exp(s_ap) / (exp(s_ap) + sum over its negatives n of
    exp(s_an))), where s is the cosine of two features over the temperature; then the mean over queries. Queries
    without a positive or without a negative drop out (`usable` says which); with none left the loss is 0.

    Args:
        features: (B, D) embeddings of one layer; L2-normalised here. Half precision is worked through in float32,
            under autocast too.
        positive: (B, B) bool, row: the query.
        negative: (B, B) bool likewise.
        temperature: > 0, no unit; smaller is sharper.

    Returns:
        () loss in nats, >= 0; lower is better.

    Raises:
        ValueError: `temperature` is not positive, or shapes differ.

    Source:
        CSIQA section 3.3, eq. 5. Summed over layers with a weight it is the second term of eq. 6.
    Differs:
        Nothing known; the paper leaves the mean over queries to the reader.

    Example:
        >>> features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
        >>> positive = torch.tensor([[False, True, False], [True, False, False], [False] * 3])
        >>> negative = torch.tensor([[False, False, True], [False, False, True], [True, True, False]])
        >>> quality_context_loss(features, positive, negative, temperature=1.0)  # log(1 + exp(-2))
        tensor(0.1269)
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be > 0, got {temperature}")
    batch = len(features)
    if features.ndim != 2 or positive.shape != (batch, batch) or negative.shape != (batch, batch):
        shapes = f"{tuple(features.shape)}, {tuple(positive.shape)}, {tuple(negative.shape)}"
        raise ValueError(f"features (B, D) and two (B, B) masks are needed, got {shapes}")
    with torch.autocast(features.device.type, enabled=False):
        whole = features if features.dtype == torch.float64 else features.float()
        unit = functional.normalize(whole, dim=1)
        similarity = unit @ unit.T / temperature  # (B, B)
        lowest = torch.finfo(similarity.dtype).min / 2  # finite: the gradient of an empty set is 0 and no NaN
        against = similarity.masked_fill(~negative, lowest).logsumexp(dim=1, keepdim=True)  # (B, 1)
        terms = functional.softplus(against - similarity).masked_fill(~positive, 0.0)  # -log of each share
        each = terms.sum(dim=1) / positive.sum(dim=1).clamp(min=1)
        taking_part = usable(positive, negative)
        return each.masked_fill(~taking_part, 0.0).sum() / taking_part.sum().clamp(min=1)


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
        share[: _size(self.rough[0], batch)] = self.easy[0] / self.rough[0]
        return torch.rand(batch, batch, generator=generator, dtype=torch.float64) < share * self.weights[:batch]

    def update(self, scores: Tensor, predicted: Tensor, *, groups: Tensor | None = None) -> None:
        """Learn from a batch which ranks are predicted right.

        Args:
            scores: (B,) human scores.
            predicted: (B,) the network's scores.
            groups: as for `select_pairs`.
        """
        candidate = _candidates(scores, groups)
        wanted, found = (_ranks(_apart(values.detach()), candidate) for values in (scores, predicted))
        self._reach(len(scores))
        right = torch.zeros_like(wanted, dtype=torch.float64).scatter_(1, wanted, (wanted == found).double())
        seen = torch.zeros_like(right).scatter_(1, wanted, candidate.double())
        share = ((right * seen).sum(dim=0) / seen.sum(dim=0).clamp(min=1)).cpu()
        factor = torch.where(seen.sum(dim=0).cpu() > 0, 1 + self.delta * (1 - 2 * share), 1.0)[: len(self.weights)]
        self.weights[: len(factor)] = (self.weights[: len(factor)] * factor).clamp(0.1, 10)

    def _reach(self, batch: int) -> None:
        more = max(0, batch - len(self.weights))
        self.weights = torch.cat([self.weights, torch.ones(more, dtype=torch.float64)])
