"""The head: ridge regression against the normal equations, the penalty's choice, and features that are kept."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from noref.card import Card, Preprocessing, Scale
from noref.data.readers import csv
from noref.data.splits import Split
from noref.errors import DataError, ImageError, OptionError
from noref.evaluate.correlation import srcc
from noref.methods import arniqa
from noref.methods import arniqa_ridge as ridge
from noref.methods.arniqa import Config
from noref.methods.arniqa_ridge import GRID, cached_features, choose, predict, set_linear_head
from noref.models.arniqa import EncoderPlan, build_encoder, save_encoder
from noref.models.arniqa_regressor import ARNIQA
from noref.train.run_folder import DataSet, Run

RULE = Preprocessing(max_pixels=None, min_side=1)


def features(count, seed=0, width=6):
    rng = np.random.default_rng(seed)
    found = rng.standard_normal((count, 5, width)).astype(np.float32)
    raw = found.mean(axis=1) @ np.arange(1, width + 1) + 40 + rng.standard_normal(count)
    return found, raw.astype(np.float64)


def normal_equations(x, y, alpha):
    """Ridge with an intercept that is not penalised: centre, solve, put back."""
    centre, mean = x.mean(axis=0), y.mean()
    weight = np.linalg.solve((x - centre).T @ (x - centre) + alpha * np.eye(x.shape[1]), (x - centre).T @ (y - mean))
    return weight, mean - centre @ weight


def test_the_penalty_that_serves_the_validation_part_is_chosen_and_the_head_is_ridges():
    found, raw = features(60)
    split = Split(tuple(range(8)), tuple(range(8, 30)), tuple(range(30, 60)), 0, "")
    rows, wanted = found[:8].reshape(-1, 6).astype(float), np.repeat(raw[:8], 5)
    lines = [normal_equations(rows, wanted, alpha) for alpha in GRID]
    follows = [srcc((found[8:30] @ w + b).mean(axis=1), raw[8:30]) for w, b in lines]
    best = max(range(len(GRID)), key=lambda i: (follows[i], i))
    alpha, (weight, intercept) = choose(found, raw, split)
    assert alpha == GRID[best]
    np.testing.assert_allclose(weight, lines[best][0], rtol=1e-8)
    assert intercept == pytest.approx(lines[best][1])
    np.testing.assert_allclose(
        predict((weight, intercept), found[30:]), (found[30:] @ lines[best][0] + lines[best][1]).mean(axis=1), rtol=1e-6
    )


def test_the_test_part_is_not_looked_at():
    found, raw = features(40)
    split = Split(tuple(range(20)), tuple(range(20, 30)), tuple(range(30, 40)), 0, "")
    before = choose(found, raw, split)
    found[30:], raw[30:] = np.nan, np.nan
    after = choose(found, raw, split)
    assert before[0] == after[0]
    np.testing.assert_array_equal(before[1][0], after[1][0])


def test_more_features_than_rows():
    found, raw = features(12, width=40)
    split = Split((0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11), 0, "")
    alpha, (weight, _) = choose(found, raw, split)
    wanted = normal_equations(found[:4].reshape(-1, 40).astype(float), np.repeat(raw[:4], 5), alpha)
    np.testing.assert_allclose(weight, wanted[0], rtol=1e-6, atol=1e-9)


def test_features_that_say_nothing_are_an_error():
    split = Split((0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11), 0, "")
    with pytest.raises(DataError, match="no penalty"):
        choose(np.ones((12, 5, 3), np.float32), np.arange(12.0), split)


@pytest.mark.parametrize("scale", [Scale(0, 100), Scale(-3, 112, higher_is_better=False)])
def test_the_linear_head_puts_out_quality_whatever_the_scale(scale):
    torch.manual_seed(0)
    network = ARNIQA(build_encoder(EncoderPlan("test_resnet"), weights="none").eval(), crop=32)
    weight = np.random.default_rng(0).standard_normal(192)
    set_linear_head(network, (weight, 30.0), scale)
    picture = torch.randint(0, 256, (1, 3, 50, 50), generator=torch.Generator().manual_seed(0)).byte()
    with torch.no_grad():
        raw = (network.features(picture)[0].double() @ torch.from_numpy(weight) + 30).mean()
        assert float(network(picture)) == pytest.approx(scale.quality(float(raw)), abs=1e-5)


@pytest.fixture
def encoder(tmp_path):
    torch.manual_seed(0)
    network = build_encoder(EncoderPlan("test_resnet"), weights="none").eval()
    save_encoder(network, tmp_path / "encoder.safetensors", Card("e", "e", Scale(0, 1), RULE))
    return network


def test_features_are_kept_by_content(encoder, rated, tmp_path, monkeypatch):
    records = csv(rated)
    network = ARNIQA(encoder, crop=32).eval()
    found = cached_features(network, records, RULE, tmp_path / "kept")
    assert found.shape == (24, 5, 192)
    looked = []
    real = ridge.images.read
    monkeypatch.setattr(ridge.images, "read", lambda path, **given: looked.append(path) or real(path, **given))
    assert np.array_equal(cached_features(network, records[::-1], RULE, tmp_path / "kept"), found[::-1])
    shutil.copy(records[3].path, tmp_path / "copy.png")
    copied = dataclasses.replace(records[3], path=tmp_path / "copy.png")
    assert np.array_equal(cached_features(network, [copied], RULE, tmp_path / "kept")[0], found[3])
    assert looked == []
    for other in (ARNIQA(encoder, crop=40), ARNIQA(encoder, crop=32, pad="zero")):
        cached_features(other.eval(), records[:1], RULE, tmp_path / "kept")
    with torch.no_grad():
        next(iter(encoder.backbone.parameters())).add_(0.01)
    cached_features(network, records[:1], RULE, tmp_path / "kept")
    assert looked == [records[0].path] * 3


def test_a_broken_image_is_named(encoder, rated, tmp_path):
    records = csv(rated)
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"bad\.png"):
        cached_features(ARNIQA(encoder, crop=32), [dataclasses.replace(records[0], path=bad)], RULE, tmp_path / "kept")


def head(rated, tmp_path, out, **given):
    config = Config(head_only=True, crop=32, validation=0.2, cache=str(tmp_path / "kept"), accelerator="cpu", **given)
    data, run = DataSet("csv", str(rated), csv(rated)), Run(tmp_path / out)
    run.begin("arniqa", data, config)
    return arniqa.train(config, data, run, Fabric(accelerator="cpu", devices=1))


def test_a_run_says_where_its_model_comes_from(encoder, rated, tmp_path):
    found = head(rated, tmp_path, "run", encoder=str(tmp_path))
    card = json.loads((tmp_path / "run" / "model.card.json").read_text())
    assert found["alpha"] == card["training"]["alpha"]
    assert found["alpha"] in GRID
    assert card["training"]["initialised from"].startswith("encoder.safetensors, unknown steps")
    assert card["scale"] == {"low": 0, "high": 100, "higher_is_better": True}
    assert {row["metric"] for row in card["results"]} >= {"srcc", "plcc"}
    assert (tmp_path / "run" / "split.json").exists()


@pytest.mark.parametrize("name", ["none", "imagenet"])
def test_without_an_encoder_the_backbones_own_weights_are_taken(rated, tmp_path, name):
    torch.manual_seed(0)
    found = head(rated, tmp_path, "run", encoder=name, backbone="test_resnet", weights="none")
    assert found["images"] == 5


def test_no_validation_part_is_an_error(encoder, rated, tmp_path):
    config = Config(head_only=True, encoder=str(tmp_path), crop=32, validation=0.0, accelerator="cpu")
    data, run = DataSet("csv", str(rated), csv(rated)), Run(tmp_path / "run")
    run.begin("arniqa", data, config)
    with pytest.raises(OptionError, match="validation"):
        arniqa.train(config, data, run, Fabric(accelerator="cpu", devices=1))
