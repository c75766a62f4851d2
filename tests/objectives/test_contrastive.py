"""NT-Xent against the loops of the paper's equations 3 and 4."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from noref.objectives.contrastive import nt_xent


def pair(count: int, width: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(count, width, generator=generator, dtype=dtype) for _ in range(2))  # type: ignore


def cosine(x: Tensor, y: Tensor) -> float:
    return float(x @ y) / (math.sqrt(float(x @ x)) * math.sqrt(float(y @ y)))


def printed(full: tuple[Tensor, Tensor], half: tuple[Tensor, Tensor], temperature: float) -> float:
    """Equations 3 and 4 as they are printed, for B compositions: four terms for each, over 4B elements."""
    views = {"1": full[0], "2": full[1], "1h": half[0], "2h": half[1]}
    count, total = len(full[0]), 0.0

    def gamma(a: str, i: int, b: str, k: int) -> float:
        return math.exp(cosine(views[a][i], views[b][k]) / temperature)

    for own, twin in (("1", "2"), ("2", "1"), ("1h", "2h"), ("2h", "1h")):
        scale = own.removeprefix("1").removeprefix("2")
        other_scale = "" if scale else "h"
        for i in range(count):
            denominator = sum(gamma(own, i, twin, k) for k in range(count))
            denominator += sum(gamma(own, i, v + other_scale, k) for v in "12" for k in range(count))
            denominator += sum(gamma(own, i, own, k) for k in range(count) if k != i)
            total -= math.log(gamma(own, i, twin, i) / denominator)
    return total / (4 * count)


def test_the_loop_of_the_paper_over_both_scales():
    full, half = pair(3, 5, seed=1), pair(3, 5, seed=2)
    first, second = torch.cat([full[0], half[0]]), torch.cat([full[1], half[1]])
    assert float(nt_xent(first, second, temperature=0.1)) == pytest.approx(printed(full, half, 0.1), rel=1e-10)


def test_one_pair_costs_nothing_and_equal_rows_cost_the_logarithm_of_the_rest():
    first, second = pair(1, 4)
    assert float(nt_xent(first, second, temperature=0.5)) == 0
    same = torch.ones(6, 3)
    assert float(nt_xent(same, same, temperature=0.1)) == pytest.approx(math.log(11), rel=1e-6)


def test_lengths_order_and_sides_do_not_matter():
    first, second = pair(7, 4)
    wanted = nt_xent(first, second, temperature=0.2)
    stretch = torch.linspace(0.01, 100, 7, dtype=torch.float64)[:, None]
    order = torch.randperm(7, generator=torch.Generator().manual_seed(0))
    for one, other in ((first * stretch, second), (first[order], second[order]), (second, first)):
        torch.testing.assert_close(nt_xent(one, other, temperature=0.2), wanted)
    assert nt_xent(first, second[order], temperature=0.2) != wanted  # twins are torn apart


def test_gradient():
    first, second = (x.requires_grad_() for x in pair(4, 3))
    assert torch.autograd.gradcheck(lambda a, b: nt_xent(a, b, temperature=0.1), (first, second))


@pytest.mark.parametrize("temperature", [1e-6, 1e-3, 1e3, 1e6])
def test_extreme_temperatures_stay_finite(temperature):
    first, second = (x.float().requires_grad_() for x in pair(8, 4))
    loss = nt_xent(first, second, temperature=temperature)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(first.grad).all()
    if temperature == 1e6:
        assert loss.item() == pytest.approx(math.log(15), rel=1e-4)


def test_half_precision_and_autocast_are_computed_in_float32():
    first, second = (x.bfloat16() for x in pair(8, 16))
    wanted = nt_xent(first.float(), second.float(), temperature=0.05)
    with torch.autocast("cpu", torch.bfloat16):
        found = nt_xent(first, second, temperature=0.05)
    assert found.dtype == torch.float32
    assert found == wanted


@pytest.mark.parametrize(
    ("first", "second", "temperature"),
    [
        (torch.ones(2, 3), torch.ones(3, 3), 0.1),
        (torch.ones(3), torch.ones(3), 0.1),
        (torch.ones(0, 3), torch.ones(0, 3), 0.1),
        (torch.ones(2, 3), torch.ones(2, 3), 0.0),
        (torch.ones(2, 3), torch.ones(2, 3), float("nan")),
    ],
)
def test_bad_input(first, second, temperature):
    with pytest.raises(ValueError, match=r"tensors|temperature"):
        nt_xent(first, second, temperature=temperature)
