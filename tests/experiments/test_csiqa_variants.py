"""What single rows of CSIQA's tables need: adaptive sampling, rank learning, noisy labels."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from noref.card import Scale
from noref.data.readers import READERS
from noref.errors import OptionError
from noref.methods import METHODS, csiqa
from noref.methods.launch import train
from noref.objectives.csiqa import select_pairs
from noref.train.options import given_pairs
from noref.train.state import State
from noref.train.supervised import Forward

SCALE = Scale(0, 50, higher_is_better=False)
VIT = "--backbone test_vit --crop 160 --width 64 --heads 4 --crops 1 --epochs 2"


def forward():
    """Ten images with two crops each: predicted, three layers, labels, numbers, the teacher's scores."""
    source = torch.Generator().manual_seed(0)
    predicted = torch.rand(10, 2, generator=source)
    layers = [torch.randn(10, 2, width, generator=source) for width in (4, 6, 8)]
    quality, teacher = torch.rand(10, generator=source), torch.rand(10, 2, generator=source)
    return Forward(predicted, quality, torch.arange(10), teacher, layers=layers)


def test_ranking_uses_the_same_pairs_on_the_scale_of_the_scores(variants, fabric):
    seen = forward()
    labels, groups = seen.quality.repeat_interleave(2), seen.indices.repeat_interleave(2)
    positive, negative = select_pairs(labels, groups=groups)
    expected = variants.ranking_loss(50 * seen.predicted.flatten(), 50 * labels, positive | negative, margin=0.05 * 50)
    config = variants.Config(contrast="ranking", pairs="easy")
    assert not config.wants_teacher  # only quality context distils unasked
    found = variants.Variant(config, fabric, scale=SCALE)(seen)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_average_sampling_is_of_the_same_labels_and_groups(variants, fabric):
    seen = forward()
    config = variants.Config(sampling="average")
    labels, groups = seen.quality.repeat_interleave(2), seen.indices.repeat_interleave(2)
    expected = variants.sampled_pairs(labels, seen.teacher.flatten(), groups=groups)
    for mine, other in zip(variants.Variant(config, fabric, scale=SCALE).pairs(seen), expected, strict=True):
        assert torch.equal(mine, other)


def test_what_adaptive_sampling_learns_is_in_the_state(variants, fabric):
    config = variants.Config(sampling="adaptive")
    network = torch.nn.Linear(1, 1)
    state = State(network, torch.optim.SGD(network.parameters()))
    losses = [variants.Variant(config, fabric, scale=SCALE) for _ in range(2)]
    variants.VariantHooks(config, losses[0]).resume(state)
    losses[0](forward())
    assert (state.extras[variants.RANKS] != 1).any()
    variants.VariantHooks(config, losses[1]).resume(state)
    for loss in losses:
        torch.manual_seed(3)
        loss(forward())
    assert torch.equal(losses[0].sampler.weights, losses[1].sampler.weights)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampling": "adaptive", "pairs": "hard"}, "draws easy pairs"),
        ({"sampling": "average", "pairs": "hard"}, "draws easy pairs"),
        ({"delta": 1.0}, "delta"),
        ({"label_noise": -0.1}, "label_noise"),
        ({"label_noise": 0.1}, "clean labels"),
    ],
)
def test_options_that_make_no_sense_are_option_errors(variants, options, message):
    with pytest.raises(OptionError, match=message):
        variants.check(variants.Config(**options))


class KilledError(Exception):
    pass


