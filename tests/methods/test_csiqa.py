"""The recipe in small: teacher first, then the masked network; resumed, given a teacher, and refused."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from noref.card import Preprocessing
from noref.data.loading import Crops, make_loader
from noref.data.readers import READERS
from noref.data.splits import load_split
from noref.errors import DataError, OptionError
from noref.methods import csiqa, deiqt
from noref.methods.launch import train
from noref.models import network as networks
from noref.train.distillation import (
    Baseline,
    DistillationTeacher,
    ScoredBatch,
    add_teacher_scores,
    baseline_config,
    find_teacher,
)
from noref.train.loop import Loaders
from noref.train.options import build, given_pairs, options_of
from noref.train.run_folder import DataSet, Run
from noref.train.state import State

PAGE = Path(__file__).parents[2] / "docs" / "papers" / "csiqa.md"
VIT = "--backbone test_vit --crop 160 --width 64 --heads 4 --crops 1 --epochs 2"


def run(rated, out, small, words, recipe="csiqa"):
    options = {**small, **given_pairs(words.split())}
    return train(recipe, data=f"csv={rated}", out=str(out), options=options)


@pytest.fixture(scope="module")
def finished(rated, small, tmp_path_factory):
    """A run with everything: a teacher, both kinds of pairs, masked attention."""
    out = tmp_path_factory.mktemp("csiqa") / "run"
    return out, run(rated, out, small, VIT)


def test_the_defaults_are_the_papers():
    config = csiqa.Config()
    assert (config.distillation, config.contrast_weight, config.mask) == (0.9, 0.1, 0.3)
    assert (config.easy, config.hard, config.rough) == ((0.1, 0.4), (0.1, 0.4), (0.2, 0.6))
    assert (config.epochs, config.lr, config.decay_every, config.decay_factor) == (9, 2e-4, 3, 0.1)
    assert (config.head, config.contrast, config.temperature) == ("tokens", "quality-context", 0.3)
    assert csiqa.Contrast().contrast == "none"
    assert not csiqa.Contrast().wants_teacher
    assert not hasattr(deiqt.Config(), "contrast")


def test_help_says_something_of_every_option():
    options = options_of(csiqa.Config)
    assert all(option.help for option in options)
    names = [option.name for option in options]
    assert names.index("head") < names.index("mask") < names.index("teacher") < names.index("backbone")


def test_teacher_and_network_learn_from_the_same_images(finished, rated):
    out = finished[0]
    records = READERS["csv"](rated)
    own, teachers = (load_split(folder / "split.json", records) for folder in (out, out / "teacher"))
    assert (own.train, own.validation, own.test) == (teachers.train, teachers.validation, teachers.test)
    network, card = networks.load(out / "model.safetensors")
    teacher, teachers_card = networks.load(out / "teacher" / "model.safetensors")
    assert (network.plan.mask, network.plan.head, card.training["recipe"]) == (0.3, "tokens", "csiqa")
    assert (teacher.plan.mask, teacher.plan.head, teachers_card.training["recipe"]) == (None, "panel", "deiqt")
    head, *rows = (out / "log.csv").read_text().splitlines()
    assert head == "epoch,loss,label,teacher,contrast,dropped,validation_srcc"
    assert len(rows) == 2


def test_the_cosine_of_the_tokens_is_a_metric_of_the_run(finished, rated):
    out, found = finished
    assert json.loads((out / "results.json").read_text())["token_cosine"] == found["token_cosine"]
    network, _ = networks.load(out / "model.safetensors")
    records = READERS["csv"](rated)
    rule = Preprocessing(min_side=160, crop=160)
    cosines = []
    for index in load_split(out / "split.json", records).test:
        crops = Crops([records[index]], size=160, preprocessing=rule, train=False)[0].crops
        with torch.no_grad():
            seen = network.features(crops)
        each = [float(a @ b / (a.norm() * b.norm())) for a, b in zip(seen.pooled, seen.quality, strict=True)]
        cosines.append(sum(each) / len(each))
    assert found["token_cosine"] == pytest.approx(sum(cosines) / len(cosines), abs=1e-5)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("where", [".", "teacher"])
def test_a_killed_run_resumes_to_the_same_bytes(finished, rated, small, tmp_path, monkeypatch, where):
    save = State.save

    def dies(self, path, fabric):
        save(self, path, fabric)
        if path.parent == tmp_path / "broken" / where:  # in the run's own training, or in its teacher's
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(State, "save", dies)
        with pytest.raises(KilledError):
            run(rated, tmp_path / "broken", small, VIT)
    torch.manual_seed(77)
    train("csiqa", data=None, out=str(tmp_path / "broken"), resume=True)
    for name in ("log.csv", "predictions.csv", "results.json", "model.safetensors"):
        assert (tmp_path / "broken" / name).read_bytes() == (finished[0] / name).read_bytes(), name


def test_a_named_teacher_takes_the_place_of_an_own_one(finished, rated, small, tmp_path):
    words = f"{VIT} --teacher {finished[0] / 'teacher'}"
    run(rated, tmp_path / "run", small, words)
    assert (tmp_path / "run" / "log.csv").read_bytes() == (finished[0] / "log.csv").read_bytes()
    assert not (tmp_path / "run" / "teacher").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--mask none", "head tokens reads a quality token"),
        (
            "--backbone test_resnet --width 24 --heads 3 --crop 64",
            "only a vision transformer.*--mask none --head panel",
        ),
        ("--teacher nowhere", "no trained model"),
        ("--seed 5 --teacher {teacher}", "has learnt from"),
        ("--temperature 0", "temperature"),
        ("--temperature nan", "not a number"),
        ("--mask 2", "mask"),
        ("--frozen 99", "frozen"),
        ("--batch 2", "three images"),
        ("--contrast-layers 99", r"contrast_layers 99: this network gives \d"),
        ("--together 0", "together 0 must divide"),
        ("--accumulate 0", "accumulate"),
        ("--accumulate 2", "accumulate 2 would split the batch that contrast compares"),
        ("--teacher-backbone nonsense", "unknown backbone 'nonsense'"),
        ("--head panel --contrast none", "read a quality token"),
        ("--temperature inf", "not a number"),
    ],
)
def test_what_cannot_work_is_refused_before_a_teacher_is_trained(finished, rated, small, tmp_path, words, message):
    with pytest.raises(OptionError, match=message):
        run(rated, tmp_path / "run", small, f"{VIT} {words}".format(teacher=finished[0] / "teacher"))
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").iterdir())  # better options may follow


@pytest.mark.parametrize("change", ["another score", "a row less", "more folders in front"])
def test_a_teacher_of_the_same_images_in_another_table_is_refused(rated, small, tmp_path, change):
    lines = rated.read_text(encoding="utf-8").splitlines()
    table = rated.parent / f"{change}.csv"
    if change == "more folders in front":  # the folder of all is then one further up
        shutil.copy(rated.parent / "0.png", rated.parent.parent / "other.png")
        lines.append("../other.png,50")
    elif change == "a row less":
        del lines[1]
    else:
        lines[1] += ".001"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    run(table, tmp_path / "teacher", small, "--epochs 1 --seed 3", recipe="deiqt")
    with pytest.raises(OptionError, match=r"has learnt from \d+ images of this run's test part by their names"):
        run(rated, tmp_path / "run", small, f"{VIT} --teacher {tmp_path / 'teacher'}")


def test_a_teacher_whose_split_cannot_be_read_is_not_trusted(finished, rated, small, tmp_path):
    shutil.copytree(finished[0] / "teacher", tmp_path / "teacher")
    (tmp_path / "teacher" / "split.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"split\.json: not a split file"):
        run(rated, tmp_path / "run", small, f"{VIT} --teacher {tmp_path / 'teacher'}")


def test_a_teacher_without_a_split_or_of_another_scale_is_refused(finished, rated, tmp_path, fabric):
    records = READERS["csv"](rated)
    split = load_split(finished[0] / "split.json", records)
    teacher = tmp_path / "teacher"
    teacher.mkdir()
    for name in ("model.safetensors", "model.card.json"):
        (teacher / name).write_bytes((finished[0] / "teacher" / name).read_bytes())
    options = csiqa.Config(teacher=str(teacher))

    def find(records):
        data = DataSet("csv", str(rated), records)
        return find_teacher(options, Baseline("deiqt", None, lambda run: None), data, split, Run(tmp_path), fabric)

    with pytest.raises(OptionError, match=r"no split\.json"):
        find(records)
    with pytest.raises(OptionError, match="its scores are"):
        find(READERS["csv"](rated, low=0, high=200))


def test_batches_carry_the_teachers_scores(finished, rated, fabric):
    network, card = networks.load(finished[0] / "teacher" / "model.safetensors")
    records = READERS["csv"](rated)[:6]
    teacher = DistillationTeacher(network, card, fabric)
    assert not [p for p in teacher.network.parameters() if p.requires_grad]
    images = Crops(records, size=160, crops=2, preprocessing=card.preprocessing)
    loaders = Loaders(lambda epoch: make_loader(images, batch_images=4, epoch=epoch), 2)
    of_crops = add_teacher_scores(loaders, teacher, csiqa.Config(), images)
    for batch, plain in zip(of_crops.train(3), loaders.train(3), strict=True):
        assert torch.equal(batch.crops, plain.crops)
        with torch.no_grad():
            expected = torch.stack([network(crops) for crops in plain.crops])
        torch.testing.assert_close(batch.teacher, expected)
    rest = list(of_crops.left(3, 1))
    assert torch.equal(rest[0].teacher, list(of_crops.train(3))[1].teacher)
    of_images = add_teacher_scores(loaders, teacher, csiqa.Config(teacher_scores="image"), images)
    whole = Crops(records, size=160, preprocessing=card.preprocessing, train=False)
    for batch in of_images.train(0):
        for index, scores in zip(batch.indices.tolist(), batch.teacher, strict=True):
            with torch.no_grad():
                expected = network(whole[index].crops).mean()
            torch.testing.assert_close(scores, expected.expand(2))


def test_crops_that_come_again_are_scored_once(finished, rated, fabric, monkeypatch):
    network, card = networks.load(finished[0] / "teacher" / "model.safetensors")
    records = READERS["csv"](rated)[:6]
    teacher = DistillationTeacher(network, card, fabric)
    images = Crops(records, size=160, crops=2, preprocessing=card.preprocessing)
    images.cycle = 2
    loaders = Loaders(lambda epoch: make_loader(images, batch_images=4, epoch=epoch), 2)
    fixed = add_teacher_scores(loaders, teacher, csiqa.Config(), images)
    scored, of_crops = [], DistillationTeacher.score_crops

    def counted(self, batch, **options):
        scored.extend(batch.indices.tolist())
        return of_crops(self, batch, **options)

    for epoch in range(5):
        expected = [ScoredBatch(*batch, of_crops(teacher, batch)) for batch in loaders.train(epoch)]
        with monkeypatch.context() as patch:
            patch.setattr(DistillationTeacher, "score_crops", counted)
            found = list(fixed.train(epoch))
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one.teacher, other.teacher)
    assert sorted(scored) == sorted([*range(6), *range(6)])  # once for each of two sets
    resumed = list(
        add_teacher_scores(loaders, teacher, csiqa.Config(), images).left(3, 1)
    )  # which has scored nothing yet
    assert torch.equal(resumed[0].teacher, list(fixed.train(3))[1].teacher)


def test_an_own_teacher_of_another_network_and_length():
    words = ["--teacher-backbone", "resnet50", "--teacher-epochs", "4", "--frozen", "4"]
    config = build(csiqa.Config, given_pairs(words))
    plain = baseline_config(deiqt.Config, config, Run(Path("run")), head="panel")
    assert type(plain) is deiqt.Config
    assert (plain.backbone, plain.epochs, plain.head) == ("resnet50", 4, "panel")
    assert plain.frozen == 0  # stages of the student's
    assert plain.split == str(Path("run/split.json"))


def test_the_three_lines_of_the_page_work_in_a_loop():
    (lines,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len([line for line in lines.splitlines() if line]) == 3
    features = torch.randn(8, 4, requires_grad=True)
    space = {
        "features": features,
        "labels": torch.linspace(0, 100, 8),
        "images": torch.arange(8),
        "teacher": torch.rand(8),
        "loss": torch.zeros(()),
    }
    exec(compile(lines, PAGE.name, "exec"), space)
    space["loss"].backward()
    assert features.grad.abs().sum() > 0
