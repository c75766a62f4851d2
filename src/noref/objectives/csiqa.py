"""CSIQA's quality context: which images of a batch are alike in quality, and the contrast between them.

Li et al. 2024, "Integrating Global Context Contrast and Local Sensitivity for Blind Image Quality Assessment",
ICML 2024. Three lines put it into any training loop:

    positive, negative = select_pairs(labels, teacher_scores, groups=image_numbers)
    loss = loss + 0.1 * quality_context_loss(features, positive, negative, temperature=0.3)
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

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

    Returns:
        positive and negative, two (B, B) bool, row: the query. Shares are floored to whole elements, at least one
        where there is a candidate. No element is on both sides: in batches so small that the sets would meet,
        what is positive is no negative. A query without either kind plays no part in the loss.

    Raises:
        ValueError: shapes that differ, scores that are not finite, shares out of (0, 1], or no kind of pair left.

    Source:
        CSIQA section 3.4, eq. 7. Appendix D's adaptive sampling: experiments/csiqa/variants.py.
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
    apart = distances(scores)
    candidate = candidates(scores, groups)
    rank, count = ranks(apart, candidate), candidate.sum(dim=1, keepdim=True)  # (B, B), (B, 1)
    near, far = sets(rank, count, set_size(rough[0], batch), set_size(rough[1], batch))
    positive, negative = torch.zeros_like(near), torch.zeros_like(far)
    if easy is not None:
        positive, negative = sets(rank, count, set_size(easy[0], batch), set_size(easy[1], batch))
    if teacher_scores is not None and hard is not None:
        error = apart / (distances(teacher_scores) + EPSILON)
        small, large = sets(ranks(error, candidate), count, set_size(hard[0], batch), set_size(hard[1], batch))
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


def distances(scores: Tensor) -> Tensor:
    """(B,) -> (B, B) distances; in double precision, so that rounding makes no ties."""
    exact = scores.double()
    return (exact[:, None] - exact[None, :]).abs()


def candidates(scores: Tensor, groups: Tensor | None) -> Tensor:
    """(B, B) bool, row: the query; its candidates are all elements of other groups."""
    groups = torch.arange(len(scores), device=scores.device) if groups is None else groups
    return groups[:, None] != groups[None, :]


def ranks(values: Tensor, candidate: Tensor) -> Tensor:
    """(B, B): each candidate's place in its row's ascending order, ties by index; the others come behind."""
    order = values.masked_fill(~candidate, float("inf")).argsort(dim=1, stable=True)
    places = torch.arange(len(values), device=values.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)


def sets(rank: Tensor, count: Tensor, first: int | Tensor, last: int | Tensor) -> tuple[Tensor, Tensor]:
    """The first and the last of each row's `count` candidates."""
    return (rank < first) & (rank < count), (rank >= count - last) & (rank < count)


def set_size(share: float, batch: int) -> int:
    """A share of the batch in whole elements, at least one."""
    return max(1, int(share * batch + 1e-9))  # 0.29 * 100 is a little less than 29


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
