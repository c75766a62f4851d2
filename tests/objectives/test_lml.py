"""The contrast against a four-fold loop, the window against brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from noref.errors import OptionError
from noref.objectives.lml import local_manifold_loss, salient_window

VARIANTS = [
    {"inter_negatives": inter, "intra_negatives": intra, "positive_in_denominator": positive}
    for inter, intra, positive in itertools.product(("crops", "salient"), (True, False), (True, False))
]


def features(images=3, crops=4, width=5, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(images, crops, width, generator=generator, dtype=dtype),
        torch.randn(images, width, generator=generator, dtype=dtype),
    )


def by_loop(crops, salient, temperature, *, inter_negatives, intra_negatives, positive_in_denominator):
    """Eq. 3-5, one exponential after the other."""

    def closeness(a, b):
        cosine = sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)
        return math.exp(cosine / temperature)

    crops, salient = crops.tolist(), salient.tolist()
    terms = []
    for n in range(len(crops)):
        for h in range(len(crops[n])):
            positive = closeness(crops[n][h], salient[n])
            below = positive if positive_in_denominator else 0.0
            for m in range(len(crops)):
                if m != n and inter_negatives == "salient":
                    below += closeness(crops[n][h], salient[m])
                    continue
                for k in range(len(crops[m])):
                    if (m == n and intra_negatives and k != h) or m != n:
                        below += closeness(crops[n][h], crops[m][k])
            terms.append(-math.log(positive / below))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize(("images", "crops", "temperature"), [(3, 4, 0.3), (2, 1, 1.0), (5, 2, 0.07)])
def test_loss_is_the_four_fold_loop(variant, images, crops, temperature):
    own, salient = features(images, crops)
    found = local_manifold_loss(own, salient, temperature=temperature, **variant)
    assert found.shape == ()
    assert found.item() == pytest.approx(by_loop(own, salient, temperature, **variant), rel=1e-10)


def test_one_image_has_its_own_crops_only():
    own, salient = features(1, 3)
    variant = {"inter_negatives": "crops", "intra_negatives": True, "positive_in_denominator": False}
    expected = by_loop(own, salient, 0.3, **variant)
    assert local_manifold_loss(own, salient, temperature=0.3).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_gradients_into_crops_and_salient_crops_are_right(variant):
    own, salient = (x.requires_grad_() for x in features(2, 3, 4))
    assert torch.autograd.gradcheck(lambda a, b: local_manifold_loss(a, b, temperature=0.5, **variant), (own, salient))


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_the_order_of_images_and_of_crops_plays_no_role(variant):
    own, salient = features(4, 5)
    expected = local_manifold_loss(own, salient, temperature=0.3, **variant)
    turned = own[[2, 0, 3, 1]]
    shuffled = torch.stack([image[torch.randperm(5, generator=torch.Generator().manual_seed(1))] for image in turned])
    torch.testing.assert_close(
        local_manifold_loss(shuffled, salient[[2, 0, 3, 1]], temperature=0.3, **variant), expected
    )


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("temperature", [0.01, 0.3, 5.0])
def test_identical_crops_count_the_negatives(variant, temperature):
    images, crops = 3, 4
    same = torch.full((images, crops, 6), 0.7)
    negatives = (crops - 1) * variant["intra_negatives"] + variant["positive_in_denominator"]
    negatives += (images - 1) * (crops if variant["inter_negatives"] == "crops" else 1)
    found = local_manifold_loss(same, same[:, 0], temperature=temperature, **variant)
    assert found.item() == pytest.approx(math.log(negatives), abs=1e-5)


def test_the_length_of_a_feature_plays_no_role():
    own, salient = features()
    longer = own * torch.rand(3, 4, 1, dtype=torch.float64).add(0.1) * 100
    torch.testing.assert_close(
        local_manifold_loss(longer, salient * 7, temperature=0.3), local_manifold_loss(own, salient, temperature=0.3)
    )


def test_without_the_positive_below_the_loss_may_be_negative():
    own = torch.eye(4).reshape(2, 2, 4)  # all crops at right angles, each as close to its salient crop as to the other
    salient = torch.stack([own[0].sum(0), own[1].sum(0)])
    expected = math.log(3) - math.cos(math.pi / 4) / 0.1
    assert local_manifold_loss(own, salient, temperature=0.1).item() == pytest.approx(expected, rel=1e-5)
    assert expected < 0
    assert local_manifold_loss(own, salient, temperature=0.1, positive_in_denominator=True) > 0


def test_descending_brings_crops_to_the_salient_one_and_keeps_them_apart():
    """What the paper claims: crops end near their salient crop, and without intra-image negatives nearer each other."""

    def spread(intra):
        own, salient = (x.requires_grad_() for x in features(3, 4, 8, dtype=torch.float32))
        optimizer = torch.optim.Adam([own, salient], lr=0.05)
        for _ in range(200):
            optimizer.zero_grad()
            local_manifold_loss(own, salient, temperature=0.3, intra_negatives=intra).backward()
            optimizer.step()
        unit = torch.nn.functional.normalize(own.detach(), dim=-1)
        return float((unit @ unit.transpose(1, 2)).mean())

    assert spread(True) < spread(False) - 0.2


def test_half_precision_is_worked_through_in_float32():
    own, salient = features(3, 4, 32, dtype=torch.float32)
    small = own.bfloat16(), salient.bfloat16()
    expected = local_manifold_loss(*(x.float() for x in small), temperature=0.01)
    with torch.autocast("cpu", torch.bfloat16):
        found = local_manifold_loss(*small, temperature=0.01)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)  # at this temperature exp overflows, the log-sum-exp does not


@pytest.mark.parametrize(("images", "crops", "intra"), [(1, 1, True), (1, 1, False), (1, 4, False)])
@pytest.mark.parametrize("positive", [True, False])
def test_no_negatives_is_an_option_error(images, crops, intra, positive):
    own, salient = features(images, crops)
    with pytest.raises(OptionError, match="no negatives"):
        local_manifold_loss(own, salient, temperature=0.3, intra_negatives=intra, positive_in_denominator=positive)


@pytest.mark.parametrize(
    ("crops", "salient", "options", "reason"),
    [
        (torch.ones(2, 3), torch.ones(2, 3), {}, "got"),
        (torch.ones(2, 3, 4), torch.ones(2, 3), {}, "got"),
        (torch.ones(2, 3, 4), torch.ones(3, 4), {}, "got"),
        (torch.ones(2, 0, 4), torch.ones(2, 4), {}, "got"),
        (torch.ones(2, 3, 4), torch.ones(2, 4), {"temperature": 0.0}, "temperature"),
        (torch.ones(2, 3, 4), torch.ones(2, 4), {"temperature": float("nan")}, "temperature"),
        (torch.ones(2, 3, 4), torch.ones(2, 4), {"inter_negatives": "all"}, "unknown inter_negatives 'all'"),
    ],
)
def test_bad_input_is_refused(crops, salient, options, reason):
    with pytest.raises(ValueError, match=reason):
        local_manifold_loss(crops, salient, **{"temperature": 0.3, **options})


def window_by_brute_force(image, size):
    best, place = -math.inf, (0, 0)
    for row in range(image.shape[0] - size + 1):
        for column in range(image.shape[1] - size + 1):
            total = math.fsum(image[row : row + size, column : column + size].ravel())
            if total > best:
                best, place = total, (row, column)
    return place


@pytest.mark.parametrize("size", [1, 5, 8, 10, 14])
def test_the_window_is_brute_forces(size):
    rng = np.random.default_rng(size)
    maps = np.concatenate(
        [
            rng.random((20, 14, 14)).astype(np.float32),
            rng.integers(0, 2, (40, 14, 14)).astype(np.float32),  # full of ties
            (rng.integers(0, 3, (20, 14, 14)) * np.float32(0.1)).astype(np.float32),  # ties that rounding could break
            np.full((1, 14, 14), 1 / 196, np.float32),
        ]
    )
    rows, columns = salient_window(torch.from_numpy(maps), size)
    assert rows.dtype == columns.dtype == torch.int64
    expected = [window_by_brute_force(image.astype(np.float64), size) for image in maps]
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == expected


def test_ties_go_to_the_first_in_row_major_order():
    maps = torch.zeros(3, 14, 14)
    maps[0, 3, 9] = maps[0, 9, 1] = 1.0
    maps[1, 13, 13] = maps[1, 13, 0] = 1.0
    rows, columns = salient_window(maps, 2)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(2, 8), (12, 0), (0, 0)]


def test_maps_need_not_be_square():
    maps = torch.zeros(1, 4, 9)
    maps[0, 3, 8] = 1.0
    assert [int(x) for x in salient_window(maps, 3)] == [1, 6]


@pytest.mark.parametrize(
    ("maps", "size"),
    [
        (torch.ones(1, 14, 14), 0),
        (torch.ones(1, 14, 14), 15),
        (torch.ones(14, 14), 3),
        (torch.ones(0, 14, 14), 3),
        (torch.full((1, 14, 14), float("nan")), 3),
    ],
)
def test_windows_that_cannot_be_are_refused(maps, size):
    with pytest.raises(ValueError, match=r"fit|maps|finite"):
        salient_window(maps, size)
