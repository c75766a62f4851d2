"""Pairs against a loop that sorts, the loss against a loop that sums."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch

from noref.objectives.csiqa import quality_context_loss, select_pairs, usable

PAPER = {"easy": ("0.1", "0.4"), "hard": ("0.1", "0.4"), "rough": ("0.2", "0.6")}


def size(share, batch):
    return max(1, math.floor(Fraction(share) * batch))


def slow_pairs(scores, teacher=None, groups=None, easy=("0.1", "0.4"), hard=("0.1", "0.4"), rough=("0.2", "0.6")):
    """Sorted lists, one query at a time; shares as decimal strings, so that their sizes are exact."""
    scores, batch = scores.tolist(), len(scores)
    groups = list(range(batch)) if groups is None else groups.tolist()
    teacher = None if teacher is None else teacher.tolist()
    sides = []
    for a in range(batch):
        others = [b for b in range(batch) if groups[b] != groups[a]]
        by_label = sorted(others, key=lambda b: (abs(scores[a] - scores[b]), b))

        def cut(order, shares):
            first, last = size(shares[0], batch), size(shares[1], batch)
            return set(order[:first]), set(order[max(0, len(order) - last) :])

        near, far = cut(by_label, rough)
        positive, negative = cut(by_label, easy) if easy else (set(), set())
        if teacher is not None and hard:
            errors = {b: abs(scores[a] - scores[b]) / (abs(teacher[a] - teacher[b]) + 1e-6) for b in others}
            small, large = cut(sorted(others, key=lambda b: (errors[b], b)), hard)
            positive, negative = positive | (small & near), negative | (large & far)
        sides.append((positive, negative - positive))
    return [[[b in side[kind] for b in range(batch)] for side in sides] for kind in (0, 1)]


def batches():
    generator = torch.Generator().manual_seed(0)

    def some(low, high):
        return int(torch.randint(low, high, (1,), generator=generator))

    for trial in range(150):
        batch = some(1, 48)
        scores = torch.randint(0, some(2, 40), (batch,), generator=generator).float()  # ties and duplicates
        if trial % 3 == 0:
            scores = torch.rand(batch, generator=generator, dtype=torch.float64)
        teacher = (scores + torch.randint(-3, 4, (batch,), generator=generator)).to(scores.dtype)
        groups = torch.randint(0, some(1, batch + 1), (batch,), generator=generator)
        yield scores, teacher if trial % 4 else None, groups if trial % 2 else None


@pytest.mark.parametrize(
    "shares",
    [
        {},
        {"easy": None},
        {"hard": None},
        {"easy": ("0.2", "0.6"), "hard": ("0.2", "0.6"), "rough": ("0.4", "0.9")},
        {"easy": ("0.29", "1"), "rough": ("1", "1")},
    ],
    ids=str,
)
def test_pairs_are_those_of_the_sorting_loop(shares):
    numbers = {name: tuple(map(float, value)) if value else None for name, value in shares.items()}
    for scores, teacher, groups in batches():
        if teacher is None and shares.get("easy", True) is None:
            continue
        positive, negative = select_pairs(scores, teacher, groups=groups, **numbers)
        assert [positive.tolist(), negative.tolist()] == slow_pairs(scores, teacher, groups, **{**PAPER, **shares})


def test_no_crop_of_the_same_image_is_a_pair_though_all_tie():
    groups = torch.arange(8).repeat_interleave(3)
    scores = torch.zeros(24)
    for side in select_pairs(scores, torch.zeros(24), groups=groups):
        assert not (side & (groups[:, None] == groups[None, :])).any()
        assert side.any(dim=1).all()


def test_sets_never_meet_and_shrink_to_nothing_where_nothing_is_left():
    for scores, teacher, groups in batches():
        positive, negative = select_pairs(scores, teacher, groups=groups)
        assert not (positive & negative).any()
    positive, negative = select_pairs(torch.tensor([1.0, 2.0]))
    assert positive.tolist() == [[False, True], [True, False]]
    assert not usable(positive, negative).any()
    positive, negative = select_pairs(torch.rand(6), groups=torch.zeros(6, dtype=torch.long))
    assert not positive.any()
    assert not negative.any()


def test_hard_pairs_are_what_the_text_says():
    """Query 0 (score 0) of 10. Near in score: 1 and 2 (rough positives). The teacher puts 2 far away: hard positive.

    Far in score: 4 to 9; those that the teacher puts beside the query have the largest E: hard negatives.
    """
    scores = torch.arange(10.0)
    teacher = torch.tensor([0.0, 0.5, 8.0, 3.0, 0.1, 9.0, 0.1, 9.0, 9.0, 9.0])
    positive, negative = select_pairs(scores, teacher, easy=None)
    assert positive[0].nonzero().flatten().tolist() == [2]
    error = [None, 1 / 0.5, 2 / 8, 3 / 3, 4 / 0.1, 5 / 9, 6 / 0.1, 7 / 9, 8 / 9, 9 / 9]
    largest = sorted(range(1, 10), key=lambda b: (error[b], b))[-4:]
    assert negative[0].nonzero().flatten().tolist() == sorted(set(largest) & set(range(4, 10)))
    assert {4, 6} <= set(negative[0].nonzero().flatten().tolist())


def test_direction_and_scale_of_the_scores_do_not_matter():
    scores = torch.randint(0, 50, (30,), generator=torch.Generator().manual_seed(1)).double()
    teacher = scores.roll(7)
    for changed in (100 - scores, scores * 4):
        for mine, other in zip(select_pairs(scores, teacher), select_pairs(changed, teacher), strict=True):
            assert torch.equal(mine, other)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: select_pairs(s, torch.rand(4)), "teacher_scores must be"),
        (lambda s: select_pairs(s, groups=torch.zeros(5, 1)), "groups must be"),
        (lambda s: select_pairs(s[:, None]), "scores must be"),
        (lambda s: select_pairs(s * float("nan")), "scores must be finite"),
        (lambda s: select_pairs(s, s / 0), "teacher_scores must be finite"),
        (lambda s: select_pairs(s, easy=None), "no pairs"),
        (lambda s: select_pairs(s, s, easy=None, hard=None), "no pairs"),
        (lambda s: select_pairs(s, easy=(0.0, 0.4)), "shares"),
        (lambda s: select_pairs(s, rough=(0.2, 1.1)), "shares"),
    ],
)
def test_bad_calls_say_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.rand(5))


def slow_loss(features, positive, negative, temperature):
    rows, left = features.tolist(), []
    unit = [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in rows]

    def likeness(a, b):
        return math.exp(sum(x * y for x, y in zip(unit[a], unit[b], strict=True)) / temperature)

    for a in range(len(rows)):
        alike = [b for b in range(len(rows)) if positive[a, b]]
        other = sum(likeness(a, b) for b in range(len(rows)) if negative[a, b])
        if alike and other:
            shares = [likeness(a, b) / (likeness(a, b) + other) for b in alike]
            left.append(-sum(map(math.log, shares)) / len(alike))
    return sum(left) / len(left) if left else 0.0


def random_case(batch, width, seed):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, width, generator=generator, dtype=torch.float64)
    kind = torch.randint(0, 3, (batch, batch), generator=generator)
    positive, negative = kind == 1, kind == 2
    positive[0] = negative[-1] = False  # two queries drop out
    return features, positive, negative


@pytest.mark.parametrize("temperature", [0.05, 0.3, 1.0])
def test_the_loss_is_the_loops(temperature):
    for seed in range(5):
        case = random_case(3 + 4 * seed, 6, seed)
        found = quality_context_loss(*case, temperature=temperature).item()
        assert found == pytest.approx(slow_loss(*case, temperature), rel=1e-9)


def test_gradients_are_right_and_empty_sets_give_none():
    features, positive, negative = random_case(6, 4, 7)
    features.requires_grad_()
    assert torch.autograd.gradcheck(lambda f: quality_context_loss(f, positive, negative, temperature=0.3), features)
    none = torch.zeros_like(positive)
    for sides in ((none, negative), (positive, none), (none, none)):
        loss = quality_context_loss(features.float(), *sides, temperature=0.3)
        (gradient,) = torch.autograd.grad(loss, features)
        assert loss.item() == 0
        assert torch.equal(gradient, torch.zeros_like(gradient))


def test_the_order_of_the_batch_and_the_length_of_features_do_not_matter():
    features, positive, negative = random_case(9, 5, 3)
    expected = quality_context_loss(features, positive, negative, temperature=0.3)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    moved = (features[order] * 7, positive[order][:, order], negative[order][:, order])
    torch.testing.assert_close(quality_context_loss(*moved, temperature=0.3), expected)


def test_identical_features_give_the_logarithm_of_the_sets_size():
    positive, negative = select_pairs(torch.arange(20.0))
    found = quality_context_loss(torch.ones(20, 3), positive, negative, temperature=0.3)
    assert found.item() == pytest.approx(math.log(1 + 8))  # one positive against 40 % of 20


def test_half_precision_is_worked_through_in_float32():
    features, positive, negative = random_case(12, 64, 4)
    half = features.bfloat16()
    expected = quality_context_loss(half.float(), positive, negative, temperature=0.05)
    with torch.autocast("cpu", torch.bfloat16):
        found = quality_context_loss(half, positive, negative, temperature=0.05)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_the_loss_refuses_what_makes_no_sense():
    features, positive, negative = random_case(4, 3, 0)
    for wrong in (0.0, -1.0):
        with pytest.raises(ValueError, match="temperature"):
            quality_context_loss(features, positive, negative, temperature=wrong)
    with pytest.raises(ValueError, match="masks"):
        quality_context_loss(features[:3], positive, negative, temperature=0.3)


def test_a_step_downhill_separates_high_from_low():
    torch.manual_seed(0)
    scores = torch.linspace(0, 1, 24)
    features = torch.nn.Parameter(torch.randn(24, 8))
    positive, negative = select_pairs(scores)
    optimizer = torch.optim.Adam([features], lr=0.1)
    for _ in range(60):
        loss = quality_context_loss(features, positive, negative, temperature=0.3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    unit = torch.nn.functional.normalize(features.detach(), dim=1)
    assert (unit[:3] @ unit[1:4].T).mean() > 0.9
    assert (unit[:3] @ unit[-3:].T).mean() < 0
