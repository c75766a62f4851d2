"""Whether a model has learnt from the images that it is judged on: by content, whatever the data set is called."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from noref.card import read_card
from noref.cli import run
from noref.data.perceptual_hash import training_hashes
from noref.data.readers import READERS
from noref.train.evaluate_export import evaluate

DATA = Path(os.environ.get("NOREF_DATA") or Path(__file__).parents[3] / "shared" / "data")


@pytest.fixture
def model(brightness, tmp_path):
    """model(training) -> an .onnx file whose card says so."""

    def write(training):
        file = tmp_path / "model.onnx"
        shutil.copyfile(brightness, file)
        dataclasses.replace(read_card(brightness), training=training).write(file)
        return str(file)

    return write


def table(folder, paths):
    folder.mkdir()
    for number, path in enumerate(paths):
        Image.open(path).convert("RGB").save(folder / f"{number}.jpg", quality=60)
    (folder / "t.csv").write_text("path,score\n" + "".join(f"{n}.jpg,{9 * n}\n" for n in range(len(paths))))
    return f"csv={folder / 't.csv'}"


def test_copies_under_another_name_are_recognised_and_counted(model, rated, tmp_path):
    records = READERS["csv"](rated)
    learnt, others = records[:4], records[4:8]
    file = model({"data set": "other", "image_hashes": training_hashes(learnt)})
    both = table(tmp_path / "both", [record.path for record in learnt + others])
    assert "learnt from 4 of these 8 images" in str(evaluate(file, data=both).caution)
    assert evaluate(file, data=table(tmp_path / "others", [record.path for record in others])).caution is None


def test_the_name_of_the_data_set_decides_where_the_card_has_no_hashes(model, rated, monkeypatch):
    monkeypatch.setitem(READERS, "cameras", READERS["csv"])
    data = f"cameras={rated}"
    assert "may have seen" in str(evaluate(model({"data set": "cameras"}), data=data).caution)
    assert evaluate(model({"data set": "spaq"}), data=data).caution is None
    assert evaluate(model({"data set": "cameras", "image_hashes": training_hashes([])}), data=data).caution is None


def test_the_default_on_its_own_photos_as_a_csv_is_cautioned(tmp_path, capsys):
    photos = sorted((DATA / "livec" / "images").glob("*"))[:6]
    if not photos:
        pytest.skip(f"no real data in {DATA}")
    assert run(["evaluate", "default", "--data", table(tmp_path / "set", photos)]) == 0
    assert "CAUTION: default learnt from 6 of these 6 images" in capsys.readouterr().err
