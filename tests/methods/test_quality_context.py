"""What CSIQA adds to a step: against the formula, over several processes, and as options that can be wrong."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from noref.card import Scale
from noref.data.readers import READERS
from noref.errors import OptionError
from noref.methods.quality_context import RANKS, ContrastOptions, QualityContext, noisy
from noref.objectives.csiqa import quality_context_loss, select_pairs
from noref.objectives.distill import ranking_loss
from noref.train.state import State

SCRIPT = Path(__file__).with_name("gathered.py")
SOURCE = Path(__file__).parents[2] / "src"
SCALE = Scale(0, 50, higher_is_better=False)


@pytest.fixture(scope="module")
def fabric():
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    return fabric


def case():
    """Ten images with two crops each: predicted, three layers, labels, numbers, the teacher's scores."""
    source = torch.Generator().manual_seed(0)
    predicted = torch.rand(20, generator=source)
    layers = [torch.randn(20, width, generator=source) for width in (4, 6, 8)]
    return predicted, layers, torch.rand(10, generator=source), torch.arange(10), torch.rand(10, 2, generator=source)


def add(fabric, *, teacher=True, **options):
    predicted, layers, quality, indices, scores = case()
    context = QualityContext(ContrastOptions(**options), SCALE, fabric, distance="l1")
    return context.add(torch.tensor(7.0), predicted, layers, quality, indices, scores if teacher else None)


def test_the_whole_loss_is_equation_six(fabric):
    predicted, layers, quality, indices, scores = case()
    positive, negative = select_pairs(
        quality.repeat_interleave(2), scores.flatten(), groups=indices.repeat_interleave(2)
    )
    contrast = sum(quality_context_loss(layer, positive, negative, temperature=0.3) for layer in layers)
    teacher = 50 * (predicted - scores.flatten()).abs().mean()
    found = add(fabric, contrast="quality-context")
    assert found["loss"].item() == pytest.approx((7 + 0.9 * teacher + 0.1 * contrast).item(), rel=1e-5)
    assert found["contrast"].item() == pytest.approx(contrast.item(), rel=1e-5)
    assert found["teacher"].item() == pytest.approx(teacher.item(), rel=1e-5)
    assert (found["label"].item(), found["dropped"].item()) == (7, 0)
    weighted = add(fabric, contrast="quality-context", contrast_weight=2.0, distill=0.5, label_weight=3.0)
    assert weighted["loss"].item() == pytest.approx((21 + 0.5 * teacher + 2 * contrast).item(), rel=1e-5)


def test_parts_can_be_had_alone(fabric):
    assert add(fabric, distill=0.5, contrast="none").keys() == {"loss", "label", "teacher"}
    easy = add(fabric, teacher=False, contrast="quality-context", pairs="easy", distill=0.0)
    assert easy.keys() == {"loss", "label", "contrast", "dropped"}
    last = add(fabric, contrast="quality-context", contrast_layers=1)["contrast"]
    last_two = add(fabric, contrast="quality-context", contrast_layers=2)["contrast"]
    every = add(fabric, contrast="quality-context", contrast_layers=0)["contrast"]
    assert last < last_two < every


def test_pairs_follow_the_options(fabric):
    predicted, _, quality, indices, scores = case()
    labels, groups = quality.repeat_interleave(2), indices.repeat_interleave(2)

    def pairs(**options):
        context = QualityContext(ContrastOptions(contrast="quality-context", **options), SCALE, fabric)
        return context.pairs(labels, groups, scores.flatten(), predicted)

    for options, expected in (
        ({"pairs": "easy"}, select_pairs(labels, groups=groups)),
        ({"pairs": "hard"}, select_pairs(labels, scores.flatten(), groups=groups, easy=None)),
        ({"easy": (0.3, 0.3)}, select_pairs(labels, scores.flatten(), groups=groups, easy=(0.3, 0.3))),
        ({"sampling": "average"}, select_pairs(labels, scores.flatten(), groups=groups, sampling="average")),
    ):
        for mine, other in zip(pairs(**options), expected, strict=True):
            assert torch.equal(mine, other), options


