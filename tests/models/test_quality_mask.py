from __future__ import annotations

import math

import pytest
import torch

from noref.models.vit import quality_mask, quality_masks

INF = float("inf")


def generator(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("n_tokens", [1, 5, 197])
@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_mask_row_by_row(n_tokens, probability):
    mask = quality_mask(n_tokens, probability, generator(0))
    assert mask.shape == (n_tokens + 1, n_tokens + 1)
    for row in range(n_tokens):  # class token and patches: each other, never the quality token
        assert mask[row].tolist() == [0.0] * n_tokens + [-INF]
    assert mask[-1, -1] == 0  # the quality token sees itself
    assert set(mask[-1, :-1].tolist()) <= {0.0, -INF}
    if probability in (0, 1):
        assert set(mask[-1, :-1].tolist()) == {-INF if probability else 0.0}


def test_mask_is_the_logarithm_of_the_papers_matrix():
    mask = quality_mask(12, 0.5, generator(3))
    m = [0.0 if value == -INF else 1.0 for value in mask[-1, :-1].tolist()]
    paper = [[1.0] * 12 + [0.0] for _ in range(12)] + [[*m, 1.0]]
    assert 0 < sum(m) < 12
    assert mask.tolist() == [[math.log(value) if value else -INF for value in row] for row in paper]


def test_tokens_are_hidden_as_often_as_asked_and_anew_for_each_image():
    masks = quality_masks(64, 197, 0.3, generator(1))
    assert masks.shape == (64, 1, 198, 198)
    hidden = masks[:, 0, -1, :-1] == -INF
    share, spread = hidden.double().mean().item(), math.sqrt(0.3 * 0.7 / (64 * 197))
    assert abs(share - 0.3) < 5 * spread
    assert hidden[:, 0].any()  # the class token too
    assert len({tuple(row) for row in hidden.tolist()}) == 64


def test_chance_comes_from_the_generator_alone():
    torch.manual_seed(0)
    first = quality_mask(20, 0.3, generator(5))
    torch.manual_seed(1)
    assert torch.equal(quality_mask(20, 0.3, generator(5)), first)
    assert not torch.equal(quality_mask(20, 0.3, generator(6)), first)
    source = generator(7)
    assert not torch.equal(quality_mask(20, 0.3, source), quality_mask(20, 0.3, source))


@pytest.mark.parametrize(("n_tokens", "probability"), [(0, 0.3), (5, -0.1), (5, 1.1), (5, float("nan"))])
def test_masks_that_make_no_sense_are_value_errors(n_tokens, probability):
    with pytest.raises(ValueError, match="no mask"):
        quality_mask(n_tokens, probability, None)
