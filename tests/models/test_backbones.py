from __future__ import annotations

import copy
import os
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from noref.card import Card, Preprocessing, Scale
from noref.errors import ModelError, OptionError
from noref.models import arniqa
from noref.models import network as networks
from noref.models.backbones import Cnn, freeze_batch_norm, freeze_stages, layer_depths, load_backbone, normalisation
from noref.models.features import Normalize
from noref.models.vit import Vit

DATA = Path(os.environ.get("NOREF_DATA", Path(__file__).parents[3] / "shared" / "data"))
MOBILENET = DATA / "backbones" / "mobilenetv2_100_imagenet.safetensors"
needs_mobilenet = pytest.mark.skipif(not MOBILENET.exists(), reason=f"no backbone weights at {MOBILENET}")


@pytest.mark.parametrize(
    ("name", "size", "width", "grid", "channels16"),
    [
        ("test_resnet", 64, 96, (2, 2), 192),
        ("test_convnext", 64, 64, (2, 2), 48),
        ("test_efficientnet", 96, 256, (3, 3), 48),
        ("mobilenetv3_small_050", 64, 288, (2, 2), 24),
        ("swin_tiny_patch4_window7_224", 224, 768, (7, 7), 384),
    ],
)
def test_stages_become_tokens(name, size, width, grid, channels16):
    backbone = load_backbone(name, weights="none").eval()
    assert isinstance(backbone, Cnn)
    with torch.no_grad():
        seen = backbone(torch.randn(2, 3, size, size), layers="pooled")
    assert (backbone.width, seen.grid) == (width, grid)
    assert seen.tokens.shape == (2, grid[0] * grid[1], width)
    assert seen.layers[-2].shape == (2, channels16)
    torch.testing.assert_close(seen.pooled, seen.tokens.mean(dim=1))


@pytest.mark.parametrize(("name", "prefix"), [("xcit_nano_12_p16_224", 1), ("levit_128s", 0), ("coat_lite_tiny", 1)])
def test_tokens_of_places_are_a_map_and_what_stands_before_them_is_left_out(name, prefix):
    backbone = load_backbone(name, weights="none").eval()
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        seen, expected = backbone(images, layers="pooled"), backbone.net.forward_features(images)
        intermediates = backbone.net.forward_intermediates(images, intermediates_only=True)
    assert seen.grid == tuple(intermediates[-1].shape[2:])
    torch.testing.assert_close(seen.tokens, expected[:, prefix:])
    torch.testing.assert_close(seen.layers[-1], expected[:, prefix:].mean(dim=1))


def test_a_network_whose_features_have_no_places_is_refused():
    backbone = load_backbone("pit_ti_224", weights="none").eval()
    with torch.no_grad(), pytest.raises(ModelError, match="no map of 256 channels"):
        backbone(torch.randn(1, 3, 224, 224))


def test_tokens_run_along_rows_first():
    backbone = load_backbone("test_resnet", weights="none").eval()
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        seen, expected = backbone(images), backbone.net.forward_features(images)
    assert seen.grid == (2, 3)
    for row in range(2):
        for column in range(3):
            torch.testing.assert_close(seen.tokens[0, row * 3 + column], expected[0, :, row, column])


def test_vit_gives_class_token_and_patches_after_the_norm():
    backbone = load_backbone("test_vit", weights="none").eval()
    assert isinstance(backbone, Vit)
    images = torch.randn(2, 3, 160, 160)
    with torch.no_grad():
        seen, expected = backbone(images), backbone.net.forward_features(images)
    torch.testing.assert_close(seen.pooled, expected[:, 0])
    torch.testing.assert_close(seen.tokens, expected[:, 1:])
    assert seen.grid == (10, 10)
    torch.testing.assert_close(seen.tokens.mean(dim=2), torch.zeros(2, 100), atol=1e-5, rtol=0)


def test_vit_without_class_token_pools_its_patches():
    backbone = load_backbone("vit_tiny_patch16_224", weights="none").eval()
    backbone.net.cls_token, backbone.net.num_prefix_tokens, backbone.net.no_embed_class = None, 0, True
    backbone.net.pos_embed = nn.Parameter(torch.zeros(1, 196, 192))
    with torch.no_grad():
        seen = backbone(torch.randn(1, 3, 224, 224))
    assert seen.tokens.shape == (1, 196, 192)
    torch.testing.assert_close(seen.pooled, seen.tokens.mean(dim=1))


