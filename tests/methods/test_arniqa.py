"""The ARNIQA recipe in small: random weights, a dozen pictures drawn by program."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from noref import Scorer
from noref.cli import run as command
from noref.data.pairs import Pairs, hold_out
from noref.degrade.pipeline import apply_composition, sample_composition
from noref.errors import DataError, OptionError
from noref.methods import arniqa
from noref.methods.arniqa import Config, contrast
from noref.models.arniqa import load_encoder
from noref.train import evaluate_export as trained
from noref.train.epoch_chunks import EpochChunks
from noref.train.optim import WarmRestarts
from noref.train.run_folder import DataSet, Run

SMALL = Config(backbone="test_resnet", weights="none", embedding=8, crop=32, batch=3, epochs=2, accelerator="cpu")
WORDS = [
    "--backbone",
    "test_resnet",
    "--weights",
    "none",
    "--embedding",
    "8",
    "--crop",
    "32",
    "--batch",
    "3",
    "--accelerator",
    "cpu",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eleven photos: smooth colour noise, one of them too small for a crop, one grey."""
    made = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number in range(11):
        size = (20, 18) if number == 3 else (90, 72)
        picture = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize(size)
        (picture.convert("L") if number == 5 else picture).save(made / f"{number:02}.png")
    return made


def train(config, folder, out, fabric, resumed=False):
    data, run = DataSet("photos", str(folder), []), Run(out, resumed=resumed)
    run.begin("arniqa", data, config)
    return arniqa.train(config, data, run, fabric)


def chunks_of(config, count):
    pairs = config.batch if config.hard_negatives else 2 * config.batch
    return EpochChunks.of(count, pairs=pairs, most=config.chunk, epochs=config.epochs, steps=config.steps)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_loss_sets_both_scales_of_first_photos_against_both_of_second_ones():
    class Marks(torch.nn.Module):
        """Embeds a crop as its first three values."""

        def forward(self, crops):
            return crops[:, :, 0, 0].float()

    crops = torch.randint(1, 255, (4, 2, 2, 3, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    found = contrast(Config(temperature=0.3), Marks(), crops)["loss"]
    z = torch.nn.functional.normalize(crops[:, :, :, :, 0, 0].double(), dim=-1)  # (N, scale, photo, 3)
    every = [(n, v, p) for n in range(4) for v in range(2) for p in range(2)]
    total = 0.0
    for n, v, p in every:
        rest = [math.exp(float(z[n, v, p] @ z[o]) / 0.3) for o in every if o != (n, v, p)]
        total -= math.log(math.exp(float(z[n, v, p] @ z[n, v, 1 - p]) / 0.3) / sum(rest))
    assert float(found) == pytest.approx(total / len(every), rel=1e-5)


@pytest.mark.parametrize("first", [1.0, 2.0])
def test_restarts_are_torchs_cosine_with_warm_restarts(first):
    restarts = WarmRestarts(0.1, first=first)
    steps = 7  # an epoch
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    wanted = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, int(first * steps), 2, eta_min=1e-6)
    for step in range(80):
        assert restarts(step / steps) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6)
        optimizer.step()
        wanted.step()


def test_a_crop_is_degraded_by_the_composition_that_was_drawn():
    image = np.random.default_rng(3).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    for number in range(10):
        config = Config(max_distortions=1 + number % 3, pristine=0.2, sigma=math.inf if number % 2 else 2.5)
        drawn = sample_composition(
            np.random.default_rng(number),
            max_distortions=config.max_distortions,
            pristine=config.pristine,
            sigma=config.sigma,
        )
        degrade = arniqa.draw(config, np.random.default_rng(number))
        expected = apply_composition(image, drawn, np.random.default_rng(7))
        assert np.array_equal(degrade(image, np.random.default_rng(7)), expected)


@pytest.mark.parametrize(
    ("given", "count", "wanted"),
    [
        ({}, 11, (3, 3, 6, 2)),
        ({"hard_negatives": False}, 11, (1, 1, 2, 2)),
        ({"steps": 7}, 11, (3, 3, 7, 3)),
        ({"chunk": 3}, 16, (2, 4, 8, 4)),  # five batches make two chunks of two, and one is left out
    ],
)
def test_steps_are_cut_into_passes_and_chunks(given, count, wanted):
    found = chunks_of(replace(SMALL, **given), count)
    assert (found.chunk, found.epoch, found.total, found.count) == wanted


