"""`noref embed`: from a trained run and labelled images to figure, page, table and metrics."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from safetensors.numpy import load_file

from noref.card import Card, Preprocessing, Scale
from noref.cli import run
from noref.data.perceptual_hash import training_hashes
from noref.data.readers import READERS
from noref.data.splits import random_split, save_split
from noref.embed.metrics import nearest, silhouette
from noref.models import network as networks
from noref.models.network import Plan, build

pytest.importorskip("jinja2", reason="needs the report extra")
pytest.importorskip("matplotlib", reason="needs the report extra")
SMALL = ["--perplexity", "5"]
DATA = Path(os.environ.get("NOREF_DATA") or Path(__file__).parents[2] / "shared" / "data")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """A CSV of 6 references under 2 distortions at 2 levels, of colour noise."""
    folder = tmp_path_factory.mktemp("labelled")
    rng = np.random.default_rng(0)
    rows = ["path,score,reference,distortion,level"]
    for reference in range(6):
        photo = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize((96, 72))
        for level in (1, 2):
            photo.filter(ImageFilter.GaussianBlur(3 * level)).save(folder / f"{reference}_blur_{level}.png")
            noise = np.asarray(photo) + rng.normal(0, 40 * level, (72, 96, 3))
            Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(folder / f"{reference}_noise_{level}.png")
            for kind in ("blur", "noise"):
                rows.append(f"{reference}_{kind}_{level}.png,{90 - 30 * level - reference},r{reference},{kind},{level}")
    (folder / "set.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "set.csv"


@pytest.fixture(scope="module")
def model(labelled, tmp_path_factory):
    """A run's folder: a tiny untrained network that says it learnt from `csv`, and its split."""
    folder = tmp_path_factory.mktemp("models") / "run"
    folder.mkdir()
    torch.manual_seed(0)
    card = Card("tiny", "tiny", Scale(0, 100), Preprocessing(max_pixels=None, min_side=64, crop=64))
    card.training["data set"] = "csv"
    networks.save(build(Plan("test_resnet", width=24, heads=3), weights="none"), folder / "model.safetensors", card)
    records = READERS["csv"](labelled)
    save_split(random_split(records, test=0.5, seed=3), records, folder / "split.json")
    return folder


def embed(model, labelled, out, *more):
    models = model if isinstance(model, list) else [model]
    return run(["embed", *map(str, models), "--data", f"csv={labelled}", "--out", str(out), *SMALL, *more])