def test_a_run_with_adaptive_sampling_resumes_to_the_same_bytes(variants, rated, small, tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, "csiqa", "variants")
    options = {**small, **given_pairs(f"{VIT} --sampling adaptive".split())}
    train("csiqa", data=f"csv={rated}", out=str(tmp_path / "whole"), options=options)
    save = State.save

    def dies(self, path, fabric):
        save(self, path, fabric)
        if path.parent == tmp_path / "broken":
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(State, "save", dies)
        with pytest.raises(KilledError):
            train("csiqa", data=f"csv={rated}", out=str(tmp_path / "broken"), options=options)
    torch.manual_seed(77)
    train("csiqa", data=None, out=str(tmp_path / "broken"), resume=True)
    for name in ("log.csv", "predictions.csv", "results.json", "model.safetensors"):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_noise_and_ranking_train(variants, rated, small, tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, "csiqa", "variants")
    words = "--mask none --head pooled --contrast ranking --distill 0 --pairs easy --label-noise 0.1 --epochs 1"
    train("csiqa", data=f"csv={rated}", out=str(tmp_path / "run"), options={**small, **given_pairs(words.split())})
    head = (tmp_path / "run" / "log.csv").read_text().splitlines()[0]
    assert head == "epoch,loss,label,contrast,dropped,validation_srcc"


def test_the_package_refuses_what_only_the_experiment_has(rated, small, tmp_path):
    with pytest.raises(OptionError, match=r"experiments/csiqa/variants\.py"):
        train("csiqa", data="csv=x", out=str(tmp_path / "x"), options=given_pairs(["--sampling", "adaptive"]))
    assert csiqa.Config(mask=None).mask is None