def test_ranking_uses_the_same_pairs_on_the_scale_of_the_scores(fabric):
    predicted, _, quality, indices, _ = case()
    labels = quality.repeat_interleave(2)
    positive, negative = select_pairs(labels, groups=indices.repeat_interleave(2))
    expected = ranking_loss(50 * predicted, 50 * labels, positive | negative, margin=0.05 * 50)
    found = add(fabric, contrast="ranking", pairs="easy")
    assert found["contrast"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert "teacher" not in found  # only quality context distils unasked


def test_the_teacher_alone_pairs_too(fabric):
    _, layers, _, indices, scores = case()
    positive, negative = select_pairs(scores.flatten(), groups=indices.repeat_interleave(2))
    contrast = sum(quality_context_loss(layer, positive, negative, temperature=0.3) for layer in layers)
    found = add(fabric, contrast="quality-context", label_weight=0.0)
    assert found["contrast"].item() == pytest.approx(contrast.item(), rel=1e-5)
    assert found["loss"].item() == pytest.approx((0.9 * found["teacher"] + 0.1 * contrast).item(), rel=1e-5)


def test_dropped_queries_are_counted(fabric):
    predicted, layers, _, _, _ = case()
    context = QualityContext(ContrastOptions(contrast="quality-context", pairs="easy", distill=0.0), SCALE, fabric)
    one_image = torch.zeros(10, dtype=torch.long)
    found = context.add(torch.tensor(1.0), predicted, layers, torch.rand(10), one_image, None)
    assert (found["dropped"].item(), found["contrast"].item(), found["loss"].item()) == (1, 0, 1)
    one_apart = torch.zeros(10, dtype=torch.long)  # nine queries have one candidate, who cannot be near and far
    one_apart[3] = 1
    found = context.add(torch.tensor(1.0), predicted, layers, torch.rand(10), one_apart, None)
    assert found["dropped"].item() == pytest.approx(0.9)
    assert found["contrast"].item() > 0


def test_what_adaptive_sampling_learns_is_in_the_state(fabric):
    predicted, layers, quality, indices, scores = case()
    options = ContrastOptions(contrast="quality-context", sampling="adaptive")
    network = torch.nn.Linear(1, 1)
    state = State(network, torch.optim.SGD(network.parameters()))
    context = QualityContext(options, SCALE, fabric)
    context.follow(state)
    context.add(torch.tensor(0.0), predicted, layers, quality, indices, scores)
    learnt = state.extras[RANKS].clone()
    assert (learnt != 1).any()
    again = QualityContext(options, SCALE, fabric)
    again.follow(state)
    for one in (context, again):
        torch.manual_seed(3)
        one.add(torch.tensor(0.0), predicted, layers, quality, indices, scores)
    assert torch.equal(again.sampler.weights, context.sampler.weights)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"contrast_weight": -1.0}, "contrast_weight"),
        ({"distill": -0.1}, "distill"),
        ({"label_weight": 0.0, "distill": 0.0}, "needs a teacher"),
        ({"label_weight": 0.0, "distill": 1.0, "pairs": "hard"}, "no hard pairs"),
        ({"sampling": "adaptive", "pairs": "hard"}, "draws easy pairs"),
        ({"sampling": "average", "pairs": "hard"}, "draws easy pairs"),
        ({"delta": 1.0}, "delta"),
        ({"easy": (0.0, 0.4)}, "easy"),
        ({"rough": (0.2, 1.5)}, "rough"),
    ],
)
def test_options_that_make_no_sense_are_option_errors(fabric, options, message):
    with pytest.raises(OptionError, match=message):
        QualityContext(ContrastOptions(**options), SCALE, fabric)


def test_who_wants_a_teacher():
    wants = {
        (): False,
        (("contrast", "quality-context"),): True,
        (("contrast", "quality-context"), ("distill", 0.0)): True,  # hard pairs
        (("contrast", "quality-context"), ("distill", 0.0), ("pairs", "easy")): False,
        (("contrast", "quality-context"), ("pairs", "easy")): True,
        (("distill", 0.9),): True,
        (("contrast", "ranking"), ("pairs", "easy")): False,
    }
    for options, expected in wants.items():
        assert ContrastOptions(**dict(options)).wants_teacher == expected, options


def test_label_noise_is_seeded_gaussian_and_leaves_the_rest_alone(rated):
    records = READERS["csv"](rated)
    many = [dataclasses.replace(records[0], raw_score=50.0, scale=Scale(0, 200))] * 4000
    noise = torch.tensor([record.raw_score - 50 for record in noisy(many, 0.1, seed=0)])
    assert noise.mean().abs() < 5 * 20 / 4000**0.5
    assert noise.std().item() == pytest.approx(20, rel=0.05)
    kurtosis = (noise / noise.std()).pow(4).mean().item()
    assert kurtosis == pytest.approx(3, abs=0.5)
    first, again, other = (noisy(records, 0.1, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    assert [dataclasses.replace(r, raw_score=0.0) for r in first] == [
        dataclasses.replace(r, raw_score=0.0) for r in records
    ]
    assert noisy(records, 0.0, seed=0) == records
    with pytest.raises(OptionError, match="label_noise"):
        noisy(records, -0.1, seed=0)


@pytest.mark.parametrize(("contrast", "sampling"), [("quality-context", "fixed"), ("ranking", "adaptive")])
def test_two_processes_give_one_processes_pairs_loss_and_gradient(contrast, sampling, tmp_path):
    spec = importlib.util.spec_from_file_location("gathered", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    _, expected = module.step(1, contrast, sampling)
    file = tmp_path / "found.pt"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, str(SCRIPT), "2", str(file), contrast, sampling]
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    found = torch.load(file, weights_only=True)
    assert expected["positive"].any(dim=1).all()
    assert torch.equal(found.pop("positive"), expected.pop("positive"))
    assert torch.equal(found.pop("negative"), expected.pop("negative"))
    assert expected["contrast"] > 0
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name)
