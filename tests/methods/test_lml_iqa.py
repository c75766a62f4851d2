from __future__ import annotations

import copy
import csv
import dataclasses
import math

import numpy as np
import pytest
import torch
from PIL import Image

from noref.card import Preprocessing, Scale
from noref.data.loading import Batch, make_loader
from noref.data.readers import READERS
from noref.data.salient import SalientCrops
from noref.data.splits import random_split, save_split
from noref.errors import OptionError
from noref.methods import deiqt, launch
from noref.methods.lml_iqa import Config, MutualLearning, check, terms
from noref.models import network
from noref.models.backbones import freeze_stages
from noref.models.features import Features
from noref.models.frozen_stages import TailNet
from noref.models.saliency import saliency
from noref.objectives.lml import salient_window
from noref.train import loop, setup
from noref.train.distillation import behind
from noref.train.options import build
from noref.train.run_folder import CHECKPOINT
from noref.train.saliency_windows import FRAME, GAP, TILE, SaliencyWindows, sheet
from noref.train.supervised import check as check_training
from noref.train.supervised import step_of

RULE = Preprocessing(min_side=64, crop=64)


@pytest.fixture
def options(small):
    """A run of 8 images a batch, 2 crops each; its network and its panel start the same everywhere."""
    return {**small, "crop": ("64", ""), "together": ("2", ""), "batch": ("8", ""), "epochs": ("2", "")}


@pytest.fixture
def config(options):
    return build(Config, options)


def batches(config, records, fabric):
    """The crops and batches of a run."""
    hooks = MutualLearning(config, None, None, fabric)
    crops = hooks.crops(config, records, RULE)
    return crops, setup.batches(config, crops, fabric, drop_last=hooks.drop_last)


def step(config, scale, fabric):
    return step_of(terms(config, scale, fabric), config.together)


def whole(state):
    return setup.trained(state).whole


def test_the_defaults_are_the_papers_and_the_decided_ones():
    config = Config()
    assert (config.crops, config.together, config.crop, config.window, config.blocks) == (10, 10, 224, 8, 3)
    assert (config.decay, config.teacher_update, config.inter_negatives) == (0.999, "step", "crops")
    assert (config.intra_negatives, config.positive_in_denominator, config.loss) == (True, False, "l1")
    assert (config.alpha, config.temperature, config.lr, config.epochs) == (0.1, 0.3, 2e-4, 9)
    check(config)


class Told:
    """A network that says what it is told, and keeps what it was given."""

    def __init__(self, scores, pooled):
        self.scores, self.pooled = scores, pooled

    def __call__(self, images, features, layers):
        self.images = images
        return self.scores, Features(self.pooled, self.pooled[:, None], (1, 1))


@pytest.mark.parametrize("loss", ["l1", "smooth_l1"])
def test_the_total_is_equation_seven(loss, fabric):
    """Two images, two crops and a salient one each; everything by hand."""
    crops = torch.arange(6, dtype=torch.uint8).reshape(2, 3, 1, 1, 1)  # 0 1 | 2 and 3 4 | 5, the last is salient
    scores = torch.tensor([0.1, 0.2, 0.7, 0.9, 0.0, 1.0])
    pooled = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 3.0], [1.0, 0.0], [0.0, 1.0]])
    network = Told(scores, pooled)
    config = dataclasses.replace(Config(), crops=2, together=2, alpha=0.25, temperature=0.5, loss=loss, beta=1.0)
    found = step(config, Scale(0, 10), fabric)(network, Batch(crops, torch.tensor([0.3, 0.7]), torch.arange(2)))
    assert network.images.flatten().tolist() == [0, 1, 3, 4, 2, 5]  # scored ones first, an image's side by side
    errors = [2.0, 1.0, 0.0, 2.0]  # the salient ones' scores play no role
    score = sum(errors) / 4 if loss == "l1" else sum(e - 0.5 if e >= 1 else e * e / 2 for e in errors) / 4
    e2 = math.exp(2)  # two features that are alike; 1 for those at right angles
    # image 1: crops x and y, salient x; image 2: crops x and y, salient y. Each crop has three other crops: of the
    # three, one points its way and two do not
    below = e2 + 2
    contrast = -sum(math.log(positive / below) for positive in (e2, 1, 1, e2)) / 4
    assert found["score"].item() == pytest.approx(score, rel=1e-5)
    assert found["contrast"].item() == pytest.approx(contrast, rel=1e-5)
    assert found["loss"].item() == pytest.approx(0.75 * score + 0.25 * contrast, rel=1e-5)


