"""The experiment that adds a contrast to the embedded model's recipe: its short cuts against the plain way."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from noref.card import Scale
from noref.data.records import Record
from noref.data.splits import Split, save_split
from noref.default_model.cached_features import compute_features
from noref.default_model.config import Config
from noref.default_model.fine_tuning import TwoHeads, batches, step
from noref.models.stages import StageRegressor, cnn_stages
from noref.objectives.csiqa import quality_context_loss, select_pairs
from noref.objectives.lml import local_manifold_loss
from noref.objectives.rated import score_loss
from noref.train.run_folder import DataSet

from ..load_script import load_script

FILE = Path(__file__).parents[2] / "experiments" / "embedded" / "contrast.py"


@pytest.fixture(scope="module")
def contrast():
    return load_script(FILE, "embedded_contrast")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    made = StageRegressor(cnn_stages(timm.create_model("mobilenetv2_100", pad_type="same")), frozen=4)
    torch.nn.init.normal_(made.head.weight, std=0.01)
    return made


@pytest.fixture(scope="module")
def rated(model):
    """Four pictures with their mirror images, after the frozen stages."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, 128, 160, 3), dtype=np.uint8)
    return [compute_features(model, np.stack([x, x[:, ::-1]]), [0.2 * i] * 2) for i, x in enumerate(pixels)]


def test_windows_of_an_image_have_the_features_that_they_have_one_by_one(contrast, model, rated):
    images = [
        contrast.Windows(
            torch.cat([item.full[:1, :, :height, :11], item.full[:1, :, 4 : 4 + height, 6:17]]),
            item.half[:1],
            item.frozen[:1],
        )
        for item, height in zip(rated[:3], (9, 8, 9), strict=True)  # the first and the last go together
    ]
    for found, (windows, half, frozen) in zip(contrast.extract(model, images), images, strict=True):
        with torch.autocast("cpu", torch.bfloat16):
            alone = [model.features(window[None], half, frozen) for window in windows]
            last = torch.nn.Sequential(*model.tuned_stages)(windows)
        torch.testing.assert_close(found.features, torch.cat(alone), rtol=2e-2, atol=2e-2)
        torch.testing.assert_close(found.pooled, last.float().mean((2, 3)), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(("name", "weight"), [("none", 0), ("quality-context", 0.1)])
def test_a_row_of_one_window_is_the_recipe(contrast, model, rated, name, weight):
    config, row = Config(batch=4, contrast=name, contrast_weight=0.1), contrast.Row.parse(f"x=1,0,{weight},6")
    (theirs,) = contrast.batches(config, row, rated, [], [], epoch=2)
    (ours,) = batches(config, rated, [], 2)
    there, here = contrast.losses(config, row, TwoHeads(model), theirs), step(config, TwoHeads(model), ours)
    torch.testing.assert_close(here["loss"], there["loss"], rtol=1e-3, atol=1e-4)


def test_the_salient_window_is_mirrored_with_its_image(contrast, rated):
    item = rated[0]
    straight = contrast.cut(item, 0, (0.2, 0.1), 0.55)
    height, width = item.full.shape[2:]
    rows, columns = round(height * 0.55), round(width * 0.55)
    top, left = round(0.2 * height), round(0.1 * width)
    assert torch.equal(straight, item.full[:1, :, top : top + rows, left : left + columns])
    mirrored = contrast.cut(item, 1, (0.2, 0.1), 0.55)
    assert torch.equal(mirrored, item.full[1:, :, top : top + rows, width - left - columns : width - left])
    assert contrast.cut(item, 0, (0.9, 0.9), 0.55).shape == straight.shape  # it stays inside


def test_the_loss_is_the_sum_of_its_terms(contrast, model, rated):
    row = contrast.Row.parse("both=2,0.3,0.1,6")
    assert (row.crops, row.local, row.context, row.epochs) == (2, 0.3, 0.1, 6)
    config = Config(batch=4)
    places = contrast.salient_places(model, rated, contrast.SHARE[2])
    (batch,) = contrast.batches(config, row, rated, [], places, epoch=0)
    assert [len(windows.full) for windows in batch.windows] == [3] * 4
    values = contrast.losses(config, row, TwoHeads(model), batch)
    extracted = [contrast.extract(model, [windows])[0] for windows in batch.windows]
    crops = torch.stack([each.pooled[:2] for each in extracted])
    labels = batch.quality.repeat_interleave(2)
    pairs = select_pairs(labels, groups=torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]))
    local = local_manifold_loss(crops, torch.cat([each.pooled[2:] for each in extracted]), temperature=0.3)
    context = quality_context_loss(crops.flatten(0, 1), *pairs, temperature=0.3)
    score = score_loss(torch.cat([model.head(each.features[:2]) for each in extracted]), labels, config.plcc_weight)
    torch.testing.assert_close(values["loss"], score + 0.3 * local + 0.1 * context, rtol=1e-3, atol=1e-4)


def test_rows_with_and_without_a_salient_window_see_the_same_random_ones(contrast, model, rated):
    config, places = Config(batch=4), contrast.salient_places(model, rated, contrast.SHARE[2])
    drawn = [
        next(contrast.batches(config, contrast.Row("x", 2, local, 0.0, 6), rated, [], places, epoch=3))
        for local in (0.0, 0.1)
    ]
    for bare, full in zip(*(batch.windows for batch in drawn), strict=True):
        assert torch.equal(bare.full, full.full[:2])


def test_inner_folds_are_of_the_training_part_alone(contrast, tmp_path):
    records = []
    for i in range(20):
        path = tmp_path / f"{i}.png"
        path.write_bytes(bytes([min(i, 18)] * 5))  # 18 and 19 are twins
        records.append(Record(path=path, raw_score=float(i), scale=Scale(0, 20)))
    save_split(Split(tuple(range(5, 20)), (), tuple(range(5))), records, tmp_path / "first.json")
    (plain,) = contrast.parts_of([tmp_path / "first.json"], records)
    assert plain == ("first", tuple(range(5, 20)), tuple(range(5)))
    inner = contrast.parts_of([tmp_path / "first.json"], records, inner=3)
    assert [parts.name for parts in inner] == ["first-inner1of3", "first-inner2of3", "first-inner3of3"]
    assert sorted(i for parts in inner for i in parts.scored) == list(range(5, 20))
    for parts in inner:
        assert sorted([*parts.train, *parts.scored]) == list(range(5, 20))
        assert (18 in parts.scored) == (19 in parts.scored)


def test_the_output_says_what_the_metrics_are_for(contrast, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(contrast, "read_data", lambda text: DataSet("csv", text, []))
    for name in ("build_network", "rated_features", "view_features", "parts_of"):
        monkeypatch.setattr(contrast, name, lambda *given, **options: [])
    words = "contrast.py --data csv=x --split a.json --row x=1,0,0,6 --weights w --photos p --ratings r --cache c"
    for more, says in (([], "choose nothing by them"), (["--inner", "5"], "the test part was not scored")):
        monkeypatch.setattr(sys, "argv", [*words.split(), "--out", str(tmp_path), *more])
        contrast.main()
        assert says in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", [*words.split(), "--out", str(tmp_path), "--inner", "5", "--split", "b.json"])
    with pytest.raises(SystemExit):
        contrast.main()
    assert "--inner takes one --split" in capsys.readouterr().err
