"""What CSIQA adds to a step: against the formula, over several processes, and as options that can be wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from noref.card import Scale
from noref.errors import OptionError
from noref.methods import csiqa
from noref.objectives.csiqa import quality_context_loss, select_pairs
from noref.train.supervised import Forward, Term

from ..load_script import load_script

SCRIPT = Path(__file__).with_name("gathered.py")
SOURCE = Path(__file__).parents[2] / "src"
SCALE = Scale(0, 50, higher_is_better=False)


def case():
    """Ten images with two crops each: predicted, three layers, labels, numbers, the teacher's scores."""
    source = torch.Generator().manual_seed(0)
    predicted = torch.rand(20, generator=source)
    layers = [torch.randn(20, width, generator=source) for width in (4, 6, 8)]
    return predicted, layers, torch.rand(10, generator=source), torch.arange(10), torch.rand(10, 2, generator=source)


def forward(teacher=True):
    predicted, layers, quality, indices, scores = case()
    whole = [layer.view(10, 2, -1) for layer in layers]
    return Forward(predicted.view(10, 2), quality, indices, scores if teacher else None, layers=whole)


def add(fabric, *, seen=None, label=7.0, teacher=True, **options):
    """All terms of a step whose own loss is 7, as the training adds them up."""
    config = csiqa.Contrast(**{"loss": "l1", **options})
    own = Term("label", config.label_weight, lambda seen: torch.tensor(label))
    terms = [own, *csiqa.terms(config, SCALE, fabric)]
    seen = seen or forward(teacher)
    values = {term.name: term.loss(seen) for term in terms}
    loss = sum(term.weight * values[term.name] for term in terms)
    notes = {name: value for term in terms for name, value in term.notes(seen).items()}
    return {"loss": loss, **values, **notes}


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
    _, _, quality, indices, scores = case()
    labels, groups = quality.repeat_interleave(2), indices.repeat_interleave(2)
    for options, expected in (
        ({"pairs": "easy"}, select_pairs(labels, groups=groups)),
        ({"pairs": "hard"}, select_pairs(labels, scores.flatten(), groups=groups, easy=None)),
        ({"easy": (0.3, 0.3)}, select_pairs(labels, scores.flatten(), groups=groups, easy=(0.3, 0.3))),
    ):
        loss = csiqa.CSIQALoss(csiqa.Contrast(contrast="quality-context", **options), fabric)
        for mine, other in zip(loss.pairs(forward()), expected, strict=True):
            assert torch.equal(mine, other), options


def test_the_teacher_alone_pairs_too(fabric):
    _, layers, _, indices, scores = case()
    positive, negative = select_pairs(scores.flatten(), groups=indices.repeat_interleave(2))
    contrast = sum(quality_context_loss(layer, positive, negative, temperature=0.3) for layer in layers)
    found = add(fabric, contrast="quality-context", label_weight=0.0)
    assert found["contrast"].item() == pytest.approx(contrast.item(), rel=1e-5)
    assert found["loss"].item() == pytest.approx((0.9 * found["teacher"] + 0.1 * contrast).item(), rel=1e-5)


def test_dropped_queries_are_counted(fabric):
    options = {"contrast": "quality-context", "pairs": "easy", "distill": 0.0}
    labels, one_image = torch.rand(10), torch.zeros(10, dtype=torch.long)
    seen = forward(teacher=False)._replace(quality=labels, indices=one_image)
    found = add(fabric, seen=seen, label=1.0, **options)
    assert (found["dropped"].item(), found["contrast"].item(), found["loss"].item()) == (1, 0, 1)
    one_apart = torch.zeros(10, dtype=torch.long)  # nine queries have one candidate, which is not both near and far
    one_apart[3] = 1
    found = add(fabric, seen=seen._replace(indices=one_apart), label=1.0, **options)
    assert found["dropped"].item() == pytest.approx(0.9)
    assert found["contrast"].item() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"contrast_weight": -1.0}, "contrast_weight"),
        ({"distill": -0.1}, "distill"),
        ({"label_weight": 0.0, "distill": 0.0}, "needs a teacher"),
        ({"label_weight": 0.0, "distill": 1.0, "pairs": "hard"}, "no hard pairs"),
        ({"easy": (0.0, 0.4)}, "easy"),
        ({"rough": (0.2, 1.5)}, "rough"),
    ],
)
def test_options_that_make_no_sense_are_option_errors(options, message):
    small = {"backbone": "test_resnet", "mask": None, "head": "panel", "width": 24, "heads": 3, "crop": 64}
    with pytest.raises(OptionError, match=message):
        csiqa.check_contrast(csiqa.Config(**small, **options))


def test_when_a_teacher_is_wanted():
    wants = {
        (): False,
        (("contrast", "quality-context"),): True,
        (("contrast", "quality-context"), ("distill", 0.0)): True,  # hard pairs
        (("contrast", "quality-context"), ("distill", 0.0), ("pairs", "easy")): False,
        (("contrast", "quality-context"), ("pairs", "easy")): True,
        (("distill", 0.9),): True,
    }
    for options, expected in wants.items():
        assert csiqa.Contrast(**dict(options)).wants_teacher == expected, options


@pytest.mark.parametrize("method", ["csiqa", "lml_iqa", "ranking"])
def test_two_processes_give_one_processes_loss_and_gradient(method, tmp_path):
    _, expected = load_script(SCRIPT).step(1, method)
    file = tmp_path / "found.pt"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, str(SCRIPT), "2", str(file), method]
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    found = torch.load(file, weights_only=True)
    assert expected["contrast"] > 0
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name)