def test_without_contrast_the_step_is_deiqts(config, rated, fabric):
    plain = dataclasses.replace(config, alpha=0.0)
    records = READERS["csv"](rated)
    _, loaders = batches(plain, records, fabric)
    batch = next(iter(loaders.train(0)))
    assert batch.crops.shape == (4, 2, 3, 64, 64)
    network = setup.new_state(plain, fabric).network.eval()
    theirs = step_of([deiqt.score_term(Scale(0, 100), distance="l1")], 2)
    assert torch.equal(step(plain, Scale(0, 100), fabric)(network, batch)["loss"], theirs(network, batch)["loss"])
    alone = dataclasses.replace(plain, together=1)
    expected = setup.batches(alone, setup.random_crops(alone, records, RULE), fabric).train(0)
    for mine, other in zip(batches(alone, records, fabric)[1].train(0), expected, strict=True):
        assert torch.equal(mine.crops, other.crops)


def test_rows_of_the_ablation_see_the_same_random_crops(config, rated, fabric):
    records, found = READERS["csv"](rated), []
    for change in ({"alpha": 0.0}, {"positive": "random", "intra_negatives": False}, {}):
        crops, loaders = batches(dataclasses.replace(config, **change), records, fabric)
        if isinstance(crops, SalientCrops):
            crops.places = np.zeros((len(records), 2), dtype=np.int64)
        found.append(list(loaders.train(1)))
    baseline, random, full = found
    for a, b, c in zip(baseline, random, full, strict=True):
        assert torch.equal(a.indices, c.indices)
        assert torch.equal(a.crops, c.crops[:, :2])
        assert b.crops.shape == c.crops.shape == (4, 3, 3, 64, 64)
        assert torch.equal(a.crops, b.crops[:, :2])
        assert torch.equal(b.indices, c.indices)


def test_a_batch_that_is_not_full_is_left_out(config, rated, fabric):
    records = READERS["csv"](rated)[:23]
    _, loaders = batches(dataclasses.replace(config, alpha=0.0), records, fabric)
    found = list(loaders.train(0))
    assert len(found) == loaders.batches == 5
    assert {len(batch.crops) for batch in found} == {4}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"alpha": -0.1}, "alpha"),
        ({"alpha": 1.5}, "alpha"),
        ({"temperature": 0.0}, "temperature"),
        ({"decay": 2.0}, "decay"),
        ({"window": 0}, "window must be 1 to 14"),
        ({"window": 15}, "window must be 1 to 14"),
        ({"together": 1}, "together 1 must be crops 10"),
        ({"crops": 5}, "together 10 must be crops 5"),
        ({"average": 0.9}, "average"),
        ({"label_weight": 0.0}, "label_weight"),
    ],
)
def test_options_that_do_not_go_together_are_refused(change, reason):
    with pytest.raises(OptionError, match=reason):
        check(dataclasses.replace(Config(), **change))


def test_a_batch_that_does_not_divide_is_refused(config, rated, fabric):
    with pytest.raises(OptionError, match="batch 7 must divide by crops 2"):
        batches(dataclasses.replace(config, batch=7), READERS["csv"](rated), fabric)


def test_windows_are_those_of_each_image_alone(config, rated, fabric):
    """One image after the other, by hand; squares are kept at the first update, later ones only run the network."""
    teacher = whole(setup.new_state(config, fabric))
    crops = SalientCrops(READERS["csv"](rated)[:10], size=64, crops=2, preprocessing=RULE, window=5)
    windows = SaliencyWindows(crops, blocks=3, crop=64, workers=0, fabric=fabric)
    found = windows.update(teacher)
    for number in range(10):
        image = Image.fromarray(crops.image(number)).resize((448, 448), Image.Resampling.BICUBIC)
        maps = saliency(teacher, torch.from_numpy(np.array(image)).permute(2, 0, 1)[None])
        rows, columns = salient_window(maps, 5)
        assert found[number].tolist() == [int(rows), int(columns)]
    assert np.array_equal(crops.places, found.numpy())
    assert len({tuple(place) for place in found.tolist()}) > 1
    crops.image = lambda index: pytest.fail("decoded again")  # type: ignore[method-assign]
    assert torch.equal(windows.update(teacher), found)


def test_the_sheet_shows_the_window(tmp_path):
    Image.fromarray(np.full((100, 200, 3), 200, np.uint8)).save(tmp_path / "grey.png")
    crops = SalientCrops([tmp_path / "grey.png"], size=64, crops=1, preprocessing=RULE, window=7)
    crops.places = np.array([[7, 0]])
    page = np.asarray(sheet(crops))
    tile = page[GAP : GAP + TILE, GAP : GAP + TILE]
    top = TILE // 4  # a wide photo is centred in its tile: 240 x 120
    assert tile[top + 100, 60].tolist() == [200, 200, 200]  # inside, lower left
    assert tile[top + 20, 60].tolist() == [90, 90, 90]  # above it, darkened
    assert tile[top + 100, 200].tolist() == [90, 90, 90]  # right of it
    assert tile[top + 60, 30].tolist() == list(FRAME)
    assert tile[5, 5].tolist() == [255, 255, 255]


