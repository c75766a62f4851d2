from __future__ import annotations

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from noref.methods.distillation import Teacher, fed
from noref.methods.feature_cache import Bank

from noref.card import Card, Preprocessing, Scale
from noref.data.loading import Crops, make_loader
from noref.data.readers import READERS
from noref.data.salient import SalientCrops
from noref.errors import OptionError
from noref.methods import deiqt, launch
from noref.models.backbones import freeze_stages
from noref.models.frozen_stages import TailNet
from noref.models.network import Plan, build
from noref.train import options
from noref.train.loop import Loaders
from noref.train.setup import CHECKPOINT

RULE = Preprocessing(min_side=64, crop=64)


@pytest.fixture(scope="module")
def fabric():
    return Fabric(accelerator="cpu", devices=1)


def cut(seed=0, frozen=3):
    torch.manual_seed(seed)
    whole = build(Plan("test_efficientnet", width=24, heads=3), weights="none")
    freeze_stages(whole.backbone, frozen)
    return TailNet(whole, frozen)


def crops_of(rated, kind=SalientCrops, count=2, **chosen):
    crops = kind(READERS["csv"](rated)[:7], size=64, crops=count, preprocessing=RULE, **chosen)
    crops.places = np.arange(14).reshape(7, 2) % 7
    return crops


def loaders_of(crops):
    def epoch(number, done=0):
        return make_loader(crops, batch_images=3, epoch=number, start_batch=done)

    return Loaders(epoch, 3, rest=epoch)


def test_kept_maps_are_those_of_the_crops_and_the_salient_ones_move(rated, tmp_path, fabric):
    network, crops = cut(), crops_of(rated)
    bank = Bank(tmp_path, crops, network, count=2, sets=2, fabric=fabric)
    loaders = bank.through(loaders_of(crops))
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
    loaders = Bank(tmp_path, crops, cut(), count=2, sets=1, fabric=fabric).through(loaders_of(crops))
    whole, rest = list(loaders.train(1)), list(loaders.left(1, 2))
    assert len(rest) == 1
    assert torch.equal(rest[0].crops, whole[2].crops)


def test_a_bank_is_made_once_for_what_decides_it(rated, tmp_path, fabric, monkeypatch):
    def files():
        return {path.name for path in tmp_path.glob("*.npy")}

    bank = lambda network, **more: Bank(tmp_path, crops_of(rated, **more), network, count=2, sets=1, fabric=fabric)  # noqa: E731
    bank(cut())
    one = files()
    assert len(one) == 1
    monkeypatch.setattr(Bank, "_fill", lambda self: pytest.fail("made again"))
    bank(cut(), window=5)  # another row of a sweep
    network = cut()
    with torch.no_grad():
        for parameter in (p for p in network.parameters() if p.requires_grad):
            parameter.add_(1)  # what learns decides nothing
    bank(network)
    monkeypatch.undo()
    bank(cut(seed=1))
    bank(cut(), seed=1)
    bank(cut(frozen=2))
    assert len(files()) == 4
    assert not list(tmp_path.glob("*.part"))


def test_without_a_salient_crop_there_are_only_kept_ones(rated, tmp_path, fabric):
    crops = crops_of(rated, kind=Crops)
    batch = next(iter(Bank(tmp_path, crops, cut(), count=2, sets=1, fabric=fabric).through(loaders_of(crops)).train(0)))
    assert batch.crops.shape[:2] == (3, 2)


def test_no_set_at_all_is_an_option_error(rated, tmp_path, fabric):
    with pytest.raises(OptionError, match="at least one set"):
        Bank(tmp_path, crops_of(rated), cut(), count=2, sets=0, fabric=fabric)


