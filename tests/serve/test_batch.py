"""The actor of Ray Data without Ray: batches of every format in, rows of `noref score` out."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import noref
from noref.errors import ModelError, NorefError
from noref.scoring.row_writers import COLUMNS, Row
from noref.serve.batch import ModelFiles, ScoreBatch, row_schema

pa = pytest.importorskip("pyarrow", reason="needs the ray extra")


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Grey pictures of 0, 51, 102 and 153, whose scores are 0, 20, 40 and 60, and a broken file."""
    monkeypatch.chdir(tmp_path)
    for number in range(4):
        Image.new("RGB", (240, 250), (51 * number,) * 3).save(f"{number}.png")
    Path("broken.png").write_bytes(b"none")
    return ["0.png", "broken.png", "1.png", "2.png", "3.png"]


@pytest.fixture
def actor(brightness):
    return ScoreBatch(brightness)


SCORES = [0, None, 20, 40, 60]


def made(photos, form, key):
    content = [Path(path).read_bytes() for path in photos] if key == "bytes" else photos
    if form == "arrow":
        return pa.table({"path": photos, key: pa.array(content), "label": [7, 8, 9, 10, 11]})
    columns = {"path": np.array(photos), key: np.array(content, object), "label": np.array([7, 8, 9, 10, 11])}
    if form == "pandas":
        return pytest.importorskip("pandas", reason="needs the train extra").DataFrame(columns)
    return columns


@pytest.mark.parametrize("form", ["numpy", "pandas", "arrow"])
@pytest.mark.parametrize("key", ["bytes", "file", "path"])
def test_batches_of_every_format(photos, actor, form, key):
    found = actor(made(photos, form, key))
    assert found.column_names == ["label", *row_schema().names]
    assert found["path"].to_pylist() == photos
    assert found["label"].to_pylist() == [7, 8, 9, 10, 11]
    assert found["score"].to_pylist() == pytest.approx(SCORES)
    assert found["error"].to_pylist() == [None, "not an image that can be read", None, None, None]
    assert found["size"].to_pylist() == [Path(path).stat().st_size for path in photos]
    assert found["model"].to_pylist() == ["brightness"] * 5


def test_arrays_of_one_size_and_of_many(actor):
    images = np.stack([np.full((240, 250, 3), 51 * number, np.uint8) for number in range(3)])
    assert actor({"image": images})["score"].to_pylist() == pytest.approx([0, 20, 40])
    ragged = np.empty(2, object)
    ragged[:] = [images[1], np.zeros((8, 250, 3), np.uint8)]
    found = actor({"image": ragged})
    assert found["score"].to_pylist() == pytest.approx([20, None])
    assert found["path"].to_pylist() == [None, None]
    assert "least side is 16" in found["error"][1].as_py()


def test_what_is_null_is_a_row_with_an_error(actor):
    found = actor(pa.table({"path": ["a", "b"], "bytes": pa.array([None, b""], pa.binary())}))
    assert found["score"].to_pylist() == [None, None]
    assert found["error"].to_pylist() == ["there is no picture: the value is null", "empty file"]


def test_a_name_that_is_no_utf_8(photos, actor):
    Path("0.png").rename(b"caf\xe9.png".decode("utf-8", "surrogateescape"))
    found = actor({"file": np.array([b"caf\xe9.png", b"gone.png"], object)})
    assert found["path"].to_pylist() == ["caf\\xe9.png", "gone.png"]
    assert found["score"].to_pylist() == [0, None]
    found = actor({"path": np.array([b"caf\xe9.png".decode("utf-8", "surrogateescape")], object)})
    assert found["path"].to_pylist() == ["caf\\xe9.png"]


def test_addresses_that_give_nothing(actor, tmp_path):
    Image.new("RGB", (240, 250), (51,) * 3).save(tmp_path / "a b.png")
    given = [f"file://{tmp_path}/a b.png", f"file://{tmp_path}/gone.png", "nonsense://a", "https://example.org/a.png"]
    found = actor({"path": np.array(given, object)})
    assert found["score"].to_pylist() == pytest.approx([20, None, None, None])
    errors = found["error"].to_pylist()
    assert errors[1] == "No such file or directory"
    assert all(errors[2:])


def test_a_batch_without_pictures_is_refused(actor):
    with pytest.raises(NorefError, match="needs a column bytes, image or path; it has label"):
        actor({"label": np.array([1])})


def test_scores_are_those_of_the_scorer(photos):
    rng = np.random.default_rng(0)
    for path in photos:
        Image.fromarray(rng.integers(0, 256, (260, 240, 3), dtype=np.uint8)).save(path)
    expected = [float(score) for score in noref.Scorer().score_many(photos)]
    assert ScoreBatch()({"path": np.array(photos)})["score"].to_pylist() == pytest.approx(expected, abs=1e-9)


def test_a_model_travels_to_a_machine_that_does_not_have_it(brightness, photos, tmp_path):
    files = pickle.loads(pickle.dumps(ModelFiles.of(brightness)))
    before = sorted(tmp_path.iterdir())
    actor = ScoreBatch(files)
    assert actor({"path": np.array(photos)})["score"].to_pylist() == pytest.approx(SCORES)
    assert sorted(tmp_path.iterdir()) == before
    with pytest.raises(ModelError):
        ScoreBatch(ModelFiles(files.name, files.model + b"x", files.card))


def test_the_columns_have_the_types_of_the_rows():
    kinds = dict(zip(row_schema().names, map(str, row_schema().types), strict=True))
    assert tuple(kinds)[: len(COLUMNS)] == COLUMNS
    assert set(kinds) == {field.name for field in fields(Row)} - {"file"}
    assert kinds["reasons"].startswith("list<")
    assert kinds | {"path": "string", "score": "double", "error": "string", "size": "int64", "time": "string"} == kinds


def test_it_needs_neither_ray_nor_the_service_nor_torch():
    code = "import sys, noref.serve.batch as b; b.ScoreBatch; b.row_schema(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not set(done.stdout.split()) & {"ray", "fastapi", "uvicorn", "torch", "pandas"}
