"""The recipe of the embedded model, in small: random weights, a dozen pictures drawn by program."""

from __future__ import annotations

import csv
import dataclasses

import numpy as np
import pytest
import timm
import torch
from lightning_fabric import Fabric
from PIL import Image
from safetensors.torch import save_file

from noref import Scorer
from noref.data.splits import Split
from noref.default_model import cached_features, distorted_views, fine_tuning
from noref.default_model import training as embedded
from noref.default_model.config import Config
from noref.errors import DataError, ModelError, OptionError
from noref.models import backbones
from noref.train import evaluate_export as trained
from noref.train import evaluator
from noref.train.options import build
from noref.train.run_folder import Run, read_data


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with weights, rated pictures (paler is worse), photographs and a rating table."""
    folder = tmp_path_factory.mktemp("embedded")
    torch.manual_seed(0)
    network = timm.create_model("mobilenetv2_100", pretrained=False, pad_type="same", num_classes=3)
    save_file(network.state_dict(), folder / "weights.safetensors")
    rng = np.random.default_rng(0)
    (folder / "photos").mkdir()
    rows = []
    for i in range(12):
        noise = rng.integers(0, 256, (14, 18, 3), dtype=np.uint8)
        pale = np.asarray(Image.fromarray(noise).resize((252, 224), Image.Resampling.NEAREST)) // (1 + i % 4)
        Image.fromarray(pale).save(folder / f"{i}.png")
        rows.append({"path": f"{i}.png", "score": 90 - 20 * (i % 4) + i / 12})
    with (folder / "scores.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, ["path", "score"])
        table.writeheader()
        table.writerows(rows)
    for i in range(2):
        Image.fromarray(rng.integers(0, 256, (70, 80, 3), dtype=np.uint8)).save(folder / "photos" / f"p{i}x.png")
    with (folder / "ratings.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["mos", "distortion_type", "level"])
        table.writerows([5 - 0.6 * level, number, level] for number in range(1, 26) for level in range(1, 6))
    return folder


def config(world, **given):
    values = {"epochs": 2, "batch": 4, "photo_crop": 64, "single_distortions": 2, "views": 6, "lr": 1e-4} | given
    return Config(
        weights=str(world / "weights.safetensors"),
        photos=str(world / "photos"),
        ratings=str(world / "ratings.csv"),
        cache=str(world / "cache"),
        **values,
    )


def train(world, out, **given):
    chosen, data = config(world, **given), read_data(f"csv={world / 'scores.csv'}")
    run = Run(out)
    run.begin("embedded", data, chosen)
    return embedded.train(chosen, data, run, Fabric(accelerator="cpu", devices=1)), data


def test_a_run_leaves_a_model_that_scores_as_its_predictions_say(world, tmp_path):
    figures, _ = train(world, tmp_path / "run", test=0.34)
    assert figures["images"] == 4
    scorer = Scorer(tmp_path / "run" / "model.onnx")
    with (tmp_path / "run" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert scorer.score(world / row["path"]).quality == pytest.approx(float(row["quality"]), abs=1e-6)
    found = trained.evaluate(str(tmp_path / "run"), data=f"csv={world / 'scores.csv'}")
    assert found.metrics["images"] == 4  # the run's own test part, not what it was trained on
    assert trained.export(str(tmp_path / "run"), out=str(tmp_path / "copy.onnx")).sha256 == scorer.card.sha256
    assert scorer.card.training["options"]["weights"] == "weights.safetensors"
    assert str(world) not in (tmp_path / "run" / "model.card.json").read_text()


def test_without_a_test_part_every_image_trains(world, tmp_path, monkeypatch):
    cards = []
    monkeypatch.setattr(embedded, "export_onnx", lambda model, out, card, **_: cards.append(card))
    monkeypatch.setattr(evaluator, "Scorer", lambda model: None)
    figures, data = train(world, tmp_path / "run", test=0.0, epochs=1)
    assert figures == {}
    assert cards[0].training["images"] == len(data.records) == 12


def test_a_resumed_run_is_the_unbroken_one(world, tmp_path):
    fabric, data = Fabric(accelerator="cpu", devices=1), read_data(f"csv={world / 'scores.csv'}")
    chosen = config(world, epochs=2)
    network = fine_tuning.build_network(chosen)
    rated = cached_features.rated_features(network, data.records, world / "cache")
    views = cached_features.view_features(network, chosen, world / "cache")

    class KilledError(Exception):
        pass

    def kill_in_epoch_two(step, values):
        if step > 3:
            raise KilledError

    def tune(run, **more):
        return fine_tuning.fine_tune(fine_tuning.build_network(chosen), chosen, rated, views, fabric, run=run, **more)

    whole = tune(Run(_made(tmp_path / "whole")))
    with pytest.raises(KilledError):
        tune(Run(_made(tmp_path / "cut")), report=kill_in_epoch_two)
    again = tune(Run(tmp_path / "cut", resumed=True))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert (tmp_path / "whole" / "log.csv").read_text() == (tmp_path / "cut" / "log.csv").read_text()


def _made(folder):
    folder.mkdir()
    return folder


def test_windows_keep_image_label_and_mirror_together(world):
    chosen, data = config(world), read_data(f"csv={world / 'scores.csv'}")
    rated = cached_features.rated_features(fine_tuning.build_network(chosen), data.records, world / "cache")
    parts, quality = fine_tuning.rated_batch(rated, np.array([3, 5, 7]), 1.0, np.random.default_rng(0))
    assert [len(part[0]) for part in parts] == [3]
    for place, index in enumerate((3, 5, 7)):
        assert float(quality[place]) == pytest.approx(data.records[index].quality)
        assert any(torch.equal(parts[0][0][place], side) for side in rated[index].full)


def test_the_rate_climbs_and_falls_along_one_cosine(world):
    chosen = config(world, epochs=10)
    assert fine_tuning.learning_rate(chosen, 0.0) < 0.01 * chosen.lr
    assert fine_tuning.learning_rate(chosen, 5.0) == pytest.approx(0.5 * chosen.lr)
    assert fine_tuning.learning_rate(chosen, 10.0) == pytest.approx(0.0, abs=1e-12)


def test_photos_without_ratings_are_refused(world):
    chosen = Config(weights=str(world / "weights.safetensors"), photos=str(world / "photos"))
    with pytest.raises(OptionError, match="ratings"):
        embedded.train(
            chosen, read_data(f"csv={world / 'scores.csv'}"), Run(world), Fabric(accelerator="cpu", devices=1)
        )


@pytest.mark.parametrize(
    "given",
    [
        {"devices": "2"},
        {"test": 0.0, "validation": 0.2},
        {"test": 0.0, "split": "x.json"},
        {"temperature": 0.0},
        {"contrast_weight": -1.0},
        {"batch": 2},
        {"epochs": 0},
        {"lr": -1.0},
    ],
)
def test_options_that_make_no_sense_are_refused(world, given):
    with pytest.raises(OptionError):
        embedded.train(
            config(world, **given),
            read_data(f"csv={world / 'scores.csv'}"),
            Run(world),
            Fabric(accelerator="cpu", devices=1),
        )


def test_weights_that_are_missing_or_of_another_network_are_named(world, tmp_path):
    chosen = config(world, contrast="none", test=0.34)
    save_file({"conv_stem.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    for name, says in (("absent.safetensors", "--weights timm"), ("other.safetensors", "tensor 'conv_stem.weight'")):
        broken = dataclasses.replace(chosen, weights=str(tmp_path / name))
        data = read_data(f"csv={world / 'scores.csv'}")
        with pytest.raises(ModelError, match=f"{name}: .*{says}"):
            embedded.train(broken, data, Run(tmp_path), Fabric(accelerator="cpu", devices=1))


@torch.no_grad()
def test_timms_own_weights_come_with_their_padding_mean_and_deviation(world, tmp_path, monkeypatch):
    torch.manual_seed(1)
    network = timm.create_model("mobilenetv2_100", pretrained=False, num_classes=0).eval()
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr(backbones, "_download", lambda name, net: tmp_path / "model.safetensors")
    chosen = dataclasses.replace(config(world), weights="timm")
    model = fine_tuning.build_network(chosen)
    image = torch.randint(0, 256, (1, 63, 80, 3), dtype=torch.uint8)
    mean, std = (torch.tensor(network.pretrained_cfg[name]).view(3, 1, 1) for name in ("mean", "std"))
    expected = network.forward_features((image.permute(0, 3, 1, 2) / 255 - mean) / std).mean((2, 3))
    _, embedding = model.with_embedding(*model.frozen_features(image))
    torch.testing.assert_close(embedding, expected, rtol=1e-3, atol=1e-3)
    data = read_data(f"csv={world / 'scores.csv'}")
    card = embedded.describe(chosen, data, Split((0, 1), (), ()))
    assert card.training["initialised from"] == "timm mobilenetv2_100, under the licence on its page"


def test_names_of_earlier_versions_are_read(world):
    given = {"lessons": "0.6", "singles": "4", "side": "64", "versions": "7", "rate": "1e-4", "drop": "0"}
    found = build(Config, {key: (value, f"--{key}: ") for key, value in given.items()})
    assert found == Config(
        distorted_weight=0.6, single_distortions=4, photo_crop=64, views=7, lr=1e-4, refit_margin=0.0
    )
    fields = {field.name for field in dataclasses.fields(Config)}
    assert set(Config.ALIASES.values()) <= fields
    assert not set(Config.ALIASES) & fields


def test_too_few_images_for_a_batch_are_an_error(world):
    chosen = config(world, batch=16)
    with pytest.raises(DataError, match="batch"):
        fine_tuning.fine_tune(fine_tuning.build_network(chosen), chosen, [], [], Fabric(accelerator="cpu", devices=1))


def test_no_views_are_made_of_the_seventh_that_is_held_out(world, tmp_path):
    names = [f"{i}.png" for i in range(40)]
    (tmp_path / "photos").mkdir()
    for name in names[:8]:
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "photos" / name)
    expected = sum(not distorted_views.held_out(name) for name in names[:8])
    chosen = config(world, single_distortions=1)
    chosen = dataclasses.replace(chosen, photos=str(tmp_path / "photos"))
    assert len(cached_features.view_features(fine_tuning.build_network(chosen), chosen, tmp_path / "cache")) == expected