def rows(out):
    with (out / "embed.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def made(model, labelled, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "map"
    assert embed(model, labelled, out, "--colour", "type") == 0
    return out


def test_everything_is_written(made, capsys):
    assert sorted(path.name for path in made.iterdir()) == [
        "embed.csv",
        "embed.html",
        "embed.json",
        "embed.png",
        "features",
    ]
    assert len(rows(made)) == 24
    assert Image.open(made / "embed.png").size[0] > 400
    assert len(re.findall(r"<circle cx", (made / "embed.html").read_text())) == 24
    said = json.loads((made / "embed.json").read_text())
    assert [metric["name"] for metric in said["maps"]["tiny"]] == [
        "score of neighbours",
        "neighbours of the same type",
        "silhouette by type",
    ]
    assert any("may have seen these images" in note for note in said["notes"])


def test_the_metrics_are_of_the_features_and_not_of_the_map(made):
    kept = sorted((made / "features").rglob("*.safetensors"))
    assert len(kept) == 24
    from noref.card import digest

    folder, facts = kept[0].parent, rows(made)
    source = {row["path"]: row for row in facts}
    records = READERS["csv"](_table(made))
    features = np.stack(
        [load_file(folder / f"{digest(record.path)[:32]}.safetensors")["feature"].mean(axis=0) for record in records]
    )
    kinds = np.array([record.distortion == "noise" for record in records], dtype=int)
    groups = np.array([int(record.reference[1:]) for record in records])
    metrics = {m["name"]: m["value"] for m in json.loads((made / "embed.json").read_text())["maps"]["tiny"]}
    assert metrics["silhouette by type"] == pytest.approx(silhouette(features, kinds, "type").value, abs=1e-6)
    right = np.mean(kinds[nearest(features, groups)] == kinds[:, None])
    assert metrics["neighbours of the same type"] == pytest.approx(right)
    assert set(source) == {record.path.name for record in records}


def _table(made):
    return Path(json.loads((made / "embed.json").read_text())["data"]["csv"])


def test_same_seed_same_picture_and_page(made, model, labelled, tmp_path):
    shutil.copytree(made / "features", tmp_path / "again" / "features")
    assert embed(model, labelled, tmp_path / "again", "--colour", "type") == 0
    for name in ("embed.csv", "embed.png", "embed.html"):
        assert (tmp_path / "again" / name).read_bytes() == (made / name).read_bytes()


@pytest.mark.parametrize("colour", ["score", "set", "thirds"])
def test_colours(colour, made, model, labelled, tmp_path, capsys):
    assert embed(model, labelled, tmp_path, "--cache", str(made / "features"), "--colour", colour) == 0
    assert ("silhouette by third" in capsys.readouterr().out) == (colour == "thirds")


def test_two_features_stand_side_by_side(made, model, labelled, tmp_path, capsys):
    assert embed(model, labelled, tmp_path, "--feature", "pooled", "--feature", "head") == 0
    out = capsys.readouterr().out
    assert "tiny, pooled" in out
    assert "tiny, head" in out
    assert {"x1", "y2"} <= rows(tmp_path)[0].keys()


def test_thirds_with_and_without_the_quality_token(labelled, tmp_path, capsys):
    torch.manual_seed(0)
    card = Card("csiqa", "csiqa", Scale(0, 100), Preprocessing(max_pixels=None, min_side=160, crop=160))
    network = build(Plan("test_vit", head="tokens", mask=0.3, heads=4), weights="none")
    networks.save(network, tmp_path / "model.safetensors", card)
    more = ["--colour", "thirds", "--feature", "pooled", "--feature", "quality", "--limit", "8"]
    assert embed(tmp_path, labelled, tmp_path / "out", *more) == 0
    out = capsys.readouterr().out
    assert out.index("csiqa, pooled") < out.index("csiqa, quality")
    assert out.count("silhouette by third") == 2


def test_the_test_part_of_the_run(made, model, labelled, tmp_path, capsys):
    assert embed(model, labelled, tmp_path, "--cache", str(made / "features"), "--part", "test") == 0
    records = READERS["csv"](labelled)
    wanted = {records[at].path.name for at in random_split(records, test=0.5, seed=3).test}
    assert {row["path"] for row in rows(tmp_path)} == wanted
    said = capsys.readouterr()
    assert f"csv: test part only, {len(wanted)} of 24 images" in said.err
    assert "may have seen" not in said.err


def test_images_that_a_model_has_learnt_from_are_known_by_their_content(labelled, tmp_path, capsys):
    records = READERS["csv"](labelled)
    clear = [record for record in records if record.distortion == "noise"]  # a blurred noise is nearly flat
    learnt, others = clear[:6], clear[6:]
    card = Card("known", "known", Scale(0, 100), Preprocessing(max_pixels=None, min_side=64, crop=64))
    card.training.update({"data set": "csv", "image_hashes": training_hashes(learnt)})
    networks.save(build(Plan("test_resnet", width=24, heads=3), weights="none"), tmp_path / "model.safetensors", card)
    save_split(random_split(records, test=0.5, seed=3), records, tmp_path / "split.json")
    for shown, words in ((learnt, "known learnt from 6 of these 6 images of csv, or from copies"), (others, "")):
        folder = tmp_path / f"copies {bool(words)}"
        copies = table_of_copies(folder, [record.path for record in shown])
        assert embed(tmp_path, copies, folder / "out", "--perplexity", "2") == 0
        said = capsys.readouterr().err
        assert words in said
        assert ("learnt from" in said) == bool(words)
        assert words in (folder / "out" / "embed.html").read_text()
    part = {records[at].path for at in random_split(records, test=0.5, seed=3).test}
    count = sum(record.path in part for record in learnt)
    assert embed(tmp_path, labelled, tmp_path / "out", "--part", "test") == 0
    assert f"learnt from {count} of these {len(part)} images" in capsys.readouterr().err


@pytest.mark.parametrize(("folder", "words"), [("livec/images", "learnt from 6 of these 6"), ("photos", "")])
def test_the_default_on_copies_of_its_own_photos_is_cautioned(folder, words, tmp_path, capsys):
    photos = sorted(path for path in (DATA / folder).rglob("*") if path.suffix.lower() in {".jpg", ".bmp", ".png"})[:6]
    if not photos:
        pytest.skip(f"no real data in {DATA}")
    copies = table_of_copies(tmp_path / "set", photos)
    assert embed("default", copies, tmp_path / "out", "--perplexity", "2") == 0
    said, page = capsys.readouterr().err, (tmp_path / "out" / "embed.html").read_text()
    assert words in said
    assert words in page
    assert ("learnt from" in said) == ("learnt from" in page) == bool(words)


def table_of_copies(folder, paths):
    folder.mkdir()
    for number, path in enumerate(paths):
        Image.open(path).convert("RGB").save(folder / f"{number}.jpg", quality=60)
    rows = "".join(f"{number}.jpg,{9 * number}\n" for number in range(len(paths)))
    (folder / "set.csv").write_text("path,score\n" + rows)
    return folder / "set.csv"


def test_a_limit(made, model, labelled, tmp_path):
    assert embed(model, labelled, tmp_path, "--cache", str(made / "features"), "--limit", "9") == 0
    assert len(rows(tmp_path)) == 9


def test_a_broken_photo_is_listed_and_the_others_go_on(model, labelled, tmp_path, capsys):
    shutil.copytree(labelled.parent, tmp_path / "set")
    (tmp_path / "set" / "2_blur_1.png").write_bytes(b"no image")
    assert embed(model, tmp_path / "set" / "set.csv", tmp_path / "out") == 1
    assert re.search(r"left out: .*2_blur_1\.png: ", capsys.readouterr().err)
    assert len(rows(tmp_path / "out")) == 23


def test_one_image_only(model, labelled, tmp_path, capsys):
    Image.new("RGB", (80, 80), (9, 200, 30)).save(tmp_path / "a.png")
    (tmp_path / "one.csv").write_text("path,score\na.png,50\n")
    (tmp_path / "one.scale.json").write_text('{"low": 0, "high": 100, "higher_is_better": true}')
    assert embed(model, tmp_path / "one.csv", tmp_path / "out") == 1
    assert "1 image: a map needs two or more" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--perplexity", "24"], "perplexity 24 must lie between 0 and 24, the images; 8 would do"),
        (["--colour", "scor"], "unknown colour 'scor': did you mean score?"),
        (["--part", "tests"], "unknown part 'tests': did you mean test?"),
        (["--part", "validation"], "the split has no validation part"),
        (["--feature", "qualty"], "has no feature 'qualty': it has pooled, head, layer1, layer2, layer3"),
        (["--feature", "pooled", "--feature", "quality"], "has no feature 'quality'"),
        (["--bounds", "35,70"], "bounds go with colour thirds"),
        (["--bounds", "a", "--colour", "thirds"], "give 2 numbers"),
        (["--bounds", "70,35", "--colour", "thirds"], "it must rise"),
        (["--limit", "1"], "too small"),
        (["--split", "no.json", "--part", "test"], "no split of csv is known"),
        (["--data", "cvs=x"], "unknown data set 'cvs': did you mean"),
    ],
)
def test_calls_that_are_wrong(more, words, model, labelled, tmp_path, capsys):
    assert embed(model, labelled, tmp_path / "out", *more) in (1, 2)
    assert words in capsys.readouterr().err


