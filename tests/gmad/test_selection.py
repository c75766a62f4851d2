"""Pairs against brute force over all pairs; levels worked out by hand."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import noref.gmad
from noref.errors import DataError, OptionError
from noref.gmad.selection import find_pairs, select_pairs


def levels_by_hand(defender, levels):
    """Equal counts: images in the defender's order, ties by index, dealt out from below; the lower levels larger."""
    order = sorted(range(len(defender)), key=lambda i: (defender[i], i))
    small, more = divmod(len(order), levels)
    sizes = [small + (level < more) for level in range(levels)]
    starts = [sum(sizes[:level]) for level in range(levels)]
    return [order[start : start + size] for start, size in zip(starts, sizes, strict=True)]


def widths_by_hand(defender, levels):
    low, high = min(defender), max(defender)
    found = [[] for _ in range(levels)]
    for i, score in enumerate(defender):
        found[min(levels - 1, int((score - low) * levels / (high - low)))].append(i)
    return found


def best_by_trying_all(attacker, members, top):
    """Of all pairs of images the most different, without repeating one; ties: lowest better, then lowest worse."""
    left, pairs = set(members), []
    for _ in range(top):
        tried = [(attacker[a] - attacker[b], -a, -b) for a, b in itertools.permutations(sorted(left), 2)]
        if not tried or max(tried)[0] <= 0:
            break
        _, better, worse = max(tried)
        pairs.append((-better, -worse))
        left -= {-better, -worse}
    return pairs


INTEGERS = st.integers(2, 24).flatmap(
    lambda n: st.tuples(*(st.lists(st.integers(0, 9), min_size=n, max_size=n) for _ in range(2)))
)


@given(INTEGERS, st.integers(1, 5), st.integers(1, 3), st.sampled_from(["count", "width"]))
def test_equals_trying_every_pair(scores, levels, top, groups):
    attacker, defender = scores
    flat = len(set(defender)) == 1
    cut = (
        [] if flat and levels > 1 else [list(range(len(defender)))] if flat else
        (levels_by_hand if groups == "count" else widths_by_hand)(defender, levels)
    )  # fmt: skip
    expected = [best_by_trying_all(attacker, members, top) for members in cut]
    possible = bool(cut) and (all(len(e) == top for e in expected) if groups == "count" else any(expected))
    if not possible:
        with pytest.raises(DataError):
            find_pairs(attacker, defender, levels=levels, top=top, groups=groups)
        return
    found = find_pairs(attacker, defender, levels=levels, top=top, groups=groups)
    for level, wanted in enumerate(expected, 1):
        mine = [pair for pair in found if pair.level == level]
        assert [pair.rank for pair in mine] == list(range(1, len(wanted) + 1))
        difference = [attacker[p.better] - attacker[p.worse] for p in mine]
        assert difference == [attacker[a] - attacker[b] for a, b in wanted]
        assert [(p.better, p.worse) for p in mine[:1]] == wanted[:1]
        images = [i for p in mine for i in (p.better, p.worse)]
        assert len(set(images)) == len(images)
        assert set(images) <= set(cut[level - 1])
    if groups == "count" and top == 1:
        assert select_pairs(attacker, defender, levels=levels) == [e[0] for e in expected]


def test_worked_by_hand():
    defender = [60, 10, 50, 20, 40, 30, 70]
    attacker = [1, 2, 3, 4, 5, 6, 7]
    # order 10 20 30 | 40 50 | 60 70: images 1 3 5 | 4 2 | 0 6
    assert select_pairs(attacker, defender, levels=3) == [(5, 1), (4, 2), (6, 0)]
    # width 20: 10 20 | 30 40 | 50 60 70, borders 30 and 50 belong to the upper level
    width = find_pairs(attacker, defender, levels=3, groups="width", top=2)
    assert [(p.level, p.rank, p.better, p.worse) for p in width] == [(1, 1, 3, 1), (2, 1, 5, 4), (3, 1, 6, 0)]


