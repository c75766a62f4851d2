from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from noref.report.cell_metrics import groups
from noref.report.results import read_results
from noref.report.thumbnails import ImageResult, best_and_worst, image_results, with_thumbnail


def image(path, residual):
    return ImageResult(path, 50.0, 50.0 + 100 * residual, residual, 1)


def test_an_image_of_several_splits_has_the_mean_of_its_predictions(make_bench, rows_of):
    names = [f"{i}.png" for i in range(6)]
    rows = [row for split in range(3) for row in rows_of(split=split, names=names, images=6)]
    (group,) = groups(read_results(make_bench(rows)).cells, draws=20)
    for found in image_results(group):
        own = [row for row in rows if row["path"] == found.path]
        assert found.tests == 3
        assert found.predicted == pytest.approx(np.mean([row["predicted"] for row in own]))
        assert found.score == pytest.approx(own[0]["score"])
        assert found.residual == pytest.approx((found.predicted - found.score) / 100)


def test_shown_are_the_closest_and_the_farthest_either_way():
    found = [image(f"{i}", r) for i, r in enumerate([0.3, -0.2, 0.01, -0.02, 0.25, -0.5, 0.0, 0.1, -0.1])]
    chosen = {key: [one.residual for one in row] for key, row in best_and_worst(found, each=2).items()}
    assert chosen == {"closest": [0.0, 0.01], "too good": [0.3, 0.25], "too bad": [-0.5, -0.2]}


def test_few_images_are_of_one_kind_each_and_empty_kinds_are_left_out():
    assert {
        key: len(row) for key, row in best_and_worst([image("a", 0.1), image("b", 0.2), image("c", 0.3)]).items()
    } == {"closest": 1, "too good": 1}
    assert best_and_worst([]) == {}


@pytest.mark.parametrize("size", [(600, 400), (40, 30), (240, 900)])
def test_a_thumbnail_is_a_small_jpeg_of_the_same_shape(tmp_path, size):
    Image.new("RGB", size, (200, 30, 40)).save(tmp_path / "a.png")
    found = with_thumbnail(image("a.png", 0.1), tmp_path)
    head, _, code = found.thumbnail.uri.partition(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(code))) as small:
        assert max(small.size) <= 240
        assert small.size == (found.thumbnail.width, found.thumbnail.height)
        assert small.width / small.height == pytest.approx(size[0] / size[1], rel=0.05)
        assert np.asarray(small)[0, 0] == pytest.approx([200, 30, 40], abs=6)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.png", "No such file"),
        ("broken.png", "not an image"),
        ("../secret.png", "not below the data set's folder"),
        ("/etc/hostname", "not below the data set's folder"),
    ],
)
def test_a_thumbnail_that_cannot_be_made_says_why_and_names_no_folder(tmp_path, name, words):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "broken.png").write_bytes(b"no picture")
    Image.new("RGB", (40, 40)).save(tmp_path / "secret.png")
    found = with_thumbnail(image(name, 0.1), tmp_path / "set")
    assert found.thumbnail is None
    assert words in found.trouble
    assert str(tmp_path) not in found.trouble


def test_an_unknown_folder_is_said():
    assert "not known" in with_thumbnail(image("a.png", 0.1), None).trouble