def test_a_model_that_is_not_there(labelled, tmp_path, capsys):
    assert embed("mobilnetv2_100", labelled, tmp_path) == 2
    assert "did you mean mobilenetv2_100" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written(model, labelled, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert embed(model, labelled, tmp_path / "file" / "out") == 2
    assert "cannot be written" in capsys.readouterr().err
    if os.geteuid():
        (tmp_path / "shut").mkdir(mode=0o500)
        assert embed(model, labelled, tmp_path / "shut" / "out") == 2


@pytest.mark.parametrize("missing", ["timm", "cv2"])
def test_without_the_train_extra_one_line_says_what_to_install(missing):
    code = f"""import sys
sys.modules["{missing}"] = None
from noref.cli import run
sys.exit(run(["embed", "default", "--data", "csv=set.csv", "--out", "map"]))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "pip install 'noref[train]'" in done.stderr


def test_two_data_sets_with_references_of_the_same_name(made, model, labelled, tmp_path, capsys):
    shutil.copytree(labelled.parent, tmp_path / "second")
    second = f"csv={tmp_path / 'second' / 'set.csv'}"
    assert embed(model, labelled, tmp_path / "out", "--colour", "set", "--data", second) == 0
    assert "silhouette by set" in capsys.readouterr().out
    assert len({row["data"] for row in rows(tmp_path / "out")}) == 2


@pytest.mark.parametrize("name", ["embed.png", "embed.html", "embed.csv", "embed.json"])
def test_foreign_files_stay(name, model, labelled, tmp_path, capsys):
    (tmp_path / name).write_bytes(b"\x89PNG precious")
    assert run(["embed", str(model), "--data", f"csv={labelled}", "--out", str(tmp_path), *SMALL]) == 2
    assert f"{name}: is there and was not written by noref" in capsys.readouterr().err
    assert (tmp_path / name).read_bytes() == b"\x89PNG precious"
