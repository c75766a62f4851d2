"""ARNIQA's encoder and score: unit length, five crops, the half scale of Pillow, files, and the exported graph."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from noref.card import Card, Preprocessing, Scale
from noref.data.pairs import cut
from noref.errors import ModelError, OptionError
from noref.models import arniqa_regressor
from noref.models.arniqa import (
    EncoderPlan,
    EncoderWithProjector,
    build_encoder,
    load_encoder,
    save_encoder,
    settle_batch_norm,
)
from noref.models.arniqa_regressor import ARNIQA, five_crops, half_scale

CARD = Card("test", "test", Scale(0, 100), Preprocessing(max_pixels=None, min_side=1))


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return build_encoder(EncoderPlan("test_resnet"), weights="none").eval()


def random_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def batch(*pictures):
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def test_features_have_length_one_and_know_no_neighbours(encoder):
    pictures = batch(random_image(64, 64), random_image(64, 64, seed=1))
    found = encoder(pictures)
    assert found.shape == (2, 96)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(found[:1], encoder(pictures[:1]))
    torch.testing.assert_close(found, encoder(pictures.float() / 255))


def test_the_projector_is_two_linear_layers_with_a_relu_between(encoder):
    network = EncoderWithProjector(encoder, width=8)
    first, _, second = network.projector
    assert (first.in_features, first.out_features, second.out_features) == (96, 96, 8)
    pictures = batch(random_image(64, 64))
    hidden = (encoder(pictures) @ first.weight.T + first.bias).clamp(min=0)
    torch.testing.assert_close(network(pictures), hidden @ second.weight.T + second.bias)
    assert EncoderWithProjector(encoder, hidden=5).projector[0].out_features == 5


@pytest.mark.parametrize("size", [(64, 80), (65, 83), (80, 64), (33, 34), (384, 512)])
def test_half_scale_is_pillows(size):
    picture = random_image(*size)
    wanted = np.asarray(
        Image.fromarray(picture).resize((size[1] // 2, size[0] // 2), Image.Resampling.BICUBIC), dtype=float
    )
    found = half_scale(batch(picture))[0].permute(1, 2, 0).numpy()
    assert np.abs(found - wanted).max() <= 1
    assert (found != wanted).mean() < 2e-3


@pytest.mark.parametrize("size", [(16, 16), (40, 50), (21, 16), (9, 30), (5, 7), (1, 3)])
@pytest.mark.parametrize("pad", ["reflect", "zero"])
def test_five_crops_are_corners_and_centre(size, pad):
    picture = random_image(*size)
    last = [side - 16 for side in size]
    middle = [side // 2 - 8 for side in size]
    places = [(0, 0), (0, last[1]), (last[0], 0), tuple(last), tuple(middle)]
    found = five_crops(batch(picture, picture[::-1].copy()), 16, pad)
    assert found.shape == (5, 2, 3, 16, 16)
    for crop, (top, left) in zip(found[:, 0], places, strict=True):
        assert np.array_equal(crop.permute(1, 2, 0).numpy(), cut(picture, top, left, size=16, pad=pad))


def test_the_score_is_the_mean_over_crops_of_a_linear_layer_on_both_scales(encoder):
    torch.manual_seed(1)
    network = ARNIQA(encoder, crop=32)
    weight = torch.randn(192)
    network.set_linear_head(weight, 0.25)
    picture = random_image(70, 90)
    half = np.asarray(Image.fromarray(picture).resize((45, 35), Image.Resampling.BICUBIC))
    scores = []
    for k in range(5):
        rows = []
        for scale in (picture, half):
            height, width = scale.shape[:2]
            starts = [(0, 0), (0, width - 32), (height - 32, 0), (height - 32, width - 32)]
            top, left = [*starts, (height // 2 - 16, width // 2 - 16)][k]
            rows.append(encoder(batch(scale[top : top + 32, left : left + 32]))[0])
        scores.append((torch.cat(rows) @ weight + 0.25).item())
    assert float(network(batch(picture))) == pytest.approx(np.mean(scores), abs=1e-4)


def test_a_regressor_is_saved_and_loaded(encoder, tmp_path):
    torch.manual_seed(2)
    network = ARNIQA(encoder, crop=32, pad="zero")
    network.set_linear_head(torch.randn(192), 0.5)
    arniqa_regressor.save(network, tmp_path / "model.safetensors", CARD)
    assert arniqa_regressor.is_arniqa(tmp_path / "model.safetensors")
    again, card = arniqa_regressor.load(tmp_path / "model.safetensors")
    picture = random_image(61, 40)
    wanted = float(network.eval()(batch(picture)))
    assert float(again(batch(picture))) == pytest.approx(wanted, abs=1e-6)
    assert again.pad == "zero"
    assert card.scale == CARD.scale


def test_an_encoder_is_saved_and_loaded(encoder, tmp_path):
    save_encoder(encoder, tmp_path / "e.safetensors", CARD)
    again, _ = load_encoder(tmp_path / "e.safetensors")
    picture = batch(random_image(64, 64))
    torch.testing.assert_close(again(picture), encoder(picture))
    assert not arniqa_regressor.is_arniqa(tmp_path / "e.safetensors")
    with pytest.raises(ModelError, match="no ARNIQA model"):
        arniqa_regressor.load(tmp_path / "e.safetensors")


def test_files_that_are_not_such_a_model(encoder, tmp_path):
    path = tmp_path / "m.safetensors"
    arniqa_regressor.save(ARNIQA(encoder), path, CARD)
    with pytest.raises(ModelError, match="no ARNIQA encoder"):
        load_encoder(path)
    save_file({"x": torch.zeros(1)}, path, {"network": json.dumps({"kind": "arniqa", "backbone": "test_resnet"})})
    CARD.write(path)
    with pytest.raises(ModelError, match="plan cannot be built"):
        arniqa_regressor.load(path)


def test_a_transformer_has_no_batch_norms():
    torch.manual_seed(0)
    network = build_encoder(EncoderPlan("test_vit"), weights="none").eval()
    assert settle_batch_norm(network, "frozen", random=False) == 0
    assert ARNIQA(network, crop=160).features(batch(random_image(170, 190))).shape == (1, 5, 2 * network.width)


def test_numbers_that_make_no_sense(encoder):
    with pytest.raises(OptionError):
        ARNIQA(encoder, crop=4)
    with pytest.raises(OptionError):
        ARNIQA(encoder, pad="edge")
    with pytest.raises(ModelError, match="192"):
        ARNIQA(encoder).set_linear_head(torch.zeros(96), 0.0)


@pytest.mark.parametrize(
    ("mode", "random", "trivial", "frozen"),
    [
        ("auto", False, True, True),
        ("auto", False, False, False),
        ("auto", True, True, False),
        ("frozen", True, False, True),
        ("trained", False, True, False),
    ],
)
def test_batch_norms_are_frozen_where_their_statistics_are_none(encoder, mode, random, trivial, frozen):
    norms = [m for m in encoder.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.running_mean.fill_(0 if trivial else 0.3)
        norm.running_var.fill_(0.999)
    before = encoder.eval()(batch(random_image(64, 64)))
    count = settle_batch_norm(encoder, mode, random=random)
    assert count == (len(norms) if frozen else 0)
    encoder.train()
    assert all(norm.training is not frozen for norm in norms)
    if frozen:
        torch.testing.assert_close(encoder(batch(random_image(64, 64))), before, rtol=1e-4, atol=1e-5)