def test_the_public_name_is_the_same_function_and_needs_no_torch():
    assert noref.gmad.select_pairs is select_pairs
    code = "import sys; from noref.gmad import select_pairs; print({'torch', 'scipy', 'jinja2'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_next_pair_takes_what_is_left():
    pairs = find_pairs([0, 10, 4, 7, 5, 5], [1] * 6, levels=1, top=2)
    assert [(p.better, p.worse) for p in pairs] == [(1, 0), (3, 2)]
    with pytest.raises(DataError, match="level 1: the attacker gives too many of the 6 images one score for 3 pairs"):
        find_pairs([0, 10, 4, 7, 5, 5], [1] * 6, levels=1, top=3)


def test_a_monotone_change_of_either_model_changes_nothing():
    rng = np.random.default_rng(0)
    attacker, defender = rng.normal(size=(2, 500))
    assert select_pairs(attacker, defender, levels=7) == select_pairs(np.exp(attacker), defender**3, levels=7)


def test_a_reversed_attacker_swaps_better_and_worse():
    rng = np.random.default_rng(1)
    attacker, defender = rng.normal(size=(2, 300))
    pairs = select_pairs(attacker, defender, levels=5)
    assert select_pairs(-attacker, defender, levels=5) == [(worse, better) for better, worse in pairs]


@pytest.mark.parametrize(
    ("attacker", "defender", "reason"),
    [
        ([1, 2, 3], [1, 2], "one length"),
        ([[1, 2]], [[1, 2]], "one length"),
        ([1, math.nan, 3, 4], [1, 2, 3, 4], "attacker score 1 is nan"),
        ([1, 2, 3, 4], [1, 2, 3, -math.inf], "defender score 3 is -inf"),
        ([1, 2, 3, 4], [7, 7, 7, 7], "all defender scores are 7: there are no levels"),
        ([5, 5, 5, 1], [1, 2, 3, 4], "level 1: the attacker gives all 2 images 5, so there is no pair"),
        ([1, 2, 3], [1, 2, 3], "level 2 has too few images, 1, where a pair needs 2: ask for fewer levels"),
        (["a", "b"], [1, 2], "numbers"),
        ([], [], "a pair needs two images, got 0"),
        ([1], [1], "a pair needs two images, got 1"),
    ],
)
def test_what_has_no_answer_is_refused_with_the_reason(attacker, defender, reason):
    with pytest.raises(DataError, match=reason):
        select_pairs(attacker, defender, levels=2)


def test_levels_without_a_pair_are_left_out_where_widths_are_equal_but_not_all():
    pairs = find_pairs([1, 2, 3, 9], [0, 0, 1, 10], levels=2, groups="width")
    assert [(p.level, p.better, p.worse) for p in pairs] == [(1, 2, 0)]
    with pytest.raises(DataError, match="no level has two images"):
        find_pairs([1, 2], [0, 10], levels=2, groups="width")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"levels": 0}, "levels must be 1 or more"),
        ({"levels": 2, "top": 0}, "top must be 1 or more"),
        ({"levels": 2, "groups": "widht"}, "did you mean width?"),
    ],
)
def test_options_that_cannot_work_are_refused(options, reason):
    with pytest.raises(OptionError, match=reason):
        find_pairs([1, 2, 3, 4], [1, 2, 3, 4], **options)


def test_many_rows_need_no_square_matrix():
    # 100 000 squared doubles are 80 GB: it could not run at all
    rng = np.random.default_rng(2)
    attacker, defender = rng.normal(size=(2, 100_000))
    pairs = find_pairs(attacker, defender, levels=6, top=4)
    assert len(pairs) == 24
    edges = np.quantile(defender, np.linspace(0, 1, 7))
    for pair in pairs:
        low, high = edges[pair.level - 1], edges[pair.level]
        assert all(low - 1e-3 <= defender[i] <= high + 1e-3 for i in (pair.better, pair.worse))
