"""The parameter randomisation test: similarity against slow loops, and a map without weights to depend on."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image
from scipy import stats

pytest.importorskip("torch")
pytest.importorskip("pytorch_grad_cam", reason="needs the explain extra")

from noref.errors import OptionError
from noref.explain.load import open_model, randomised_onnx
from noref.explain.map_types import Options
from noref.explain.sanity import LIMIT, Report, Row, run, similarity, ssim

from .conftest import scene


def planes(seed=0):
    rng = np.random.default_rng(seed)
    first = rng.random((32, 32))
    return first, 0.6 * first + 0.4 * rng.random((32, 32))


def test_similarity_is_scipys_rank_correlation():
    first, second = (plane.astype(np.float32) for plane in planes())
    assert similarity(first, second)[0] == pytest.approx(stats.spearmanr(first.ravel(), second.ravel()).statistic)
    assert similarity(first, -first)[0] == pytest.approx(-1)
    assert similarity(first, np.zeros((32, 32)))[0] == 0
    assert similarity(first, first) == pytest.approx((1, 1))


def test_structural_similarity_by_a_loop():
    first, second = (plane[:10, :11] for plane in planes())
    x, y = ((plane - plane.min()) / (plane.max() - plane.min()) for plane in (first, second))
    found = []
    for i in range(4):
        for j in range(5):
            a, b = x[i : i + 7, j : j + 7].ravel(), y[i : i + 7, j : j + 7].ravel()
            (va, both), (_, vb) = np.cov(a, b)
            top = (2 * a.mean() * b.mean() + 1e-4) * (2 * both + 9e-4)
            found.append(top / ((a.mean() ** 2 + b.mean() ** 2 + 1e-4) * (va + vb + 9e-4)))
    assert ssim(first, second) == pytest.approx(np.mean(found))
    assert ssim(np.ones((9, 9)), np.ones((9, 9))) == pytest.approx(1)


def test_the_check_is_written_and_the_model_stays(photo, run_folder, tmp_path):
    report = run([str(photo)], tmp_path / "out", models=[str(run_folder)], options=Options(("quality", "gradcam-down")))
    rows = list(csv.DictReader((tmp_path / "out" / "sanity.csv").open()))
    assert [(row["kind"], row["stage"]) for row in rows] == [
        (kind, stage) for kind in ("quality", "gradcam-down") for stage in ("head", "upper half", "all")
    ]
    assert (tmp_path / "out" / "sanity-1.png").stat().st_size > 0
    assert len(report.verdicts) == 2
    again = run([str(photo)], tmp_path / "out", models=[str(run_folder)], options=Options(("quality", "gradcam-down")))
    assert again.rows == report.rows


def test_a_map_that_knows_nothing_of_the_weights_fails(photo, brightness, tmp_path):
    report = run([str(photo)], tmp_path / "out", models=[str(brightness)])
    assert [row.rank_correlation for row in report.rows] == [1, 1, 1]  # mean grey level: there is nothing to shuffle
    assert not report.passed
    assert "FAILS" in report.verdicts[0]


def test_the_embedded_models_map_depends_on_what_it_learnt():
    picture = scene(384, 384)
    picture[:, :150] //= 3
    model = open_model("default", Options(crop=192))
    other = model.randomised(1.0, np.random.default_rng(0))
    maps = [one.maps(picture, ["quality"])[0].values for one in (model, other)]
    assert abs(similarity(*maps)[0]) < LIMIT


def test_an_exported_model_is_randomised_from_its_end():
    import onnx
    from onnx import numpy_helper

    model = open_model("default").network.path.read_bytes()

    def tensors(content):
        return {one.name: numpy_helper.to_array(one) for one in onnx.load_from_string(content).graph.initializer}

    before = tensors(model)
    for share, some in ((0.0, ["head.weight"]), (1.0, ["head.weight", "cold.0.weight", "warm.4.weight"])):
        after = tensors(randomised_onnx(model, share, np.random.default_rng(0)))
        changed = {name for name, values in before.items() if not np.array_equal(values, after[name])}
        assert set(some) <= changed
        assert "cold.0.weight" in changed or share < 1
        for name in changed:
            np.testing.assert_array_equal(np.sort(before[name], axis=None), np.sort(after[name], axis=None))
        assert not any(values.size < 16 for name, values in before.items() if name in changed)


def test_a_photo_that_a_model_cannot_take_is_listed_and_the_others_go_on(photo, run_folder, tmp_path):
    thin = photo.with_name("thin.png")
    Image.fromarray(np.zeros((2, 300, 3), np.uint8)).save(thin)
    (photo.parent / "broken.jpg").write_bytes(b"no picture")
    model = [str(run_folder)]
    report = run([str(photo.parent)], tmp_path / "out", models=model, options=Options(crop=64))
    assert [row.photos for row in report.rows] == [1, 1, 1]
    assert set(report.failed) == {str(photo.parent / "broken.jpg"), str(thin)}
    assert report.failed[str(photo.parent / "broken.jpg")] == "not an image that can be read"
    alone = run([str(photo.parent / "broken.jpg")], tmp_path / "alone", models=model)
    assert (alone.rows, alone.passed) == ([], False)


def test_an_option_that_does_not_fit_is_an_error_and_not_a_flat_map(photo, run_folder, tmp_path):
    with pytest.raises(OptionError, match="window must be 1 to 14"):
        run([str(photo)], tmp_path / "out", models=[str(run_folder)], options=Options(("window",), window=15))


def test_the_verdict_is_about_wholly_randomised_models():
    rows = [Row("m", "quality", stage, 3, 0.1, size, 0.2) for stage, size in (("head", 0.9), ("all", LIMIT - 0.01))]
    assert Report(rows).passed
    assert not Report([*rows, Row("m", "window", "all", 3, -0.6, 0.6, 0.2)]).passed
    assert not Report([]).passed
