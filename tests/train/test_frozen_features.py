from __future__ import annotations

import numpy as np
import pytest
import torch

from noref.card import Card, Preprocessing, Scale
from noref.data.loading import Crops, make_loader
from noref.data.readers import READERS
from noref.data.salient import SalientCrops
from noref.errors import OptionError
from noref.methods import deiqt, launch
from noref.models.backbones import freeze_stages
from noref.models.frozen_stages import TailNet
from noref.models.network import Plan, build
from noref.train.config import Distillation
from noref.train.distillation import DistillationTeacher, add_teacher_scores, behind
from noref.train.frozen_features import cached
from noref.train.loop import Loaders
from noref.train.run_folder import CHECKPOINT

RULE = Preprocessing(min_side=64, crop=64)


def cut(seed=0, frozen=3):
    torch.manual_seed(seed)
    whole = build(Plan("test_efficientnet", width=24, heads=3), weights="none")
    freeze_stages(whole.backbone, frozen)
    return TailNet(whole, frozen)


def crops_of(rated, kind=SalientCrops, count=2, **chosen):
    crops = kind(READERS["csv"](rated)[:7], size=64, crops=count, preprocessing=RULE, **chosen)
    crops.places = np.arange(14).reshape(7, 2) % 7
    return crops


def config_of(folder, sets=1):
    return deiqt.Config(feature_cache=str(folder), crop_sets=sets, crops=2, together=2, frozen=3)


def loaders_of(crops):
    def epoch(number, done=0):
        return make_loader(crops, batch_images=3, epoch=number, start_batch=done)

    return Loaders(epoch, 3, rest=epoch)


def test_cached_maps_are_those_of_the_crops_and_the_salient_ones_move(rated, tmp_path, fabric):
    network, crops = cut(), crops_of(rated)
    loaders = cached(config_of(tmp_path, sets=2), loaders_of(crops), crops, network, fabric)
    plain = crops_of(rated)
    for epoch in range(4):
        for batch in loaders.train(epoch):
            assert batch.crops.dtype == torch.bfloat16
            plain.set_epoch(epoch % 2)
            for place, index in enumerate(batch.indices.tolist()):
                expected = network.frozen_features(plain[index].crops).bfloat16()
                torch.testing.assert_close(batch.crops[place].float(), expected.float(), rtol=0.02, atol=0.02)
    first, third = (next(iter(loaders.train(epoch))) for epoch in (0, 2))
    by_index = dict(zip(third.indices.tolist(), third.crops, strict=True))
    same = [i for i in first.indices.tolist() if i in by_index]
    assert all(torch.equal(first.crops[first.indices.tolist().index(i), :2], by_index[i][:2]) for i in same)
    crops.places = np.zeros((7, 2), dtype=np.int64)
    moved = next(iter(loaders.train(0)))
    assert torch.equal(moved.crops[:, :2], first.crops[:, :2])
    assert not torch.equal(moved.crops[:, 2], first.crops[:, 2])


def test_batches_after_an_interruption_are_the_rest(rated, tmp_path, fabric):
    crops = crops_of(rated)
    loaders = cached(config_of(tmp_path), loaders_of(crops), crops, cut(), fabric)
    whole, rest = list(loaders.train(1)), list(loaders.left(1, 2))
    assert len(rest) == 1
    assert torch.equal(rest[0].crops, whole[2].crops)


def test_maps_are_computed_once_for_what_decides_them(rated, tmp_path, fabric, monkeypatch):
    def folders():
        return {path.name for path in tmp_path.iterdir()}

    def read(network, **more):
        crops = crops_of(rated, **more)
        return [
            batch.crops[:, :2]
            for batch in cached(config_of(tmp_path), loaders_of(crops), crops, network, fabric).train(0)
        ]

    first = read(cut())
    assert len(folders()) == 1
    assert len(list(next(tmp_path.iterdir()).glob("*.safetensors"))) == 7
    computed, real = [], TailNet.frozen_features
    monkeypatch.setattr(
        TailNet, "frozen_features", lambda net, images: computed.append(len(images)) or real(net, images)
    )
    again = read(cut(), window=5)  # another row of a sweep
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    network = cut()
    with torch.no_grad():
        for parameter in (p for p in network.parameters() if p.requires_grad):
            parameter.add_(1)  # what learns decides nothing
    read(network)
    assert {count for count in computed if count > 1} <= {3, 1}  # salient crops alone: one an image; the cut tries one
    assert len(folders()) == 1
    monkeypatch.undo()
    read(cut(seed=1))
    read(cut(), seed=1)
    read(cut(frozen=2))
    assert len(folders()) == 4
    assert not list(tmp_path.rglob("*.part"))


