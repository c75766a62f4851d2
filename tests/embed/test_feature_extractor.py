from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from noref import images
from noref.card import Card, Preprocessing, Scale
from noref.data.loading import grid_crops
from noref.embed.feature_extractor import Backbone, feature_of, load_extractor
from noref.errors import OptionError
from noref.models import network as networks
from noref.models.arniqa import EncoderPlan, build_encoder, save_encoder
from noref.models.network import Plan, build

RULE = Preprocessing(max_pixels=None, min_side=64, crop=64)


def saved(folder, plan, crop=64):
    torch.manual_seed(1)
    network = build(plan, weights="none").eval()
    card = Card("tiny", "tiny", Scale(0, 100), Preprocessing(max_pixels=None, min_side=crop, crop=crop))
    networks.save(network, folder / "model.safetensors", card)
    return network


@pytest.mark.parametrize(
    ("plan", "crop", "line"),
    [
        (Plan("test_resnet", width=24, heads=3), 64, lambda head: head.panel.score),
        (Plan("test_resnet", head="pooled"), 64, lambda head: head.score),
        (Plan("test_vit", head="pooled", mask=0.3), 160, lambda head: head.score),
        (Plan("test_vit", head="tokens", mask=0.3, heads=4), 160, lambda head: head.decoder.score),
    ],
)
def test_the_head_s_feature_is_what_its_line_turns_into_the_score(plan, crop, line):
    torch.manual_seed(0)
    network = build(plan, weights="none").eval()
    with torch.inference_mode():
        scores, seen = network(torch.rand(3, 3, crop, crop), features=True)
        found = line(network.head)(feature_of("head", seen, network.head))[:, 0]
    assert torch.allclose(found, scores, atol=1e-5)


def test_a_network_s_feature_is_the_mean_over_its_crops(rated, tmp_path):
    network = saved(tmp_path, Plan("test_resnet", width=24, heads=3))
    extractor = load_extractor(str(tmp_path))
    assert extractor.name == "tiny"
    path = rated.parent / "3.png"
    crops = grid_crops(images.read(path, preprocessing=RULE), np.random.default_rng(0), size=64)
    assert len(crops) > 1
    with torch.inference_mode():
        seen = [network.features(torch.from_numpy(crop).permute(2, 0, 1)[None], layers="pooled") for crop in crops]
    for kind, expected in [("pooled", [s.pooled for s in seen]), ("layer1", [s.layers[0] for s in seen])]:
        found = extractor.features(kind, [path], tmp_path / "cache", {})
        assert np.allclose(found[path], torch.cat(expected).mean(0).numpy(), atol=1e-4)


def test_features_come_from_the_cache_and_broken_images_are_listed(rated, tmp_path, monkeypatch):
    saved(tmp_path, Plan("test_resnet", width=24, heads=3))
    extractor = load_extractor(str(tmp_path / "model.safetensors"))
    bad, gone = tmp_path / "bad.png", tmp_path / "gone.png"
    bad.write_bytes(b"no image")
    paths, broken = [rated.parent / "1.png", bad, gone, rated.parent / "2.png"], {}
    first = extractor.features("pooled", paths, tmp_path / "cache", broken)
    assert list(first) == [paths[0], paths[3]]
    assert set(broken) == {bad, gone}
    assert "bad.png" not in broken[bad]
    monkeypatch.setattr(images, "read", None)  # nothing is read again
    again = extractor.features("pooled", [paths[3], paths[0]], tmp_path / "cache", {})
    assert all(np.array_equal(again[path], first[path]) for path in first)


def test_only_a_network_with_a_quality_token_has_that_feature(tmp_path):
    saved(tmp_path, Plan("test_resnet", width=24, heads=3))
    extractor = load_extractor(str(tmp_path))
    assert extractor.feature_names == ("pooled", "head", "layer1", "layer2", "layer3")
    with pytest.raises(OptionError, match="it has pooled, head, layer1"):
        extractor.features("quality", [], tmp_path / "cache", {})
    with pytest.raises(OptionError, match="did you mean layer3"):
        extractor.features("layer33", [], tmp_path / "cache", {})
    other = tmp_path / "other"
    other.mkdir()
    saved(other, Plan("test_vit", head="tokens", mask=0.3, heads=4), crop=160)
    assert load_extractor(str(other)).feature_names[:3] == ("pooled", "quality", "head")


def test_an_encoder_its_run_and_a_backbone_see_alike(rated, tmp_path):
    torch.manual_seed(0)
    encoder = build_encoder(EncoderPlan("test_resnet"), weights="none").eval()
    save_encoder(encoder, tmp_path / "encoder.safetensors", Card("e", "e", Scale(0, 1), RULE))
    path, how = rated.parent / "5.png", Backbone(crop=32)
    extractors = [load_extractor(str(place), how) for place in (tmp_path, tmp_path / "encoder.safetensors")]
    found = [extractor.features("pooled", [path], tmp_path / "cache", {})[path] for extractor in extractors]
    assert np.array_equal(*found)
    plain = load_extractor("test_resnet", Backbone(weights="none", crop=32))
    assert plain.features("pooled", [path], tmp_path / "cache", {})[path].shape == found[0].shape == (192,)
    assert plain.card is None


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("resnet5", "neither a run or model file nor a backbone of timm: did you mean"),
        ("no/such/run", "neither a run or model file nor a backbone of timm"),
    ],
)
def test_models_that_there_are_not(model, words):
    with pytest.raises(OptionError, match=re.escape(words)):
        load_extractor(model)


def test_folders_without_a_model(tmp_path):
    with pytest.raises(OptionError, match="no trained model"):
        load_extractor(str(tmp_path))
