from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from noref.card import Card, Preprocessing, Scale, card_path
from noref.errors import ModelError, OptionError
from noref.models import network as networks
from noref.models.network import FromBytes, Plan
from noref.models.plan import EncoderPlan
from noref.models.weights import write

SMALL = Plan("test_resnet", width=24, heads=3)
CARD = Card("n", "m", Scale(0, 100), Preprocessing(crop=64))


def small():
    torch.manual_seed(0)
    return networks.build(SMALL, weights="none").eval()


def noise(*shape):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_bytes_and_floats_in_either_layout_give_the_same():
    network, images = small(), noise(2, 64, 64, 3)
    with torch.no_grad():
        expected = network(images.permute(0, 3, 1, 2))
        torch.testing.assert_close(network(images.permute(0, 3, 1, 2).float().contiguous() / 255), expected)
        torch.testing.assert_close(FromBytes(network)(images), expected)
    assert expected.shape == (2,)


def test_the_batch_changes_no_score():
    network, images = small().train(), noise(3, 3, 64, 64)
    with torch.no_grad():
        together = network(images)
        torch.testing.assert_close(together, torch.cat([network(image[None]) for image in images]))


def test_the_plan_is_kept_in_full():
    assert small().plan == Plan("test_resnet", width=24, heads=3, mean=(0.5,) * 3, std=(0.5,) * 3)
    assert networks.build(Plan("test_resnet"), weights="none").plan.width == 192
    assert networks.build(Plan("test_vit", heads=4), weights="none").plan.width == 64


def test_plans_with_other_heads_share_their_encoder():
    plans = [Plan("test_vit", image_size=64), Plan("test_vit", image_size=64, head="tokens", mask=0.3, mask_from=2)]
    assert plans[0].encoder == plans[1].encoder == EncoderPlan("test_vit", image_size=64)
    assert plans[0].encoder != Plan("test_vit").encoder


def test_the_papers_network_has_24_million_parameters():
    network = networks.build(Plan("deit3_small_patch16_224.fb_in1k"), weights="none")
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(24.0, abs=0.1)
    assert not list(network.head.project.parameters())


def test_attention_is_a_map_for_each_image():
    scores, maps = small().attention(noise(2, 3, 64, 96))
    assert maps.shape == (2, 2, 3)
    assert scores.shape == (2,)


def test_impossible_plans_are_option_errors():
    with pytest.raises(OptionError, match="64 cannot have 6 heads"):
        networks.build(Plan("test_vit"), weights="none")
    with pytest.raises(OptionError, match="unknown head"):
        networks.build(Plan("test_vit", head="tail"), weights="none")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="no attention"):
        networks.build(Plan("test_vit", head="pooled"), weights="none").attention(noise(1, 3, 160, 160))


def test_what_is_saved_loads_as_the_same_network(tmp_path):
    network, path = small(), tmp_path / "model.safetensors"
    written = networks.save(network, path, CARD)
    again, card = networks.load(path)
    assert card == written
    assert again.plan == network.plan
    assert not again.training
    images = noise(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(again(images), network(images))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.card.json", "model.safetensors"]


def test_other_bytes_than_the_cards_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    networks.save(small(), path, CARD)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="changed"):
        networks.load(path)


@pytest.mark.parametrize("header", [None, {}, {"network": "["}, {"network": "[]"}])
def test_foreign_files_are_refused(tmp_path, header):
    path = tmp_path / "model.safetensors"
    save_file({"x": torch.zeros(1)}, path, header)
    CARD.write(path)
    with pytest.raises(ModelError, match="does not say what network"):
        networks.load(path)


@pytest.mark.parametrize("plan", [{"backbone": "resnet5"}, {"head": "panel"}, {"backbone": "test_vit", "stray": 1}])
def test_headers_with_an_impossible_plan_are_model_errors(tmp_path, plan):
    write(tmp_path / "model.safetensors", {"x": torch.zeros(1)}, {"network": json.dumps(plan)})
    CARD.write(tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="cannot be built"):
        networks.load(tmp_path / "model.safetensors")


def test_a_missing_tensor_or_card_is_named(tmp_path):
    path = tmp_path / "model.safetensors"
    network = small()
    networks.save(network, path, CARD)
    tensors = load_file(path)
    tensors.pop("head.panel.queries")
    write(path, tensors, {"network": json.dumps({"backbone": "test_resnet", "width": 24, "heads": 3})})
    CARD.write(path)
    with pytest.raises(ModelError, match=r"'head\.panel\.queries' is missing"):
        networks.load(path)
    card_path(path).unlink()
    with pytest.raises(ModelError, match="card cannot be read"):
        networks.load(path)