def test_the_teacher_follows_when_it_is_told_to(config, fabric):
    for update in ("step", "epoch"):
        chosen = dataclasses.replace(config, teacher_update=update, decay=0.75)
        state = setup.new_state(chosen, fabric)
        state.ema = whole(setup.new_state(dataclasses.replace(config, seed=5), fabric))
        key = "head.panel.queries"
        start, goal = (net.state_dict()[key].clone() for net in (state.ema, whole(state)))
        hooks = MutualLearning(chosen, None, None, fabric)
        hooks.after_step(state)
        hooks.after_step(state)
        hooks.after_epoch(state)
        moves = {"step": 2, "epoch": 1}[update]
        torch.testing.assert_close(state.ema.state_dict()[key], goal + 0.75**moves * (start - goal))


ROWS = {
    "baseline": {"alpha": "0"},
    "random crop": {"positive": "random", "intra_negatives": "no"},
    "fixed saliency crop": {"teacher_update": "frozen", "first_teacher": "network"},
    "mutual learning": {"teacher_update": "epoch", "decay": "0", "first_teacher": "network"},
    "full": {"first_teacher": "network"},
}


def run(rated, out, options, **more):
    given = {**options, **{name: (str(value), f"--{name}: ") for name, value in more.items()}}
    return launch.train("lml_iqa", data=f"csv={rated}", out=str(out), options=given)


@pytest.mark.parametrize("row", ROWS)
def test_every_row_of_table_4_is_a_set_of_options(row, rated, tmp_path, options):
    results = run(rated, tmp_path / "run", options, **ROWS[row])
    assert results["images"] == 5
    log = list(csv.DictReader((tmp_path / "run" / "log.csv").open()))
    terms = {"score", "contrast"} if row != "baseline" else set()
    assert set(log[0]) == {"epoch", "loss", "validation_srcc", *terms}
    for line in log if terms else []:
        total = 0.9 * float(line["score"]) + 0.1 * float(line["contrast"])
        assert float(line["loss"]) == pytest.approx(total, rel=1e-4)


class KilledError(Exception):
    pass


def die_in_the_second_epoch(patch):
    """Of three steps each."""
    update_weights, steps = loop._update, []

    def dying(*given):
        if len(steps) == 4:
            raise KilledError
        steps.append(1)
        update_weights(*given)

    patch.setattr(loop, "_update", dying)


def assert_same_run(folder):
    for name in ("model.safetensors", "log.csv", "predictions.csv", CHECKPOINT):
        assert (folder / "run" / name).read_bytes() == (folder / "unbroken" / name).read_bytes(), name


@pytest.mark.parametrize("update", ["step", "epoch"])
def test_a_run_killed_in_mid_epoch_is_the_unbroken_run(update, rated, tmp_path, options, monkeypatch):
    """The teacher has moved on since the epoch began, so its windows must come out of the checkpoint."""
    more = {"teacher_update": update, "decay": 0.2, "first_teacher": "network", "save_every": 1, "lr": 0.01}
    run(rated, tmp_path / "unbroken", options, **more)
    updates, real = [], SaliencyWindows.update
    monkeypatch.setattr(SaliencyWindows, "update", lambda windows, teacher: updates.append(1) or real(windows, teacher))
    with monkeypatch.context() as patch:
        die_in_the_second_epoch(patch)
        with pytest.raises(KilledError):
            run(rated, tmp_path / "run", options, **more)
    assert len(updates) == 2
    launch.train("lml_iqa", data=None, out=str(tmp_path / "run"), resume=True)
    assert len(updates) == 2  # the epoch that was under way kept its windows
    assert_same_run(tmp_path)


def test_a_network_without_class_token_begins_with_a_trained_baseline(rated, tmp_path, options):
    kept = tmp_path / "teachers"
    run(rated, tmp_path / "one", options, teachers=kept, save_saliency="yes")
    assert sorted(p.name for p in (tmp_path / "one" / "saliency").iterdir()) == ["epoch-01.png", "epoch-02.png"]
    (folder,) = [path for path in kept.iterdir() if path.is_dir()]
    baseline = (folder / "model.safetensors").stat().st_mtime_ns
    assert "recipe: deiqt" in (folder / "config.yaml").read_text()
    assert (folder / "split.json").read_bytes() == (tmp_path / "one" / "split.json").read_bytes()
    run(rated, tmp_path / "two", options, teachers=kept, window=5, alpha=0.3)  # another row, the same teacher
    assert (folder / "model.safetensors").stat().st_mtime_ns == baseline
    run(rated, tmp_path / "three", options, teacher=folder, epochs=1)


