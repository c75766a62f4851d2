"""Whole benches, in small: what a user of `noref bench` meets."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections import Counter, defaultdict

import pytest
import yaml
from scipy import stats

from noref.bench.launch import run_bench
from noref.data.readers import READERS
from noref.data.splits import load_split
from noref.errors import DataError, OptionError
from noref.methods import launch
from noref.report.build import build_report
from noref.train.state import State


def rows_of(folder):
    with (folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def go(first, out, tiny, *words, **how):
    return run_bench(
        "deiqt", data=[f"csv={first}"], out=out, options=[*tiny, *words], report=False, **{"repeats": 2, **how}
    )


@pytest.fixture(scope="module")
def matrix(first, second, tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("matrix") / "bench"
    told = []
    outcome = run_bench(
        "deiqt", data=[f"csv={first}", f"csv={second}"], out=out, options=tiny, repeats=2, fractions="50,100",
        cross=True, report=False, tell=told.append,
    )  # fmt: skip
    return out, outcome, told


def test_every_cell_is_done_and_tested_on_both_sets(matrix):
    out, outcome, _ = matrix
    assert (outcome.wanted, len(outcome.done), outcome.failed, outcome.elsewhere) == (8, 8, {}, [])
    found = Counter((r["training_set"], r["fraction"], r["split"], r["test_set"]) for r in rows_of(out))
    assert len(found) == 16
    assert {count for (learnt, _, _, tested), count in found.items() if learnt == tested} == {4}  # 20 % of 20
    assert {count for (learnt, _, _, tested), count in found.items() if learnt != tested} == {20}


def test_the_table_is_of_the_test_parts_and_of_the_files_that_can_be_handed_on(matrix, first):
    out, records = matrix[0], READERS["csv"](first)
    by_name = {record.path.name: record for record in records}
    for number in range(2):
        split = load_split(out / "splits" / f"first-split{number:02}.json", records)
        half = load_split(out / "splits" / f"first-split{number:02}-50pct.json", records)
        assert split.test == half.test
        assert set(half.train) < set(split.train)
        rows = [
            row
            for row in rows_of(out)
            if (row["training_set"], row["test_set"], row["split"]) == ("first", "first", str(number))
        ]
        assert {row["path"] for row in rows} == {records[index].path.name for index in split.test}
        for row in rows:
            record = by_name[row["path"]]
            assert (row["reference"], row["distortion"], int(row["level"])) == (
                record.reference, record.distortion, record.level,
            )  # fmt: skip
            assert float(row["score"]) == pytest.approx(100 * float(row["human"]))
            assert float(row["predicted"]) == pytest.approx(100 * float(row["quality"]))


def test_the_printed_means_are_those_of_the_table(matrix):
    out, _, told = matrix
    groups: dict = defaultdict(lambda: defaultdict(list))
    for row in rows_of(out):
        if row["fraction"] == "1.0":
            groups[row["training_set"], row["test_set"]][row["split"]].append(row)
    for (learnt, tested), splits in groups.items():
        values = [
            stats.spearmanr([float(r["predicted"]) for r in part], [float(r["score"]) for r in part]).statistic
            for part in splits.values()
        ]
        line = next(line.split("\t") for line in told[0].splitlines() if line.split("\t")[1:3] == [learnt, tested])
        assert float(line[4]) == pytest.approx(sum(values) / 2, abs=6e-5)


def test_the_bench_says_what_it_is(matrix):
    content = json.loads((matrix[0] / "bench.json").read_text())
    assert content["cells"] == {"wanted": 8, "done": 8, "failed": []}
    assert content["options"]["backbone"] == "test_resnet"
    assert "seed" not in content["options"]
    assert content["data"]["first"]["note"].startswith("scores of a CSV file")
    assert content["data"]["first"]["images"] == 20
    assert content["data"]["first"]["scale"] == {"low": 0, "high": 100, "higher_is_better": True}
    assert len(content["splits"]) == 8
    assert all(len(split["checksum"]) == 64 for split in content["splits"])
    assert set(content["seconds"]) == {
        f"all/{n}-split0{i}{p}" for n in ("first", "second") for i in (0, 1) for p in ("", "-50pct")
    }


def test_a_second_call_repeats_nothing_and_more_repeats_only_add(first, tiny, tmp_path, monkeypatch):
    out, trained = tmp_path / "bench", []
    real = launch.train
    monkeypatch.setattr(launch, "train", lambda *a, **k: (trained.append(k["out"]), real(*a, **k))[1])
    go(first, out, tiny, repeats=1)
    before = (out / "runs/all/first-split00/model.safetensors").stat().st_mtime_ns
    go(first, out, tiny, repeats=1)
    outcome = go(first, out, tiny, repeats=2)
    assert [path.rsplit("/", 1)[1] for path in trained] == ["first-split00", "first-split01"]
    assert (out / "runs/all/first-split00/model.safetensors").stat().st_mtime_ns == before
    assert len(outcome.done) == 2


class Killed(BaseException):
    """As a signal would end the process: nothing catches it."""


def test_a_killed_cell_goes_on_from_its_last_epoch_to_the_same_end(first, tiny, tmp_path, monkeypatch):
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    go(first, whole, tiny, "--epochs", "3", repeats=1)
    real, saved = State.save, []

    def dies(self, *args, **how):
        saved.append(self.epoch)
        if self.epoch == 3:  # two epochs are on the disk
            raise Killed
        return real(self, *args, **how)

    with monkeypatch.context() as patched:
        patched.setattr(State, "save", dies)
        with pytest.raises(Killed):
            go(first, torn, tiny, "--epochs", "3", repeats=1)
    assert saved == [1, 2, 3]
    assert not (torn / "runs/all/first-split00/cell.json").exists()
    outcome = go(first, torn, tiny, "--epochs", "3", repeats=1)
    assert outcome.done == ["runs/all/first-split00"]
    assert [row["predicted"] for row in rows_of(torn)] == [row["predicted"] for row in rows_of(whole)]
    assert json.loads((torn / "runs/all/first-split00/cell.json").read_text())["resumed"] is True


def test_a_folder_left_before_its_first_line_is_begun_again(first, tiny, tmp_path):
    out = tmp_path / "bench"
    go(first, out, tiny, repeats=1)
    folder = out / "runs/all/first-split00"
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "config.yaml.part").write_text("")
    assert go(first, out, tiny, repeats=1).done == ["runs/all/first-split00"]


HOLDER = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_cell_that_another_process_holds_is_left_to_it(first, tiny, tmp_path):
    out = tmp_path / "bench"
    go(first, out, tiny, repeats=1)
    shutil.rmtree(out / "runs")
    lock = str(out / "claims" / "runs~all~first-split00.lock")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        outcome = go(first, out, tiny)
        assert outcome.elsewhere == ["runs/all/first-split00"]
        assert outcome.done == ["runs/all/first-split01"]
        other.kill()  # the claim goes with the process
    assert len(go(first, out, tiny).done) == 2


def test_one_failing_variant_does_not_stop_the_others(first, tiny, tmp_path):
    grid = tmp_path / "grid.yaml"
    grid.write_text("plain: {}\nexploding: {lr: 1.0e+30, clip: none, epochs: 3}\nsmall steps: {lr: 1.0e-4}\n")
    said = []
    outcome = go(first, tmp_path / "bench", tiny, variants=str(grid), repeats=1, say=said.append)
    assert outcome.done == ["runs/plain/first-split00", "runs/small_steps/first-split00"]
    (reason,) = outcome.failed.values()
    assert any(line.startswith("FAILED runs/exploding/first-split00: ") for line in said)
    content = json.loads((tmp_path / "bench" / "bench.json").read_text())
    assert content["cells"]["failed"] == [{"cell": "runs/exploding/first-split00", "reason": reason}]
    assert content["variants"]["small steps"] == {"lr": 1e-4}
    assert {row["variant"] for row in rows_of(tmp_path / "bench")} == {"plain", "small steps"}


OTHER = """
import sys
from pathlib import Path
from noref.bench.launch import run_bench
data, out, grid, *tiny = sys.argv[1:]
run_bench("deiqt", data=[data], out=Path(out), options=tiny, repeats=1, variants=grid, only=["exploding"], report=False)
"""


def test_two_processes_keep_each_others_failures(first, tiny, tmp_path):
    grid, out = tmp_path / "grid.yaml", tmp_path / "bench"
    grid.write_text("plain: {}\nexploding: {lr: 1.0e+30, clip: none, epochs: 3}\n")
    started = []

    def say(line):
        """While the first process is at its own cell, the other one fails and ends."""
        if not started:
            started.append(line)
            call = [sys.executable, "-c", OTHER, f"csv={first}", str(out), str(grid), *tiny]
            subprocess.run(call, check=True, capture_output=True)

    go(first, out, tiny, variants=str(grid), only=["plain"], repeats=1, say=say)
    cells = json.loads((out / "bench.json").read_text())["cells"]
    assert [row["cell"] for row in cells["failed"]] == ["runs/exploding/first-split00"]
    assert "loss" in cells["failed"][0]["reason"]
    grid.write_text("exploding: {lr: 1.0e+30, clip: none, epochs: 3}\nplain: {}\n")
    (out / "runs/exploding/first-split00").mkdir(parents=True, exist_ok=True)
    (out / "runs/exploding/first-split00/cell.json").write_text(
        (out / "runs/plain/first-split00/cell.json").read_text()
    )
    shutil.copy(out / "runs/plain/first-split00/cell.csv", out / "runs/exploding/first-split00/cell.csv")
    go(first, out, tiny, variants=str(grid), only=["plain"], repeats=1)
    assert json.loads((out / "bench.json").read_text())["cells"]["failed"] == []  # it is done by now


def test_a_network_that_leaves_the_scale_is_said_in_its_line(first, tiny, tmp_path):
    out, said = tmp_path / "bench", []
    go(first, out, tiny, repeats=1)
    run = out / "runs/all/first-split00"
    with (run / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, quality in zip(rows, (-0.95, 1.77, 0.3, 0.4), strict=True):
        row |= {"predicted": 100 * quality, "quality": quality}
    with (run / "predictions.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    (run / "cell.json").unlink()  # trained, not yet in the table
    go(first, out, tiny, repeats=1, say=said.append)
    sentence = "2 of 4 predictions (50 %) lie outside of the scale 0 to 100: the lowest is -95, the highest 177"
    assert f"; first: {sentence}" in said[0]
    assert sentence in report_of(out).json()


def test_a_run_of_a_bench_has_a_report_of_its_own(matrix):
    out, _, _ = matrix
    run = out / "runs/all/first-split00"
    assert report_of(run).groups[0].metrics["srcc"].mean == pytest.approx(
        json.loads((run / "cell.json").read_text())["figures"]["first"]["srcc"]
    )


def report_of(folder):
    return build_report(folder, draws=20, thumbnails=False)


def test_best_epoch_on_test_is_in_every_row(first, tiny, tmp_path):
    go(first, tmp_path / "bench", tiny, repeats=1, paper_selection=True)
    assert {row["selection"] for row in rows_of(tmp_path / "bench")} == {"test"}


def test_two_trainings_of_one_split_differ_in_the_seed_alone(first, tiny, tmp_path):
    go(first, tmp_path / "bench", tiny, repeats=1, runs=2)
    rows = rows_of(tmp_path / "bench")
    seeds = {seed: [row for row in rows if row["seed"] == seed] for seed in ("0", "1000")}
    assert [r["path"] for r in seeds["0"]] == [r["path"] for r in seeds["1000"]]
    assert [r["predicted"] for r in seeds["0"]] != [r["predicted"] for r in seeds["1000"]]


def test_a_bench_of_an_older_noref_goes_on_though_recipes_have_more_options_now(first, tiny, tmp_path):
    out = tmp_path / "bench"
    go(first, out, tiny, repeats=1)
    content = json.loads((out / "bench.json").read_text())
    del content["options"]["average"], content["options"]["beta"]
    (out / "bench.json").write_text(json.dumps(content))
    with pytest.raises(OptionError, match=r"holds a bench of beta 1\.0, not 2\.0"):
        go(first, out, tiny, "--beta", "2")
    assert len(go(first, out, tiny).done) == 2


def test_a_bench_of_an_older_noref_goes_on_though_options_have_other_names_now(first, tiny, tmp_path):
    out = tmp_path / "bench"
    go(first, out, tiny, repeats=1)
    content = json.loads((out / "bench.json").read_text())
    options = content["options"]
    options["bank"] = options.pop("feature_cache")
    options["beta1"] = 0.9  # gone since; this is what every run has now
    (out / "bench.json").write_text(json.dumps(content))
    assert len(go(first, out, tiny).done) == 2
    content["options"]["beta1"] = 0.5
    (out / "bench.json").write_text(json.dumps(content))
    with pytest.raises(OptionError, match="beta1 is no option any more"):
        go(first, out, tiny)


@pytest.mark.parametrize(
    ("words", "how", "says"),
    [
        (["--lr", "0.5"], {}, "holds a bench of lr 0.001, not 0.5"),
        ([], {"parts": "70/10/20"}, "holds a bench of validation 0.0, not 0.1"),
        ([], {"seed": 3}, "holds a bench of seed 0, not 3"),
    ],
)
def test_a_folder_of_another_bench_is_refused(matrix, first, tiny, words, how, says):
    with pytest.raises(OptionError, match=says):
        go(first, matrix[0], tiny, *words, **how)


@pytest.mark.parametrize(
    ("words", "how", "says"),
    [
        (["--seed", "3"], {}, "seed: a bench sets it"),
        (["--epocs", "3"], {}, "did you mean epochs"),
        ([], {"parts": "80/30"}, "write 80/20"),
        ([], {"folds": 5, "parts": "80/20"}, "one of --parts, --folds and --split"),
        ([], {"fractions": "half"}, "write percent with commas"),
        ([], {"fractions": "120"}, r"fractions of the training part are in \(0, 1\]"),
        ([], {"only": ["x"]}, "unknown variant 'x'"),
        ([], {"repeats": 0}, "0 random splits: at least 1"),
        ([], {"runs": 0}, "at least 1"),
    ],
)
def test_a_wrong_call_ends_before_anything_is_written(first, tiny, tmp_path, words, how, says):
    with pytest.raises(OptionError, match=says):
        go(first, tmp_path / "bench", tiny, *words, **how)
    assert not (tmp_path / "bench").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 3\n", "line 1: a variant is"),
        ("", "no variants"),
        ("a: {lr: b}\n", "'b' is not a number"),
        ("a: [", "not YAML"),
    ],
)
def test_a_broken_grid_names_file_and_line(first, tiny, tmp_path, text, says):
    (tmp_path / "grid.yaml").write_text(text)
    with pytest.raises((DataError, OptionError), match=says):
        go(first, tmp_path / "bench", tiny, variants=str(tmp_path / "grid.yaml"))


def test_a_set_without_an_official_split_leaves_nothing_behind(first, tiny, tmp_path):
    with pytest.raises(DataError, match="in no part of an official split"):
        go(first, tmp_path / "bench", tiny, split=["official"])
    assert not (tmp_path / "bench").exists()


def test_two_sets_of_one_name_are_refused(first, tiny, tmp_path):
    with pytest.raises(OptionError, match="two data sets of one name"):
        run_bench("deiqt", data=[f"csv={first}"] * 2, out=tmp_path / "b", options=tiny)
    with pytest.raises(OptionError, match="in --data and in --test-data"):
        run_bench("deiqt", data=[f"csv={first}"], test_data=[f"csv={first}"], out=tmp_path / "b", options=tiny)


def test_somebody_elses_folder_is_left_alone(first, tiny, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(OptionError, match="not an empty folder"):
        go(first, tmp_path, tiny)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def as_an_earlier_version_wrote_it(options):
    """Options of DEIQT in the form of version 0.1: every option of CSIQA too, old names, and no `start`."""
    off = {
        "contrast": "none",
        "temperature": 0.3,
        "easy": [0.1, 0.4],
        "distill": None,
        "loss": "smooth_l1",
        "mask": None,
    }
    gone = {"sampling": "fixed", "margin": 0.05, "beta1": 0.9, "fused": False, "queries": 6}
    old = {**off, **gone, **options, "bank": options["feature_cache"], "bank_sets": options["crop_sets"]}
    return {key: value for key, value in old.items() if key not in ("start", "feature_cache", "crop_sets")}


def test_a_bench_of_version_0_1_goes_on_as_it_was_begun(first, tiny, tmp_path):
    out, grid = tmp_path / "bench", tmp_path / "grid.yaml"
    grid.write_text("base: {}\nplug-in: {contrast: quality-context, pairs: easy, distill: 0}\n", encoding="utf-8")
    go(first, out, [*tiny, "--start", "zero"], repeats=1, variants=str(grid), only=["base"])
    content = json.loads((out / "bench.json").read_text())
    content["options"] = as_an_earlier_version_wrote_it(content["options"])
    content["variants"]["plug-in"] = {"contrast": "quality-context", "pairs": "easy", "distill": 0.0}
    (out / "bench.json").write_text(json.dumps(content))
    with pytest.raises(OptionError, match="holds a bench of start zero, not mean"):
        go(first, out, tiny, "--start", "mean", variants=str(grid))
    assert len(go(first, out, tiny, variants=str(grid)).done) == 4
    configs = [yaml.safe_load(path.read_text()) for path in sorted(out.glob("runs/*/*/config.yaml"))]
    assert [(config["recipe"], config["start"]) for config in configs] == [("deiqt", "zero")] * 2 + [
        ("csiqa", "zero")
    ] * 2
    assert len(go(first, out, tiny, variants=str(grid)).done) == 4
