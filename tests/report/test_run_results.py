"""A report of one training run, from the files that `noref train` leaves in its folder."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from PIL import Image
from scipy import stats

from noref.cli import run
from noref.data.readers import READERS
from noref.data.splits import Split, save_split
from noref.errors import DataError
from noref.report.results import read_results

SCALE = {"low": 0, "high": 100, "higher_is_better": True}


@pytest.fixture
def folder(tmp_path):
    """The folder of a run on a CSV of twelve images, six of which test."""
    data = tmp_path / "mine"
    data.mkdir()
    rng = np.random.default_rng(0)
    rows = ["path,score,reference,distortion,level"]
    for i in range(12):
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(data / f"{i}.png")
        rows.append(f"{i}.png,{7 * i + 3},r{i // 2},blur,{i % 2 + 1}")
    (data / "photos.csv").write_text("\n".join(rows) + "\n")
    records = READERS["csv"](data / "photos.csv")
    out = tmp_path / "run"
    out.mkdir()
    save_split(
        Split(tuple(range(6)), (), tuple(range(6, 12)), seed=3, description="random 50/50"), records, out / "split.json"
    )
    options = {"backbone": "test_resnet", "select": "last", "seed": 3, "lr": 0.001}
    (out / "config.yaml").write_text(
        yaml.safe_dump({"recipe": "deiqt", "data": f"csv={data / 'photos.csv'}", **options})
    )
    (out / "results.json").write_text(json.dumps({"data": "csv", "protocol": "paper"}))
    (out / "model.card.json").write_text(json.dumps({"scale": SCALE}))
    quality = [record.quality + 0.2 * rng.normal() for record in records[6:]]
    lines = [f"{r.path.name},{100 * q},{r.raw_score},{q}" for r, q in zip(records[6:], quality, strict=True)]
    (out / "predictions.csv").write_text("\n".join(["path,predicted,score,quality", *lines]) + "\n")
    return out


def test_a_run_is_a_bench_of_one_cell(folder):
    results = read_results(folder)
    (cell,) = results.cells
    assert (cell.name, cell.split, cell.seed) == ("run on photos", 0, 3)
    assert cell.model._asdict() == {
        "recipe": "deiqt", "variant": "", "training_set": "photos", "test_set": "photos", "fraction": 1.0,
        "protocol": "paper", "selection": "last",
    }  # fmt: skip
    assert cell.paths == tuple(f"{i}.png" for i in range(6, 12))
    assert cell.references == ("r3", "r3", "r4", "r4", "r5", "r5")
    assert set(cell.distortions) == {"blur"}
    assert cell.levels == (1, 2, 1, 2, 1, 2)
    assert cell.score.tolist() == [7 * i + 3 for i in range(6, 12)]
    assert read_results(folder / "predictions.csv").cells[0].quality.tolist() == cell.quality.tolist()


def test_its_report_says_what_a_bench_would(folder, capsys):
    assert run(["report", str(folder), "--draws", "20"]) == 0
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    content = json.loads((folder / "report.json").read_text())
    (result,), (cell,) = content["results"], read_results(folder).cells
    assert result["srcc"]["mean"] == pytest.approx(stats.spearmanr(cell.quality, cell.human).statistic)
    page = (folder / "report.html").read_text()
    for words in ("deiqt on photos", "random 50/50, seed 3, 6 train, 6 test", "test_resnet", "data:image/jpeg"):
        assert words in page


def test_a_run_whose_data_set_is_elsewhere_has_the_same_metrics_and_no_thumbnails(folder):
    before = read_results(folder)
    (folder.parent / "mine").rename(folder.parent / "moved")
    after = read_results(folder)
    assert after.scales == before.scales
    assert after.cells[0].human == pytest.approx(before.cells[0].human)
    assert after.cells[0].quality.tolist() == before.cells[0].quality.tolist()
    assert (set(after.cells[0].references), after.cells[0].levels) == ({""}, (None,) * 6)
    assert run(["report", str(folder), "--draws", "20"]) == 0
    assert "the folder of the images is not known" in (folder / "report.html").read_text()


def test_a_folder_without_predictions_says_who_writes_them(folder, capsys):
    (folder / "predictions.csv").unlink()
    assert run(["report", str(folder)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "no predictions.csv in it; a run has one at its end, a bench after its first run" in error


def test_what_is_missing_from_a_run_is_named(folder):
    (folder / "split.json").unlink()
    with pytest.raises(DataError, match=r"split\.json"):
        read_results(folder)


def test_predictions_without_their_run_say_in_one_line_what_is_missing(folder, tmp_path):
    alone = tmp_path / "alone.csv"
    alone.write_text((folder / "predictions.csv").read_text())
    with pytest.raises(DataError, match=r"alone\.csv: predictions of one model; .*config\.yaml .* not beside it"):
        read_results(alone)