def test_chunks_give_every_step_once(folder):
    config = replace(SMALL, chunk=3, steps=7)
    pairs = Pairs(sorted(folder.iterdir())[:9] * 2, draw=partial(arniqa.draw, config), size=32)
    chunks = chunks_of(config, 18)
    assert (chunks.chunk, chunks.epoch, chunks.count) == (3, 6, 3)
    found = [batch.crops for number in range(chunks.count) for batch in chunks.batches(number, pairs, 0)]
    assert len(found) == 7
    again = list(chunks.batches(2, pairs, 0))
    assert len(again) == 1
    assert torch.equal(again[0].crops, found[6])


def test_too_few_photos(folder, fabric, tmp_path):
    with pytest.raises(DataError, match="do not fill a batch of 16"):
        train(replace(SMALL, batch=16), folder, tmp_path / "run", fabric)
    with pytest.raises(DataError, match="leave none"):
        hold_out([Path("a"), Path("b")], 2, 0)


def test_held_out_photos_follow_the_seed():
    names = [Path(f"{n}.png") for n in range(30)]
    learning, apart = hold_out(names, 6, seed=1)
    assert len(apart) == 6
    assert sorted([*learning, *apart], key=names.index) == names
    assert learning == sorted(learning, key=names.index)
    assert hold_out(names, 6, seed=1)[1] == apart != hold_out(names, 6, seed=2)[1]


def test_a_run_keeps_an_encoder_and_says_what_it_left_out(folder, fabric, tmp_path, capsys):
    broken = tmp_path / "photos"
    broken.mkdir()
    for file in folder.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "00.png").write_bytes(b"no image")
    found = train(replace(SMALL, held_out=2, steps=8), broken, tmp_path / "run", fabric)
    said = capsys.readouterr().err
    assert said.count("smaller than a crop") == 1
    apart = {row["path"] for row in rows(tmp_path / "run" / "held_out.csv")}
    assert len(apart) == 2
    if "00.png" not in apart:
        assert found["photos skipped"] == 1
        assert said.count("00.png: cannot be read; skipped") == 1
        assert rows(tmp_path / "run" / "skipped.csv") == [{"path": str(broken / "00.png")}]
    assert found["steps"] == 8
    assert math.isfinite(found["loss"])
    assert 0 <= found["share of time waiting for data"] <= 1
    encoder, card = load_encoder(tmp_path / "run" / "encoder.safetensors")
    assert encoder.width == 96
    assert card.training["steps"] == 8
    assert "no score" in card.limits[0]
    assert str(tmp_path) not in (tmp_path / "run" / "encoder.card.json").read_text()


def test_a_resumed_run_is_the_unbroken_one(folder, fabric, tmp_path, monkeypatch):
    config = replace(SMALL, chunk=2, steps=5, optimizer="adamw")
    train(config, folder, tmp_path / "whole", fabric)
    real, calls = arniqa.contrast, []

    def killed(*args):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(arniqa, "contrast", killed)
        with pytest.raises(KeyboardInterrupt):
            train(config, folder, tmp_path / "cut", fabric)
    train(config, folder, tmp_path / "cut", fabric, resumed=True)
    assert (tmp_path / "whole" / "log.csv").read_text() == (tmp_path / "cut" / "log.csv").read_text()
    first, _ = load_encoder(tmp_path / "whole" / "encoder.safetensors")
    second, _ = load_encoder(tmp_path / "cut" / "encoder.safetensors")
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


@pytest.mark.parametrize(
    "given",
    [
        {"temperature": 0.0},
        {"sigma": -1.0},
        {"restart": 0.0},
        {"batch": 0},
        {"steps": 0},
        {"epochs": 0},
        {"lr": -1.0},
        {"max_distortions": 8},
        {"pristine": 2.0},
        {"head_only": True},
    ],
)
def test_options_that_make_no_sense(given, folder, fabric, tmp_path):
    with pytest.raises(OptionError):
        train(replace(SMALL, **given), folder, tmp_path / "run", fabric)