def test_a_run_on_kept_maps_is_the_run_on_images_that_come_again(rated, tmp_path, small):
    """Kept in float32's place as bfloat16, so the loss is that of the run on images but for rounding."""
    chosen = {**small, "backbone": ("test_efficientnet", ""), "together": ("2", ""), "epochs": ("1", "")}
    chosen |= {"frozen": ("3", ""), "first_teacher": ("network", "")}
    losses = {}
    for name, more in (("images", {}), ("maps", {"bank": (str(tmp_path / "bank"), "")})):
        launch.train("lml_iqa", data=f"csv={rated}", out=str(tmp_path / name), options={**chosen, **more})
        line = (tmp_path / name / "log.csv").read_text().splitlines()[1].split(",")
        losses[name] = [float(value) for value in line[1:4]]
    assert losses["maps"] == pytest.approx(losses["images"], rel=0.01)
    launch.train(
        "lml_iqa",
        data=f"csv={rated}",
        out=str(tmp_path / "again"),
        options={**chosen, "bank": (str(tmp_path / "bank"), "")},
    )
    assert (tmp_path / "again" / CHECKPOINT).read_bytes() == (tmp_path / "maps" / CHECKPOINT).read_bytes()
    assert len(list((tmp_path / "bank").glob("*.npy"))) == 1


def test_a_bank_without_frozen_stages_is_refused(rated, tmp_path, small):
    with pytest.raises(OptionError, match="frozen stages"):
        launch.train(
            "lml_iqa",
            data=f"csv={rated}",
            out=str(tmp_path / "run"),
            options={**small, "together": ("2", ""), "bank": (str(tmp_path), "")},
        )


@pytest.mark.parametrize("recipe", ["deiqt", "csiqa"])
def test_any_recipe_runs_on_kept_maps_as_on_images(rated, tmp_path, small, recipe):
    """With as many sets as epochs no crop comes twice; CSIQA's teacher is trained on maps of its own."""
    chosen = {**small, "backbone": ("test_efficientnet", ""), "crops": ("1", ""), "epochs": ("2", "")}
    chosen |= {"frozen": ("3", "")} | ({"head": ("panel", ""), "mask": ("none", "")} if recipe == "csiqa" else {})
    losses = {}
    for name, more in (("images", {}), ("maps", {"bank": (str(tmp_path / "bank"), ""), "bank_sets": ("2", "")})):
        launch.train(recipe, data=f"csv={rated}", out=str(tmp_path / name), options={**chosen, **more})
        lines = (tmp_path / name / "log.csv").read_text().splitlines()[1:]
        losses[name] = [float(value) for line in lines for value in line.split(",")[1:4]]
    assert losses["maps"] == pytest.approx(losses["images"], rel=0.02)
    assert len(list((tmp_path / "bank").glob("*.npy"))) == 1


def test_a_bank_and_an_averaged_network_are_refused(rated, tmp_path, small):
    chosen = {**small, "crops": ("1", ""), "frozen": ("3", ""), "bank": (str(tmp_path), ""), "average": ("0.9", "")}
    with pytest.raises(OptionError, match="average"):
        launch.train("deiqt", data=f"csv={rated}", out=str(tmp_path / "run"), options=chosen)


def test_a_teacher_with_the_same_frozen_stages_scores_the_kept_maps(rated, tmp_path, fabric):
    network = cut()
    own = cut().whole  # frozen alike, another tail
    with torch.no_grad():
        for parameter in (p for p in own.parameters() if p.requires_grad):
            parameter.mul_(1.1)
    foreign = cut(seed=1).whole
    config = options.build(
        deiqt.Config, {"bank": (str(tmp_path), ""), "frozen": ("3", ""), "crops": ("2", ""), "together": ("2", "")}
    )
    card = Card("t", "t", Scale(0, 1), RULE)
    for whole, tolerance in ((own, 0.02), (foreign, 1e-6)):
        crops = crops_of(rated, kind=Crops)
        plain = list(loaders_of(crops_of(rated, kind=Crops)).train(0))
        teacher = Teacher(whole, card, fabric)
        found = list(fed(config, loaders_of(crops), crops, teacher, crops.records, network, fabric).train(0))
        for batch, images in zip(found, plain, strict=True):
            assert batch.crops.dtype == torch.bfloat16
            with torch.no_grad():
                expected = torch.stack([whole(each) for each in images.crops])
            torch.testing.assert_close(batch.teacher, expected, rtol=0, atol=tolerance)