def test_label_noise_is_seeded_gaussian_and_leaves_the_rest_alone(variants, rated):
    records = READERS["csv"](rated)
    many = [dataclasses.replace(records[0], raw_score=50.0, scale=Scale(0, 200))] * 4000
    noise = torch.tensor([record.raw_score - 50 for record in variants.noisy(many, 0.1, seed=0)])
    assert noise.mean().abs() < 5 * 20 / 4000**0.5
    assert noise.std().item() == pytest.approx(20, rel=0.05)
    kurtosis = (noise / noise.std()).pow(4).mean().item()
    assert kurtosis == pytest.approx(3, abs=0.5)
    first, again, other = (variants.noisy(records, 0.1, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    assert [dataclasses.replace(r, raw_score=0.0) for r in first] == [
        dataclasses.replace(r, raw_score=0.0) for r in records
    ]
    assert variants.noisy(records, 0.0, seed=0) == records


def test_average_sampling_moves_the_sets_with_the_batch(variants):
    scores = torch.tensor([0.0] * 15 + [10.0] * 5)  # mean 2.5: 15 below it, 5 above
    positive, negative = variants.sampled_pairs(scores)
    assert positive[0].sum() == 3  # floor(2 * 0.1 * 15)
    assert negative[0].sum() == 4  # floor(2 * 0.4 * 5)
    assert positive[19].sum() == 1  # floor(2 * 0.1 * 5)
    assert negative[19].sum() == 12  # floor(2 * 0.4 * 15)
    even = torch.arange(20.0)
    for mine, other in zip(variants.sampled_pairs(even), select_pairs(even), strict=True):
        assert torch.equal(mine, other)  # half and half: the shares as they are


def test_sampler_draws_the_easy_sets_sizes_at_the_start(variants):
    sampler, generator = variants.RankSampler(), torch.Generator().manual_seed(0)
    scores = torch.arange(40.0)
    counts = []
    for _ in range(200):
        positive, negative = variants.sampled_pairs(scores, kept=sampler.draw(40, generator))
        counts.append([positive.sum(dim=1).double().mean(), negative.sum(dim=1).double().mean()])
    positives, negatives = torch.tensor(counts).mean(dim=0)
    assert positives.item() == pytest.approx(4, rel=0.05)
    assert negatives.item() == pytest.approx(16, rel=0.05)


def test_sampler_takes_only_ranks_of_the_rough_sets(variants):
    everything = torch.ones(20, 20, dtype=torch.bool)
    scores = torch.rand(20, generator=torch.Generator().manual_seed(2))
    sampled = variants.sampled_pairs(scores, kept=everything)
    for mine, other in zip(sampled, select_pairs(scores, easy=(0.2, 0.6)), strict=True):
        assert torch.equal(mine, other)


def test_ranks_that_are_right_are_drawn_less_and_wrong_ones_more(variants):
    """Scores 0 1 3; predictions 0 3 1. Query 0 ranks (1, 2), predicted (2, 1): both wrong.

    Query 1 ranks (0, 2), predicted at distances 3 and 2, so (2, 0): both wrong. Query 2 ranks (1, 0), predicted at
    distances 2 and 1, so (0, 1): both wrong. A query of its own group sees nothing.
    """
    sampler = variants.RankSampler(delta=0.1)
    sampler.update(torch.tensor([0.0, 1.0, 3.0]), torch.tensor([0.0, 3.0, 1.0]))
    assert sampler.weights[:2].tolist() == pytest.approx([1.1, 1.1])
    sampler.update(torch.tensor([0.0, 1.0, 3.0]), torch.tensor([0.0, 1.0, 3.0]))
    assert sampler.weights[:2].tolist() == pytest.approx([1.1 * 0.9] * 2)
    for _ in range(100):
        sampler.update(torch.arange(5.0), torch.arange(5.0))
    assert sampler.weights.min() == pytest.approx(0.1)


def test_sampler_averages_over_the_queries(variants):
    """Scores 0 1 2.5 10, all predicted right but the last two swapped for query 0 only: by hand below."""
    scores, predicted = torch.tensor([0.0, 1.0, 2.5, 10.0]), torch.tensor([0.0, 4.0, 2.5, 10.0])
    orders = []
    for values in (scores.tolist(), predicted.tolist()):
        orders.append(
            [sorted((b for b in range(4) if b != a), key=lambda b: (abs(values[a] - values[b]), b)) for a in range(4)]
        )
    right = [sum(w[i] == f[i] for w, f in zip(*orders, strict=True)) / 4 for i in range(3)]
    sampler = variants.RankSampler(delta=0.2)
    sampler.update(scores, predicted)
    assert sampler.weights[:3].tolist() == pytest.approx([1 + 0.2 * (1 - 2 * share) for share in right])
    assert sampler.weights[3:].tolist() == [1.0] * len(sampler.weights[3:])


@pytest.mark.parametrize("delta", [0.0, 1.0, -0.1])
def test_a_delta_that_is_no_share_is_refused(variants, delta):
    with pytest.raises(ValueError, match="delta"):
        variants.RankSampler(delta=delta)


@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_ranking_is_the_loop(variants, margin):
    generator = torch.Generator().manual_seed(1)
    for batch in (1, 2, 9):
        predicted = torch.rand(batch, generator=generator, dtype=torch.float64)
        scores = torch.randint(0, 4, (batch,), generator=generator).double()  # some tie: no order
        pairs = torch.rand(batch, batch, generator=generator) < 0.6
        hinges = []
        for a in range(batch):
            for b in range(batch):
                if pairs[a, b] and scores[a] != scores[b]:
                    better, worse = (a, b) if scores[a] > scores[b] else (b, a)
                    hinges.append(max(0.0, margin - float(predicted[better] - predicted[worse])))
        expected = sum(hinges) / len(hinges) if hinges else 0.0
        assert variants.ranking_loss(predicted, scores, pairs, margin=margin).item() == pytest.approx(expected)


def test_the_right_order_by_more_than_the_margin_costs_nothing(variants):
    scores, pairs = torch.arange(5.0), torch.ones(5, 5, dtype=torch.bool)
    assert variants.ranking_loss(scores, scores, pairs, margin=0.9) == 0
    assert variants.ranking_loss(-scores, scores, pairs, margin=0.0) > 0


def test_ranking_refuses_what_makes_no_sense(variants):
    with pytest.raises(ValueError, match="margin"):
        variants.ranking_loss(torch.rand(2), torch.rand(2), torch.ones(2, 2, dtype=torch.bool), margin=-1)
    with pytest.raises(ValueError, match="together"):
        variants.ranking_loss(torch.rand(2), torch.rand(2), torch.ones(3, 3, dtype=torch.bool), margin=0)