def test_a_teacher_that_saw_the_test_part_is_refused(rated, tmp_path, options):
    run(rated, tmp_path / "one", options, alpha=0, epochs=1)
    records = READERS["csv"](rated)
    save_split(random_split(records, test=0.2, seed=9), records, tmp_path / "other.json")
    with pytest.raises(OptionError, match="has learnt from"):
        run(rated, tmp_path / "two", options, teacher=tmp_path / "one", split=tmp_path / "other.json")


def test_a_teacher_of_another_build_can_only_be_frozen(rated, tmp_path, options):
    run(rated, tmp_path / "one", options, alpha=0, epochs=1, width=12)
    with pytest.raises(OptionError, match="another build"):
        run(rated, tmp_path / "two", options, teacher=tmp_path / "one")
    run(rated, tmp_path / "three", options, teacher=tmp_path / "one", teacher_update="frozen", epochs=1)


def test_a_run_with_a_frozen_teacher_of_another_build_resumes(rated, tmp_path, options, monkeypatch):
    run(rated, tmp_path / "teacher", options, alpha=0, epochs=1, width=12)
    more = {"teacher": tmp_path / "teacher", "teacher_update": "frozen", "save_every": 1}
    run(rated, tmp_path / "unbroken", options, **more)
    with monkeypatch.context() as patch:
        die_in_the_second_epoch(patch)
        with pytest.raises(KilledError):
            run(rated, tmp_path / "run", options, **more)
    launch.train("lml_iqa", data=None, out=str(tmp_path / "run"), resume=True)
    assert_same_run(tmp_path)


def test_parts_of_a_batch_are_no_batch_to_contrast(config, fabric):
    parts = dataclasses.replace(config, accumulate=2)
    with pytest.raises(OptionError, match="accumulate 2 would split the batch that contrast compares"):
        check_training(parts, terms(parts, Scale(0, 100), fabric))
    plain = dataclasses.replace(parts, alpha=0.0)
    check_training(plain, terms(plain, Scale(0, 100), fabric))


def test_a_transformer_looks_by_itself(rated, tmp_path, options):
    more = {"backbone": "test_vit", "heads": 4, "width": "none", "epochs": 1, "crop": 64}
    run(rated, tmp_path / "run", options, **more)
    assert not (tmp_path / "run" / "teacher").exists()


def test_parts_of_a_batch_without_contrast(config, rated, fabric):
    _, loaders = batches(dataclasses.replace(config, alpha=0.0, accumulate=2), READERS["csv"](rated), fabric)
    assert {len(batch.crops) for batch in loaders.train(0)} == {2}


def test_workers_change_nothing(config, rated):
    crops = SalientCrops(READERS["csv"](rated)[:6], size=64, crops=2, preprocessing=RULE)
    crops.places = np.arange(12).reshape(6, 2) % 7
    alone, helped = (list(make_loader(crops, batch_images=3, epoch=2, workers=count)) for count in (0, 2))
    assert all(torch.equal(a.crops, b.crops) for a, b in zip(alone, helped, strict=True))


@pytest.mark.parametrize("source", ["attention", "activation"])
def test_a_teacher_behind_frozen_stages_finds_the_windows_of_the_whole_one(rated, fabric, source):
    """Frozen stages see each image once; what is behind them may change between two updates."""
    torch.manual_seed(3)
    whole = network.build(network.Plan("test_efficientnet", width=24, heads=3), weights="none").eval()
    freeze_stages(whole.backbone, 2)
    teacher = behind(whole, TailNet(copy.deepcopy(whole), 2))
    assert isinstance(teacher, TailNet)
    crops = SalientCrops(READERS["csv"](rated)[:6], size=64, crops=2, preprocessing=RULE, window=5)
    cut, plain = (SaliencyWindows(crops, blocks=3, crop=64, workers=0, fabric=fabric, source=source) for _ in range(2))
    for _ in range(2):
        rows, columns = (cut.update(teacher) - plain.update(whole)).abs().amax(dim=0).tolist()
        assert max(rows, columns) <= 1  # kept in bfloat16
        with torch.no_grad():
            for parameter in whole.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.02 * parameter.requires_grad)
    with torch.no_grad():
        next(whole.backbone.parameters()).mul_(2)
    student = TailNet(network.build(network.Plan("test_efficientnet", width=24, heads=3), weights="none"), 2)
    freeze_stages(student.whole.backbone, 2)
    assert behind(whole, student) is None
