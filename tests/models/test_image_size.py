"""Vision transformers for images of another size than their weights were made for."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from noref.card import Card, Preprocessing, Scale
from noref.errors import ModelError, OptionError
from noref.models import arniqa
from noref.models import network as networks
from noref.models.backbones import freeze_stages, layer_depths, load_backbone
from noref.models.network import FromBytes, Plan, build
from noref.models.saliency import saliency, viewing_side
from noref.scoring.export import export_onnx

NAME = "vit_tiny_patch16_224"
DATA = Path(os.environ.get("NOREF_DATA", Path(__file__).parents[3] / "shared" / "data"))
SALIENCY = DATA / "backbones" / "vit_small_patch14_dinov2_saliency_fp16.safetensors"
needs_vit = pytest.mark.skipif(not SALIENCY.exists(), reason=f"no backbone weights at {SALIENCY}")
RULE = Preprocessing(crop=96, min_side=96)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Position embeddings that are no neutral start: a ViT-tiny/16 of 14 x 14 patches."""
    torch.manual_seed(3)
    net = timm.create_model(NAME, num_classes=0)
    torch.nn.init.normal_(net.pos_embed)
    path = tmp_path_factory.mktemp("weights") / "vit.safetensors"
    save_file(net.state_dict(), path)
    return path


def cubic(x, a=-0.5):
    x = abs(x)
    if x < 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def shares(old, new):
    """(new, old): how much each old place counts at a new one; Keys' cubic, stretched where there are fewer places."""
    scale = old / new
    stretch = max(scale, 1.0)
    found = np.zeros((new, old))
    for place in range(new):
        centre = (place + 0.5) * scale
        for cell in range(old):
            found[place, cell] = cubic((cell + 0.5 - centre) / stretch)
        found[place] /= found[place].sum()
    return found