def test_normalisation_is_timms():
    assert normalisation(load_backbone("deit3_small_patch16_224.fb_in1k", weights="none")) == (
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
    )


def test_normalize_by_hand():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    found = Normalize((0.5, 0.2, 0.4), (0.25, 0.5, 0.2))(images).flatten()
    torch.testing.assert_close(found, torch.tensor([-2.0, 0.0, 3.0]))
    torch.testing.assert_close(Normalize((0.5, 0.2, 0.4), (0.25, 0.5, 0.2))(images / 255.0).flatten(), found)
    assert not Normalize((0.5,) * 3, (0.5,) * 3).state_dict()
    for mean, std in [((0.5,), (0.5,)), ((0.5,) * 3, (0.5, 0.5, 0.0))]:
        with pytest.raises(OptionError, match="three"):
            Normalize(mean, std)


def test_unknown_names_offer_near_ones():
    with pytest.raises(OptionError, match=r"did you mean .*mobilenetv2_100"):
        load_backbone("mobilnetv2_100", weights="none")
    with pytest.raises(OptionError, match="no_such_tag"):
        load_backbone("resnet50.no_such_tag", weights="none")
    with pytest.raises(OptionError, match="pad_type"):
        load_backbone("test_vit", weights="none", pad_type="same")


@pytest.fixture
def weight_file(tmp_path):
    torch.manual_seed(5)
    path = tmp_path / "net.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=7).state_dict(), path)
    return path


def altered(path, change):
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    return str(path)


def test_local_weights_fill_the_network_and_leave_their_classifier(weight_file):
    backbone = load_backbone("test_resnet", weights=str(weight_file))
    expected = load_file(weight_file)
    found = backbone.net.state_dict()
    assert set(expected) - set(found) == {"fc.weight", "fc.bias"}
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_an_arniqa_encoder_fills_the_network_and_no_rated_model_does(tmp_path):
    torch.manual_seed(6)
    encoder = arniqa.build_encoder(arniqa.EncoderPlan("test_resnet"), weights="none")
    rule = Preprocessing(crop=64)
    arniqa.save_encoder(encoder, tmp_path / "encoder.safetensors", Card("e", "ARNIQA", Scale(0, 1), rule))
    backbone = load_backbone("test_resnet", weights=str(tmp_path / "encoder.safetensors"))
    expected = encoder.backbone.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in backbone.state_dict().items())
    rated = networks.build(networks.Plan("test_resnet", width=24, heads=3), weights="none")
    networks.save(rated, tmp_path / "rated.safetensors", Card("r", "DEIQT", Scale(0, 1), rule))
    with pytest.raises(ModelError, match="tensor"):
        load_backbone("test_resnet", weights=str(tmp_path / "rated.safetensors"))


def test_weights_that_do_not_fit_name_the_tensor(weight_file, tmp_path):
    with pytest.raises(ModelError, match=r"'conv1.*' has shape .* the network needs"):
        load_backbone(
            "test_resnet", weights=altered(weight_file, lambda t: t.update({"conv1.0.weight": torch.zeros(1, 3, 3, 3)}))
        )


def test_missing_and_foreign_tensors_are_named(weight_file):
    with pytest.raises(ModelError, match=r"'bn1\.bias' is missing"):
        load_backbone("test_resnet", weights=altered(weight_file, lambda t: t.pop("bn1.bias")))
    with pytest.raises(ModelError, match="missing"):
        load_backbone("test_convnext", weights=str(weight_file))


def test_left_over_tensors_are_named(weight_file):
    with pytest.raises(ModelError, match="'stray'"):
        load_backbone("test_resnet", weights=altered(weight_file, lambda t: t.update(stray=torch.zeros(1))))


def test_files_that_are_no_weights_are_model_errors(tmp_path):
    for name, content in [("text.safetensors", b"hello, this is text"), ("empty.safetensors", b"")]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match=name):
            load_backbone("test_resnet", weights=str(tmp_path / name))
    with pytest.raises(ModelError, match="No such file"):
        load_backbone("test_resnet", weights=str(tmp_path / "absent.safetensors"))


def test_a_pickle_is_never_loaded(tmp_path):
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "net.pth")
    with pytest.raises(ModelError, match="not a safetensors file"):
        load_backbone("test_resnet", weights=str(tmp_path / "net.pth"))