def test_learning_lowers_the_loss(folder, fabric, tmp_path):
    config = replace(SMALL, epochs=30, optimizer="adamw", lr=3e-3, same_image=True, hard_negatives=False)
    train(config, folder, tmp_path / "run", fabric)
    losses = [float(row["loss"]) for row in rows(tmp_path / "run" / "log.csv")]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])


def test_pretrain_fit_a_head_evaluate_export_and_score(folder, rated, tmp_path, capsys):
    encoder, out, onnx = tmp_path / "encoder", tmp_path / "head", tmp_path / "m.onnx"
    words = ["train", "arniqa", *WORDS, "--steps", "2"]
    assert command([*words, "--data", f"photos={folder}", "--out", str(encoder)]) == 0
    assert "steps\t2" in capsys.readouterr().out
    given = ["--head-only", "--encoder", str(encoder), "--crop", "32", "--validation", "0.2", "--accelerator", "cpu"]
    assert command(["train", "arniqa", *given, "--data", f"csv={rated}", "--out", str(out)]) == 0
    said = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
    results = json.loads((out / "results.json").read_text())
    assert float(said["srcc"]) == pytest.approx(results["srcc"], abs=1e-4)
    kept = {file: file.stat().st_mtime_ns for file in (encoder / "features").rglob("*.safetensors")}
    assert len(kept) == 24

    assert command(["evaluate", str(out), "--data", f"csv={rated}"]) == 0
    again = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert {key: again[key] for key in ("srcc", "plcc", "images")} == {
        key: said[key] for key in ("srcc", "plcc", "images")
    }

    assert command(["export", str(out), "--out", str(onnx)]) == 0
    scorer = Scorer(onnx)
    for row in rows(out / "predictions.csv"):
        assert scorer.score(rated.parent / row["path"]).quality == pytest.approx(float(row["quality"]), abs=2e-4)
    assert trained.load(out / "model.safetensors")[1].training["half scale"].startswith("Pillow's bicubic")

    second = ["--seed", "1", "--out", str(tmp_path / "again"), "--data", f"csv={rated}"]
    assert command(["train", "arniqa", *given, *second]) == 0  # another split: no image is looked at again
    assert {file: file.stat().st_mtime_ns for file in (encoder / "features").rglob("*.safetensors")} == kept


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--data", "photos=nowhere"], "nowhere: no such"),
        (["--data", "photo=x"], "did you mean photos"),
        (["--data", "csv=RATED"], "pre-training takes photos=FOLDER"),
        (["--head-only", "--data", "photos=x"], "a head takes rated images"),
        (["--head-only", "--encoder", "gone", "--data", "csv=RATED"], "no pre-trained encoder"),
        (["--data", "photos=x", "--epochs"], "--epochs needs a value"),
    ],
)
def test_a_wrong_call_says_why(words, says, rated, tmp_path, capsys):
    given = [word.replace("RATED", str(rated)) for word in words]
    assert command(["train", "arniqa", "--out", str(tmp_path / "run"), "--accelerator", "cpu", *given]) in (1, 2)
    assert says in capsys.readouterr().err


def test_photos_are_for_arniqa_alone(tmp_path, folder, capsys):
    assert command(["train", "deiqt", "--out", str(tmp_path / "run"), "--data", f"photos={folder}"]) == 2
    assert "unknown data set 'photos'" in capsys.readouterr().err


def test_a_folder_without_photos(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    words = ["train", "arniqa", *WORDS, "--out", str(tmp_path / "run"), "--data", f"photos={tmp_path / 'empty'}"]
    assert command(words) == 1
    assert "no image file" in capsys.readouterr().err


def test_the_kept_encoder_is_the_one_that_its_card_describes():
    kept = Path(__file__).parents[2] / "experiments" / "arniqa" / "mobilenetv2_photos.safetensors"
    encoder, card = load_encoder(kept)  # the card's checksum is checked
    assert card.training["steps"] == 2016
    assert encoder(torch.zeros(1, 3, 64, 64)).shape == (1, 1280)