@pytest.mark.parametrize("side", [96, 320])
def test_positions_are_interpolated_as_slow_loops_do(weights, side):
    given = load_file(weights)["pos_embed"].double().numpy()[0]
    rows = shares(14, side // 16)
    grid = given[1:].reshape(14, 14, -1)
    expected = np.einsum("ra,cb,abd->rcd", rows, rows, grid).reshape(-1, grid.shape[2])
    found = load_backbone(NAME, weights=str(weights), image_size=side).net.pos_embed.detach().numpy()[0]
    np.testing.assert_allclose(found[0], given[0], rtol=1e-6)  # the class token has no place
    np.testing.assert_allclose(found[1:], expected, atol=1e-5)


@pytest.mark.parametrize("side", [96, 224])
def test_tokens_are_those_of_timms_network_that_interpolates_in_each_step(weights, side):
    theirs = timm.create_model(NAME, num_classes=0, dynamic_img_size=True).eval()
    theirs.load_state_dict(load_file(weights))
    backbone = load_backbone(NAME, weights=str(weights), image_size=side).eval()
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        seen, expected = backbone(images), theirs.forward_features(images)
    torch.testing.assert_close(seen.pooled, expected[:, 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(seen.tokens, expected[:, 1:], rtol=1e-4, atol=1e-5)
    assert seen.grid == (side // 16, side // 16)


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [(NAME, 96, 96), (NAME, 224, None), (NAME, None, None), ("test_vit", 96, None), ("test_resnet", 90, None)],
)
def test_the_plan_keeps_a_size_that_matters(name, given, kept):
    network = build(Plan(name, image_size=given, width=24, heads=3), weights="none")
    assert network.plan.image_size == kept


def test_a_network_of_another_size_loads_again_and_exports(tmp_path):
    torch.manual_seed(0)
    network = build(Plan(NAME, heads=3, image_size=96), weights="none").eval()
    card = networks.save(network, tmp_path / "model.safetensors", Card("n", "m", Scale(0, 100), RULE))
    again, _ = networks.load(tmp_path / "model.safetensors")
    images = torch.randint(0, 256, (2, 96, 96, 3), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(again(images.permute(0, 3, 1, 2)), network(images.permute(0, 3, 1, 2)))
    export_onnx(FromBytes(again), tmp_path / "model.onnx", card, example=images.numpy(), dynamic_size=False)


def test_a_crop_that_the_patches_do_not_divide_names_both():
    for name, crop, words in [(NAME, 100, "crop 100 .* patches of 16 px: take 96 or 112"), ("test_vit", 8, "crop 8 ")]:
        with pytest.raises(OptionError, match=words):
            build(Plan(name, image_size=crop), weights="none")


def test_weights_of_another_build_are_named(weights, tmp_path):
    with pytest.raises(ModelError, match=r"192 wide with patches of 16 px; this backbone is 384 wide with .* 14 px"):
        load_backbone("vit_small_patch14_dinov2", weights=str(weights), image_size=196)
    with pytest.raises(ModelError, match=r"of 197 tokens; this backbone needs 577, for 384 x 384 px"):
        load_backbone("vit_tiny_patch16_384", weights=str(weights), image_size=224)
    half = tmp_path / "half.safetensors"
    save_file({name: value.half() for name, value in load_file(weights).items()}, half)
    backbone = load_backbone(NAME, weights=str(half), image_size=96)
    assert {parameter.dtype for parameter in backbone.parameters()} == {torch.float32}


def test_an_encoder_s_header_says_which_size_its_positions_have(tmp_path):
    torch.manual_seed(0)
    encoder = arniqa.build_encoder(arniqa.EncoderPlan(NAME, image_size=96), weights="none")
    path = tmp_path / "encoder.safetensors"
    arniqa.save_encoder(encoder, path, Card("e", "ARNIQA", Scale(0, 1), RULE))
    kept = encoder.backbone.net.pos_embed
    assert torch.equal(load_backbone(NAME, weights=str(path)).net.pos_embed, kept)
    assert torch.equal(arniqa.load_encoder(path)[0].backbone.net.pos_embed, kept)
    assert load_backbone(NAME, weights=str(path), image_size=128).net.pos_embed.shape == (1, 65, 192)
    tensors = {**load_file(path), "backbone.net.pos_embed": torch.zeros(1, 50, 192)}
    save_file(tensors, path, {"network": '{"kind": "arniqa encoder", "image_size": 96}'})
    with pytest.raises(ModelError, match=r"of 50 tokens; this backbone needs 37, for 96 x 96 px"):
        load_backbone(NAME, weights=str(path))


def test_first_blocks_freeze_by_stages():
    backbone = load_backbone(NAME, weights="none", image_size=96)
    freeze_stages(backbone, 10)  # the patch embedding and nine blocks
    depths = layer_depths(backbone, stages=True)
    for name, parameter in backbone.named_parameters():
        assert parameter.requires_grad == (depths[name] >= 10), name
    learning = {name.split(".")[2] for name, p in backbone.named_parameters() if p.requires_grad and "blocks" in name}
    assert learning == {"9", "10", "11"}
    assert not backbone.net.pos_embed.requires_grad


@needs_vit
@torch.no_grad()
def test_the_pre_trained_vit_at_the_crops_of_the_papers():
    """At the size of its weights it is timm's network; at 196 pixels much of that is left, on 14 x 14 places."""
    plan = {"backbone": "vit_small_patch14_dinov2", "head": "pooled"}
    small = build(Plan(**plan, image_size=196), weights=str(SALIENCY)).eval()
    assert (small.plan.mean, small.plan.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert viewing_side(small, 196) == 196
    gradient = torch.linspace(0, 1, 518).expand(1, 3, 518, 518) * torch.linspace(0.2, 1, 518)[:, None]
    image = gradient.clone()
    image[:, 0, 180:320, 260:400] = 1.0
    shrunk = torch.nn.functional.interpolate(image, (196, 196), mode="bilinear", antialias=True)
    seen = small.features(shrunk)
    assert seen.grid == (14, 14)
    maps = saliency(small, shrunk)
    assert maps.shape == (1, 14, 14)
    assert bool((maps > 0).all())
    theirs = timm.create_model("vit_small_patch14_dinov2", num_classes=0).eval()
    theirs.load_state_dict({name: value.float() for name, value in load_file(SALIENCY).items()})
    large = build(Plan(**plan, image_size=518), weights=str(SALIENCY)).eval()
    assert large.plan.image_size is None
    expected = theirs.forward_features(large.normalize(image))
    torch.testing.assert_close(large.features(image).tokens, expected[:, 1:], rtol=1e-3, atol=1e-3)
    assert float(torch.cosine_similarity(seen.pooled, expected[:, 0])) > 0.8
    assert viewing_side(build(Plan(**plan, image_size=224), weights="none"), 224) == 224
    assert math.isfinite(float(small(shrunk)))
