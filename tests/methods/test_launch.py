"""Whole runs, in small: what a user of `noref train`, `noref evaluate` and `noref export` meets."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import re

import pytest
import torch
import yaml
from safetensors.torch import save_file

from noref.card import Scale, read_card
from noref.data.readers import READERS
from noref.data.splits import load_split
from noref.errors import DataError, ImageError, ModelError, OptionError
from noref.methods import csiqa, deiqt, lml_iqa
from noref.methods.launch import make_fabric, recipe_options, train
from noref.models.weights import read
from noref.scoring.scorer import Scorer
from noref.train.evaluate_export import evaluate, export
from noref.train.options import build, given_pairs
from noref.train.run_folder import Run
from noref.train.state import State


def run(rated, out, small, *words, **how):
    return train("deiqt", data=f"csv={rated}", out=str(out), options={**small, **given_pairs(words)}, **how)


@pytest.fixture(scope="module")
def finished(rated, small, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    return out, run(rated, out, small)


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_it_learns_that_blur_is_bad(finished):
    assert finished[1]["srcc"] > 0.5


def test_the_folder_holds_what_it_should(finished, rated):
    out, results = finished
    assert {path.name for path in out.iterdir()} >= {
        "config.yaml", "split.json", "log.csv", "checkpoint.safetensors", "best.safetensors", "model.safetensors",
        "model.card.json", "predictions.csv", "results.json", "tensorboard",
    }  # fmt: skip
    assert not list(out.glob("*.part"))
    assert list((out / "tensorboard").iterdir())
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert (config["recipe"], config["data"], config["backbone"]) == ("deiqt", f"csv={rated}", "test_resnet")
    log = table(out / "log.csv")
    assert [row["epoch"] for row in log] == ["1", "2", "3"]
    assert all(math.isfinite(float(row["loss"])) for row in log)
    assert json.loads((out / "results.json").read_text())["srcc"] == results["srcc"]


def test_predictions_are_of_the_test_part_on_the_raw_scale(finished, rated):
    records = READERS["csv"](rated)
    split = load_split(finished[0] / "split.json", records)
    rows = table(finished[0] / "predictions.csv")
    assert [(row["path"], float(row["score"])) for row in rows] == [
        (records[i].path.name, records[i].raw_score) for i in split.test
    ]
    assert [float(row["predicted"]) for row in rows] == pytest.approx([100 * float(row["quality"]) for row in rows])
    assert not set(split.test) & (set(split.train) | set(split.validation))


def test_the_card_says_what_the_model_is(finished):
    card = read_card(finished[0] / "model.safetensors")
    assert card.scale == Scale(0, 100)
    assert card.preprocessing.crop == 64
    assert card.training["initialised from"] == "random weights"
    assert {row["metric"] for row in card.results} == {"srcc", "plcc", "plcc_logistic4", "krcc", "rmse"}


def test_a_run_in_the_way_is_not_overwritten(finished, rated, small, tmp_path):
    with pytest.raises(OptionError, match="already holds a run; --resume"):
        run(rated, finished[0], small)
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(OptionError, match="not an empty folder"):
        run(rated, tmp_path, small)
    with pytest.raises(OptionError, match="no run to resume"):
        run(rated, tmp_path / "new", small, resume=True)
    assert not (tmp_path / "new").exists()


class KilledError(Exception):
    pass


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_killed_run_resumes_to_the_same_bytes(rated, small, tmp_path, monkeypatch, epoch):
    """Killed right after an epoch was saved: the same losses, weights and predictions as the unbroken run."""
    words = ["--average", "0.9", "--select", "validation"]
    run(rated, tmp_path / "whole", small, *words)
    save = State.save

    def dies(self, path, fabric):
        save(self, path, fabric)
        if self.epoch == epoch:
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(State, "save", dies)
        with pytest.raises(KilledError):
            run(rated, tmp_path / "broken", small, *words)
    assert not (tmp_path / "broken" / "model.safetensors").exists()
    torch.manual_seed(77)
    train("deiqt", data=None, out=str(tmp_path / "broken"), resume=True)
    for name in ("log.csv", "predictions.csv", "results.json", "model.safetensors", "best.safetensors", "split.json"):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_killed_in_the_first_epoch_it_begins_again(rated, small, tmp_path, finished, monkeypatch):
    def dies(self, path, fabric):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(State, "save", dies)
        with pytest.raises(KilledError):
            run(rated, tmp_path / "run", small)
    run(rated, tmp_path / "run", small, resume=True)
    assert (tmp_path / "run" / "log.csv").read_bytes() == (finished[0] / "log.csv").read_bytes()


def test_a_resumed_run_keeps_its_options(finished, rated, small):
    with pytest.raises(OptionError, match=r"--lr 0\.5: the run to resume has 0\.001"):
        run(rated, finished[0], small, "--lr", "0.5", resume=True)
    with pytest.raises(OptionError, match="unknown option"):
        run(rated, finished[0], small, "--leer", "0.5", resume=True)
    before = (finished[0] / "predictions.csv").read_bytes()
    run(rated, finished[0], small, "--workers", "1", resume=True)
    assert (finished[0] / "predictions.csv").read_bytes() == before


@pytest.fixture
def chosen(small):
    return build(deiqt.Config, small, given_pairs(["--epochs", "1"]))


def test_from_python_the_folder_says_what_the_run_was_whatever_names_it(chosen, finished, rated, tmp_path):
    data, records = f"csv={rated}", READERS["csv"](rated)
    for name, where in (("path", tmp_path / "path"), ("text", str(tmp_path / "text")), ("run", Run(tmp_path / "run"))):
        deiqt.train(chosen, records if name == "text" else data, where)
        saved = yaml.safe_load((tmp_path / name / "config.yaml").read_text())
        assert (saved["recipe"], saved["epochs"]) == ("deiqt", 1)
        assert saved["data"] == ("records=" if name == "text" else data)
        assert table(tmp_path / name / "log.csv") == table(finished[0] / "log.csv")[:1]


def test_from_python_a_resumed_run_keeps_its_options_too(chosen, finished, rated, tmp_path):
    deiqt.train(chosen, f"csv={rated}", tmp_path / "run")
    again = Run(tmp_path / "run", resumed=True)
    with pytest.raises(OptionError, match=r"lr 0\.5: the run to resume has 0\.001"):
        deiqt.train(dataclasses.replace(chosen, lr=0.5), f"csv={rated}", again)
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["lr"] == 0.001
    deiqt.train(dataclasses.replace(chosen, epochs=3), f"csv={rated}", again)
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["epochs"] == 3
    assert (tmp_path / "run" / "log.csv").read_bytes() == (finished[0] / "log.csv").read_bytes()
    with pytest.raises(DataError, match=r"none.config\.yaml"):
        deiqt.train(chosen, f"csv={rated}", Run(tmp_path / "none", resumed=True))


@pytest.mark.parametrize("page", [deiqt, csiqa, lml_iqa])
def test_from_python_a_mistake_does_not_take_the_folder(page, small, rated, tmp_path):
    more = {"mask": ("none", ""), "head": ("pooled", ""), "together": ("2", "")}
    options = {key: value for key, value in {**small, **more}.items() if page is not deiqt or key != "mask"}
    config = build(page.Config, options)
    for wrong in ({"batch": 7}, {"epochs": 0}, {"test": 0.99}):
        with pytest.raises((OptionError, DataError)):
            page.train(dataclasses.replace(config, **wrong), f"csv={rated}", tmp_path / "run")
        assert not list((tmp_path / "run").glob("*"))


def test_other_images_are_no_resumption(finished, rated, tmp_path):
    lines = rated.read_text().splitlines()
    other = rated.parent / "fewer.txt"
    other.write_text("\n".join(lines[:-1]))
    with pytest.raises(DataError, match=r"not a split of these records|are not among"):
        train("deiqt", data=f"csv={other}", out=str(finished[0]), resume=True)


def test_the_best_epoch_is_the_validation_parts(rated, small, tmp_path):
    run(rated, tmp_path / "run", small, "--select", "validation")
    log = table(tmp_path / "run" / "log.csv")
    best = max(range(3), key=lambda place: (float(log[place]["validation_srcc"]), -place)) + 1
    assert read_card(tmp_path / "run" / "model.safetensors").training["epoch"] == best
    model, kept = (read(tmp_path / "run" / f"{name}.safetensors")[0] for name in ("model", "best"))
    assert all(torch.equal(model[name], kept[name]) for name in kept)
    with pytest.raises(OptionError, match="needs a validation part"):
        run(rated, tmp_path / "other", small, "--select", "validation", "--validation", "0")


@pytest.mark.parametrize("part", ["test", "validation"])
def test_a_part_too_small_for_a_correlation_is_refused_before_training(rated, small, tmp_path, part):
    share = str(2 / len(table(rated)))
    with pytest.raises(OptionError, match=rf"the {part} part has 2 of .* needs 3: give --{part} a larger share"):
        run(rated, tmp_path / "run", small, "--select", "validation", f"--{part}", share)
    assert not list((tmp_path / "run").iterdir())


def test_workers_change_nothing(rated, small, tmp_path, finished):
    run(rated, tmp_path / "run", small, "--workers", "2")
    assert (tmp_path / "run" / "log.csv").read_bytes() == (finished[0] / "log.csv").read_bytes()


def test_a_config_file_with_options_over_it(rated, small, tmp_path, finished):
    config = tmp_path / "copied.yaml"
    config.write_text((finished[0] / "config.yaml").read_text())
    options = given_pairs(["--epochs", "1"])
    train("deiqt", data=f"csv={rated}", out=str(tmp_path / "run"), config=str(config), options=options)
    assert table(tmp_path / "run" / "log.csv") == table(finished[0] / "log.csv")[:1]


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_a_broken_image_is_named_before_time_is_spent(rated, small, tmp_path, finished, part):
    folder = tmp_path / "data"
    folder.mkdir()
    for path in rated.parent.glob("*.png"):
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "scores.csv").write_text(rated.read_text())
    records = READERS["csv"](rated)
    split = load_split(finished[0] / "split.json", records)
    broken = folder / records[getattr(split, part)[0]].path.name
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(ImageError, match=broken.name):
        run(folder / "scores.csv", tmp_path / "run", small)
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("livec", "NAME=PATH"),
        ("livec=", "NAME=PATH"),
        ("livek=x", "did you mean live or livec"),
        (None, "needs --data"),
    ],
)
def test_wrong_data_options_say_why(tmp_path, data, says):
    with pytest.raises(OptionError, match=says):
        train("deiqt", data=data, out=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_wrong_names_say_what_is_near(tmp_path, rated, small):
    with pytest.raises(OptionError, match="did you mean deiqt"):
        train("deiqtt", data=f"csv={rated}", out=str(tmp_path / "run"))
    with pytest.raises(OptionError, match="did you mean"):
        run(rated, tmp_path / "run", small, "--backbone", "resnet5")
    with pytest.raises(OptionError, match="precision"):
        make_fabric("cpu", "1", "31-false")
    with pytest.raises(OptionError, match="accelerator quantum"):
        make_fabric("quantum")
    assert "lr" in {option.name for option in recipe_options("deiqt")}


@pytest.fixture(scope="module")
def exported(finished, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    export(str(finished[0]), out=str(path))
    return path


def test_the_exported_file_scores_as_the_run_did(finished, exported, rated):
    rows = table(finished[0] / "predictions.csv")
    scores = Scorer(exported).score_many([rated.parent / row["path"] for row in rows])
    assert [score.quality for score in scores] == pytest.approx([float(row["quality"]) for row in rows], abs=1e-4)


def test_evaluating_a_run_takes_its_own_test_part(finished, exported, rated, tmp_path):
    out, results = finished
    own = evaluate(str(out), data=f"csv={rated}", output=str(tmp_path / "rows.csv"))
    assert own.metrics == pytest.approx(results)
    assert "own test part" in own.part
    assert len(table(tmp_path / "rows.csv")) == own.metrics["images"] == 5
    named = evaluate(str(exported), data=f"csv={rated}", split=str(out / "split.json"))
    assert named.metrics == pytest.approx(results, rel=1e-3)
    for model in (str(exported), str(out / "model.safetensors")):
        assert evaluate(model, data=f"csv={rated}", split="all").metrics["images"] == 24


def test_evaluating_on_other_images_takes_them_all(finished, rated, tmp_path):
    other = rated.parent / "other.txt"
    other.write_text("\n".join(rated.read_text().splitlines()[:9]))
    assert evaluate(str(finished[0]), data=f"csv={other}").part == "all images"


def test_models_that_are_none_are_errors(finished, rated, tmp_path):
    for model in (tmp_path, tmp_path / "absent.safetensors"):
        with pytest.raises(OptionError, match="no trained model"):
            evaluate(str(model), data=f"csv={rated}")
        with pytest.raises(OptionError, match="no trained model"):
            export(str(model), out=str(tmp_path / "x.onnx"))
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="card cannot be read"):
        evaluate(str(tmp_path), data=f"csv={rated}")
    with pytest.raises(OptionError, match="no folder"):
        evaluate(str(finished[0]), data=f"csv={rated}", output=str(tmp_path / "no" / "rows.csv"))


def test_the_papers_way_of_choosing_the_epoch_is_said_wherever_its_figures_go(rated, small, tmp_path):
    out = tmp_path / "run"
    run(rated, out, small, "--select", "test")
    log = table(out / "log.csv")
    assert set(log[0]) == {"epoch", "loss", "test_plcc"}  # the test part is looked at, the validation part is not
    best = max(log, key=lambda row: float(row["test_plcc"]))
    results, card = json.loads((out / "results.json").read_text()), read_card(out / "model.safetensors")
    assert results["plcc"] == pytest.approx(float(best["test_plcc"]))
    assert card.training["epoch"] == int(best["epoch"])
    for said in (results["selection"], card.training["epoch chosen by"], card.results[0]["selection"]):
        assert "ON THE TEST PART" in said


def test_a_longer_run_may_be_asked_for_when_one_goes_on(rated, small, tmp_path):
    run(rated, tmp_path / "whole", small)
    run(rated, tmp_path / "run", small, "--epochs", "1")
    train("deiqt", data=None, out=str(tmp_path / "run"), options=given_pairs(["--epochs", "3"]), resume=True)
    for name in ("log.csv", "predictions.csv", "model.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["epochs"] == 3
    with pytest.raises(OptionError, match="--epochs 2: the run to resume has 3"):
        train("deiqt", data=None, out=str(tmp_path / "run"), options=given_pairs(["--epochs", "2"]), resume=True)


def test_the_head_starts_at_the_mean_of_the_labels_or_at_zero(rated, small, tmp_path):
    first = {}
    for start in ("mean", "zero"):
        run(rated, tmp_path / start, small, "--start", start, "--epochs", "1", "--lr", "1e-9", "--warmup-lr", "1e-9")
        first[start] = [float(row["predicted"]) for row in table(tmp_path / start / "predictions.csv")]
    records = READERS["csv"](rated)
    split = load_split(tmp_path / "mean" / "split.json", records)
    mean = sum(records[index].raw_score for index in split.train) / len(split.train)
    assert first["mean"] == pytest.approx([mean] * len(first["mean"]), abs=5)
    assert max(abs(value - mean) for value in first["zero"]) > 5


def test_predictions_that_leave_the_scale_are_said(rated, small, tmp_path, capsys):
    run(rated, tmp_path / "run", small, "--start", "zero", "--epochs", "1", "--lr", "1e-9", "--warmup-lr", "1e-9")
    assert "predictions" in capsys.readouterr().err.split("lie outside of the scale 0 to 100")[0][-40:]


def test_old_files_are_read_with_todays_options(rated, small, tmp_path, capsys):
    """What an earlier version wrote: every option of CSIQA too, switched off, and two old names."""
    old = {"bank": "", "bank_sets": 1, "fused": False, "beta1": 0.9, "contrast": "none", "mask": None, "margin": 0.05}
    (tmp_path / "old.yaml").write_text(yaml.safe_dump({"recipe": "deiqt", "data": "csv=x", **old}))
    train("deiqt", data=f"csv={rated}", out=str(tmp_path / "run"), config=str(tmp_path / "old.yaml"), options=small)
    assert "bank_sets is now called crop_sets" in capsys.readouterr().err
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["recipe"] == "deiqt"
    assert not {"bank", "fused", "contrast"} & config.keys()


def test_deiqt_with_an_option_of_csiqa_is_its_plug_in(rated, small, tmp_path):
    words = ["--contrast", "quality-context", "--epochs", "1", "--pairs", "easy", "--distill", "0"]
    run(rated, tmp_path / "plug-in", small, *words)
    other = {**small, **given_pairs([*words, "--mask", "none", "--head", "panel"])}
    train("csiqa", data=f"csv={rated}", out=str(tmp_path / "csiqa"), options=other)
    for name in ("log.csv", "predictions.csv", "model.safetensors"):
        assert (tmp_path / "plug-in" / name).read_bytes() == (tmp_path / "csiqa" / name).read_bytes(), name
    train("deiqt", data=None, out=str(tmp_path / "plug-in"), resume=True)


def test_a_run_of_version_0_1_goes_on_as_it_was_begun(rated, small, tmp_path):
    """Its config.yaml names no `start`, and its checkpoint calls the averaged weights "teacher"."""
    words = ["--average", "0.9", "--start", "zero"]
    run(rated, tmp_path / "whole", small, *words)
    run(rated, tmp_path / "old", small, *words, "--epochs", "2")
    file = tmp_path / "old" / "checkpoint.safetensors"
    tensors, header = read(file)
    save_file({re.sub(r"^ema\.", "teacher.", name): value for name, value in tensors.items()}, file, header)
    options = yaml.safe_load((tmp_path / "old" / "config.yaml").read_text())
    del options["start"]
    old = {
        "bank": options.pop("feature_cache"),
        "bank_sets": options.pop("crop_sets"),
        "contrast": "none",
        "loss": "smooth_l1",
    }
    (tmp_path / "old" / "config.yaml").write_text(yaml.safe_dump({**options, **old, "epochs": 3}, sort_keys=False))
    train("deiqt", data=None, out=str(tmp_path / "old"), resume=True)
    for name in ("log.csv", "predictions.csv", "model.safetensors"):
        assert (tmp_path / "old" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert yaml.safe_load((tmp_path / "old" / "config.yaml").read_text())["start"] == "zero"
    assert json.loads((tmp_path / "old" / "model.card.json").read_text())["training"]["options"]["start"] == "zero"


def test_going_on_with_other_images_by_mistake_leaves_the_run_as_it_is(rated, small, tmp_path):
    run(rated, tmp_path / "run", small, "--epochs", "1")
    before = (tmp_path / "run" / "config.yaml").read_text()
    some = "\n".join(rated.read_text().splitlines()[:-3]) + "\n"
    (rated.parent / "some.csv").write_text(some, encoding="utf-8")
    with pytest.raises(DataError, match="images are not among"):
        train("deiqt", data=f"csv={rated.parent / 'some.csv'}", out=str(tmp_path / "run"), resume=True)
    assert (tmp_path / "run" / "config.yaml").read_text() == before
    train("deiqt", data=None, out=str(tmp_path / "run"), resume=True)