def test_without_a_salient_crop_there_are_only_cached_ones(rated, tmp_path, fabric):
    crops = crops_of(rated, kind=Crops)
    batch = next(iter(cached(config_of(tmp_path), loaders_of(crops), crops, cut(), fabric).train(0)))
    assert batch.crops.shape[:2] == (3, 2)


def test_a_run_on_cached_maps_is_the_run_on_images_that_come_again(rated, tmp_path, small):
    """Kept in float32's place as bfloat16, so the loss is that of the run on images but for rounding."""
    chosen = {**small, "backbone": ("test_efficientnet", ""), "together": ("2", ""), "epochs": ("1", "")}
    chosen |= {"frozen": ("3", ""), "first_teacher": ("network", "")}
    losses = {}
    for name, more in (("images", {}), ("maps", {"feature_cache": (str(tmp_path / "cache"), "")})):
        launch.train("lml_iqa", data=f"csv={rated}", out=str(tmp_path / name), options={**chosen, **more})
        line = (tmp_path / name / "log.csv").read_text().splitlines()[1].split(",")
        losses[name] = [float(value) for value in line[1:4]]
    assert losses["maps"] == pytest.approx(losses["images"], rel=0.01)
    launch.train(
        "lml_iqa",
        data=f"csv={rated}",
        out=str(tmp_path / "again"),
        options={**chosen, "feature_cache": (str(tmp_path / "cache"), "")},
    )
    assert (tmp_path / "again" / CHECKPOINT).read_bytes() == (tmp_path / "maps" / CHECKPOINT).read_bytes()
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_feature_cache_without_frozen_stages_is_refused(rated, tmp_path, small):
    with pytest.raises(OptionError, match="frozen stages"):
        launch.train(
            "lml_iqa",
            data=f"csv={rated}",
            out=str(tmp_path / "run"),
            options={**small, "together": ("2", ""), "feature_cache": (str(tmp_path), "")},
        )


@pytest.mark.parametrize("recipe", ["deiqt", "csiqa"])
def test_any_recipe_runs_on_cached_maps_as_on_images(rated, tmp_path, small, recipe):
    """With as many sets as epochs no crop comes twice; CSIQA's teacher is trained on maps of its own."""
    chosen = {**small, "backbone": ("test_efficientnet", ""), "crops": ("1", ""), "epochs": ("2", "")}
    chosen |= {"frozen": ("3", "")} | ({"head": ("panel", ""), "mask": ("none", "")} if recipe == "csiqa" else {})
    losses = {}
    for name, more in (
        ("images", {}),
        ("maps", {"feature_cache": (str(tmp_path / "cache"), ""), "crop_sets": ("2", "")}),
    ):
        launch.train(recipe, data=f"csv={rated}", out=str(tmp_path / name), options={**chosen, **more})
        lines = (tmp_path / name / "log.csv").read_text().splitlines()[1:]
        losses[name] = [float(value) for line in lines for value in line.split(",")[1:4]]
    assert losses["maps"] == pytest.approx(losses["images"], rel=0.02)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_feature_cache_and_an_averaged_network_are_refused(rated, tmp_path, small):
    chosen = {
        **small,
        "crops": ("1", ""),
        "frozen": ("3", ""),
        "feature_cache": (str(tmp_path), ""),
        "average": ("0.9", ""),
    }
    with pytest.raises(OptionError, match="average"):
        launch.train("deiqt", data=f"csv={rated}", out=str(tmp_path / "run"), options=chosen)


def test_a_teacher_with_the_same_frozen_stages_scores_the_cached_maps(rated, tmp_path, fabric):
    network = cut()
    own = cut().whole  # frozen alike, another tail
    with torch.no_grad():
        for parameter in (p for p in own.parameters() if p.requires_grad):
            parameter.mul_(1.1)
    card = Card("t", "t", Scale(0, 1), RULE)
    crops = crops_of(rated, kind=Crops)
    plain = list(loaders_of(crops_of(rated, kind=Crops)).train(0))
    teacher, tail = DistillationTeacher(own, card, fabric), behind(own, network)
    loaders = cached(config_of(tmp_path), loaders_of(crops), crops, network, fabric)
    for batch, images in zip(
        add_teacher_scores(loaders, teacher, Distillation(), crops, by=tail).train(0), plain, strict=True
    ):
        assert batch.crops.dtype == torch.bfloat16
        with torch.no_grad():
            expected = torch.stack([own(each) for each in images.crops])
        torch.testing.assert_close(batch.teacher, expected, rtol=0, atol=0.02)
    assert behind(cut(seed=1).whole, network) is None  # such a teacher must see the images