def test_timms_weights_come_as_safetensors(weight_file, monkeypatch):
    asked = []

    def download(repository, name):
        asked.append((repository, name))
        return str(weight_file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    load_backbone("test_resnet.r160_in1k")
    assert asked == [("timm/test_resnet.r160_in1k", "model.safetensors")]


def test_a_failed_download_says_what_to_do(monkeypatch):
    def download(repository, name):
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(ModelError, match=r"no route.*give a safetensors file"):
        load_backbone("test_resnet")


def norms(module):
    return [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]


def test_frozen_batch_norms_stay_frozen_whatever_is_called():
    backbone = load_backbone("test_resnet", weights="none")
    assert freeze_batch_norm(backbone) == len(norms(backbone)) > 0
    before = copy.deepcopy([layer.state_dict() for layer in norms(backbone)])
    whole = nn.Sequential(backbone)
    for call in (whole.train, backbone.train, backbone.net.train, norms(backbone)[0].train, copy.deepcopy(whole).train):
        call()
        assert not any(layer.training for layer in norms(whole))
        backbone(torch.randn(4, 3, 64, 64))
    assert whole.training
    for layer, old in zip(norms(backbone), before, strict=True):
        assert all(torch.equal(layer.state_dict()[name], old[name]) for name in old)


def test_a_copy_is_frozen_too():
    backbone = load_backbone("test_resnet", weights="none")
    freeze_batch_norm(backbone)
    twin = copy.deepcopy(backbone).train()
    assert not any(layer.training for layer in norms(twin))
    assert norms(twin)[0].train() is norms(twin)[0]


@needs_mobilenet
def test_train_mode_would_destroy_the_folded_backbone():
    """Batch norms folded to identity: frozen, training and evaluation agree; not frozen, the features are lost."""
    backbone = load_backbone("mobilenetv2_100", weights=str(MOBILENET), pad_type="same").eval()
    images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    with torch.no_grad():
        right = backbone(images).pooled.flatten()
        destroyed = copy.deepcopy(backbone).train()(images).pooled.flatten()
        freeze_batch_norm(backbone)
        kept = backbone.train()(images).pooled.flatten()
    torch.testing.assert_close(kept, right)
    assert (destroyed - right).norm() > 0.9 * right.norm()


@pytest.mark.parametrize(("name", "last"), [("test_resnet", 4), ("test_vit", 6), ("mobilenetv2_100", 7)])
def test_every_parameter_has_a_depth_from_the_stem_on(name, last):
    backbone = load_backbone(name, weights="none")
    depths = layer_depths(backbone, stages=True)
    assert set(depths) == {name for name, _ in backbone.named_parameters()}
    assert sorted(set(depths.values())) == list(range(last + 1))


def test_blocks_are_counted_finer_than_stages():
    backbone = load_backbone("mobilenetv2_100", weights="none")
    assert layer_depths(backbone)["net.blocks.1.1.conv_pw.weight"] == 3  # stem, blocks.0.0, blocks.1.0, this one
    assert layer_depths(backbone, stages=True)["net.blocks.1.1.conv_pw.weight"] == 2


def test_frozen_stages_are_the_first_ones():
    backbone = load_backbone("test_resnet", weights="none")
    freeze_stages(backbone, 0)
    assert all(p.requires_grad for p in backbone.parameters())
    freeze_stages(backbone, 2)
    frozen = {name.split(".")[1] for name, p in backbone.named_parameters() if not p.requires_grad}
    learning = {name.split(".")[1] for name, p in backbone.named_parameters() if p.requires_grad}
    assert frozen == {"conv1", "bn1", "layer1"}
    assert learning == {"layer2", "layer3", "layer4"}
    for count in (-1, 6):
        with pytest.raises(OptionError, match="0 to 5"):
            freeze_stages(backbone, count)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_a_size_that_the_network_cannot_take_is_an_option_error(name):
    with pytest.raises(OptionError, match="takes images of 224 x 224 pixels, not 64 x 96"):
        load_backbone(name, weights="none")(torch.zeros(1, 3, 64, 96))


def test_a_vit_that_adapts_its_positions_takes_other_sizes():
    with torch.no_grad():
        seen = load_backbone("test_vit", weights="none").eval()(torch.zeros(1, 3, 64, 96))
    assert seen.grid == (4, 6)
    assert seen.tokens.shape == (1, 24, 64)
