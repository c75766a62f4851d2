"""The range and direction of a table of one's own, and the commands that take what is said of it."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml

from noref.cli import run
from noref.data import own_csv
from noref.data.check import check
from noref.data.own_csv import cautions, csv, flags, options, write
from noref.data.records import Record, Scale
from noref.errors import DataError, OptionError

RANGE = "--range LOW,HIGH says it"


@pytest.fixture
def scored(tmp_path):
    """scored(score, ...) -> a table with an image for each of these scores."""

    def make(*scores):
        for number in range(len(scores)):
            (tmp_path / f"{number}.png").touch()
        file = tmp_path / "mos.csv"
        file.write_text("path,score\n" + "".join(f"{number}.png,{score}\n" for number, score in enumerate(scores)))
        return file

    return make


@pytest.mark.parametrize(
    ("scores", "scale", "hint"),
    [
        ((0, 100), (0, 100), None),
        ((12, 88), (0, 100), None),
        ((1.2, 4.8), (1.2, 4.8), "--range 1,5,"),
        ((0.5, 4.5), (0.5, 4.5), "--range 0,5,"),
        ((0.1, 0.9), (0.1, 0.9), "--range 0,1,"),
        ((2, 9), (2, 9), "--range 1,10,"),
        ((0, 9), (0, 9), "--range 0,10,"),
        ((40, 45), (40, 45), "--range 0,100,"),
        ((-3, 112), (-3, 112), "--range LOW,HIGH,"),
    ],
)
def test_a_range_that_is_not_said_is_cautioned_unless_it_is_0_to_100(scored, scores, scale, hint):
    file = scored(*scores)
    assert csv(file)[0].scale == Scale(*scale)
    said = cautions(file)
    assert len(said) == (hint is not None)
    for sentence in said:
        assert f"{scale[0]:g} to {scale[1]:g}" in sentence
        assert RANGE in sentence
        assert "mos.scale.json" in sentence
        assert f"such as {hint}" in sentence


def test_a_range_that_is_said_or_written_needs_no_caution(scored):
    file = scored(2, 4)
    assert csv(file, low=1, high=5)[0].quality == 0.25
    assert cautions(file, low=1, high=5) == []
    file.with_name("mos.scale.json").write_text('{"low": 0, "high": 10}')
    assert csv(file)[0].quality == 0.2
    assert cautions(file) == []


@pytest.mark.parametrize(
    ("written", "said", "scale"),
    [
        ({"low": 0, "high": 10, "higher_is_better": False}, {}, Scale(0, 10, False)),
        ({"low": 0, "high": 10, "higher_is_better": False}, {"low": 1, "high": 5}, Scale(1, 5, False)),
        ({"low": 0, "high": 10}, {"higher_is_better": False}, Scale(0, 10, False)),
        ({"higher_is_better": False}, {}, Scale(2, 4, False)),
        ({"higher_is_better": False}, {"higher_is_better": True}, Scale(2, 4)),
        ({"higher_is_better": False}, {"low": 1, "high": 5}, Scale(1, 5, False)),
    ],
)
def test_what_is_said_wins_over_what_is_written_end_and_direction_each(scored, written, said, scale):
    file = scored(2, 4)
    file.with_name("mos.scale.json").write_text(json.dumps(written))
    assert csv(file, **said)[0].scale == scale


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ({"range_text": "1"}, "write LOW,HIGH with LOW below HIGH, such as 1,5"),
        ({"range_text": "5,1"}, "write LOW,HIGH"),
        ({"range_text": "1,5,9"}, "write LOW,HIGH"),
        ({"range_text": "a,b"}, "write LOW,HIGH"),
        ({"range_text": "0,inf"}, "write LOW,HIGH"),
        ({"columns": "mos"}, "write image=NAME"),
    ],
)
def test_options_that_make_no_sense(call, reason):
    with pytest.raises(OptionError, match=reason):
        options(**call)


def test_flags_say_the_same_again():
    columns = 'image=a b,"score=MOS, mean",group=scene'
    said = options(columns=columns, images="x y", range_text="-1,2.5", lower_is_better=True)
    assert flags(said)[1] == columns
    again = iter(flags(said))
    found = {word: None if word == "--lower-is-better" else next(again) for word in again}
    assert found.pop("--lower-is-better", 0) is None
    named = {"--columns": "columns", "--images": "images", "--range": "range_text"}
    assert options(lower_is_better=True, **{named[word]: text for word, text in found.items()}) == said


def test_records_are_written_and_read_again(tmp_path, draw):
    scale = Scale(-3, 112, higher_is_better=False)
    records = [
        Record(draw('set/a, "b".png'), 1 / 3, scale, "r", "blur", 2, "training"),
        Record(draw("other/é.png"), 112.0, scale, split="unused"),
        Record(draw("c.png"), -3.0, scale),
    ]
    write(records, tmp_path / "other" / "good.csv")
    assert [dataclasses.replace(r, path=r.path.resolve()) for r in csv(tmp_path / "other" / "good.csv")] == records
    assert cautions(tmp_path / "other" / "good.csv") == []
    with pytest.raises(OptionError, match=r"good\.csv: is there"):
        write(records, tmp_path / "other" / "good.csv")
    with pytest.raises(OptionError, match=r"cannot be written"):
        write(records, tmp_path / "none" / "good.csv")
    with pytest.raises(DataError, match="no UTF-8 text"):
        write([Record(tmp_path / "\udcff.png", 1, scale)], tmp_path / "bad.csv")


@pytest.fixture
def foreign(rated, tmp_path):
    """The images of `rated` in a folder of their own, with a table as a European spreadsheet writes it, on 1-5."""
    photos = tmp_path / "photos"
    shutil.copytree(rated.parent, photos, ignore=shutil.ignore_patterns("*.csv", "*.txt"))
    rows = [line.split(",") for line in rated.read_text().splitlines()[1:]]
    lines = [f"{name};{1 + int(score) / 25:.2f};;".replace(".", ",").replace(",png", ".png") for name, score in rows]
    (tmp_path / "mos.csv").write_bytes("\r\n".join(["Datei;Urteil;;", *lines, ";;;"]).encode("utf-8-sig"))
    return tmp_path / "mos.csv"


def test_every_command_takes_what_is_said(foreign, small, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = ["--columns", "image=Datei,score=Urteil", "--images", "photos"]
    chosen = {**{name: value for name, (value, _) in small.items()}, "epochs": "1"}
    words = [word for name, value in chosen.items() for word in (f"--{name.replace('_', '-')}", value)]
    data = ["--data", f"csv={foreign}"]
    assert run(["data", "check", "csv", "mos.csv", *said]) == 0
    assert RANGE in (out := capsys.readouterr().out)
    assert shlex.join(said) in out.splitlines()[-1]
    assert run(["train", "deiqt", *data, "--out", "run", *said, *words]) == 0
    assert RANGE in capsys.readouterr().err
    assert run(["train", "deiqt", *data, "--out", "said", *said, "--range", "1,5", *words]) == 0
    assert RANGE not in capsys.readouterr().err
    kept = yaml.safe_load((tmp_path / "said" / "config.yaml").read_text())["table"]
    assert kept == options(columns=said[1], images="photos", range_text="1,5")
    assert run(["train", "deiqt", "--out", "said", "--resume", "--epochs", "2"]) == 0
    assert run(["evaluate", "said", *data, *said, "--range", "1,5", "--output", "p.csv"]) == 0
    assert "the run's own test part" in capsys.readouterr().err
    assert run(["evaluate", "said", *data, *said]) == 0
    assert RANGE in capsys.readouterr().err
    assert run(["report", "said"]) == 0
    for extra, there in (([], True), (["--range", "1,5"], False)):
        call = ["bench", "deiqt", *data, "--repeats", "1", *said, *extra, *chosen_of_bench(words), "--out", f"b{there}"]
        assert run(call) == 0
        assert (RANGE in capsys.readouterr().err) is there
        page = (tmp_path / f"b{there}" / "report.html").read_text()
        notes, alarms = (
            "".join(part.split("</div>")[0] for part in page.split(f'<div class="{kind}"')[1:])
            for kind in ("note", "warn")
        )
        assert (RANGE in notes) is there
        assert RANGE not in alarms


def chosen_of_bench(words):
    """Without what a bench sets."""
    at = words.index("--validation")
    return words[:at] + words[at + 2 :]


def test_the_commands_of_the_docs_work(foreign, small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    (block,) = (
        text for text in re.findall(r"^```bash\n(.*?)^```", page, re.MULTILINE | re.DOTALL) if "mos.csv" in text
    )
    words = [word for name, (value, _) in small.items() for word in (f"--{name.replace('_', '-')}", value)]
    more = {"train": words, "bench": [*chosen_of_bench(words), "--repeats", "1", "--no-report"]}
    for line in block.splitlines():
        noref, *call = shlex.split(line)
        assert noref == "noref"
        assert run([*call, *more.get(call[0], [])]) == 0, line


def test_what_is_said_is_for_tables_of_ones_own(foreign, tmp_path, capsys):
    for call in (
        ["data", "check", "livec", str(tmp_path), "--range", "1,5"],
        ["train", "deiqt", "--data", f"livec={tmp_path}", "--out", str(tmp_path / "run"), "--lower-is-better"],
        ["evaluate", "default", "--data", f"livec={tmp_path}", "--columns", "score=mos"],
        ["bench", "deiqt", "--data", f"livec={tmp_path}", "--range", "1,5"],
    ):
        assert run(call) == 2
        assert f"livec: {own_csv.FLAGS} are for csv=FILE" in capsys.readouterr().err


@pytest.mark.parametrize("broken", ["missing", "truncated", "both", "nothing"])
def test_the_command_that_data_check_offers_works(foreign, small, tmp_path, capsys, monkeypatch, broken):
    monkeypatch.chdir(tmp_path)
    if broken in ("missing", "both"):
        (tmp_path / "photos" / "3.png").unlink()
    if broken in ("truncated", "both"):
        (tmp_path / "photos" / "5.png").write_bytes((tmp_path / "photos" / "5.png").read_bytes()[:300])
    call = ["data", "check", "csv", "mos.csv", "--columns", "image=Datei,score=Urteil", "--images", "photos"]
    assert run([*call, "--range", "1,5"]) == (0 if broken == "nothing" else 1)
    words = shlex.split(capsys.readouterr().out.splitlines()[-1].rpartition(": ")[2])
    if broken != "nothing":
        assert words[:3] == ["noref", "data", "check"]
        assert run(words[1:]) == 1
        words = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert words[:3] == ["noref", "train", "deiqt"]
    train = [word for name, (value, _) in small.items() for word in (f"--{name.replace('_', '-')}", value)]
    train[train.index("--validation") + 1] = "0.1"  # as it is unless it is said
    assert run([*words[1:], *train]) == 0
    kept = yaml.safe_load((tmp_path / words[words.index("--out") + 1] / "config.yaml").read_text())["data"]
    assert kept == ("csv=mos.csv" if broken == "nothing" else "csv=csv-good.csv")
    assert csv(tmp_path / "csv-good.csv")[0].scale == Scale(1, 5) if broken != "nothing" else True


def test_a_release_with_an_unreadable_image_is_trained_from_a_written_list(livec_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (livec_folder / "Images" / "3.bmp").write_bytes(b"BM")
    assert run(["data", "check", "livec", str(livec_folder), "--good", "good.csv"]) == 1
    assert [record.raw_score for record in csv(tmp_path / "good.csv")] == [10, 20, 40, 50]
    assert "Too little to divide for training: 4 good images" in capsys.readouterr().out
    assert run(["data", "check", "livec", str(livec_folder), "--good", "good.csv"]) == 2
    assert "good.csv: is there" in capsys.readouterr().err


def test_where_no_image_is_found_the_folder_can_be_said(foreign, tmp_path):
    said = {"columns": {"path": "Datei", "score": "Urteil"}}
    (problem, *_) = check("csv", foreign, **said).problems
    assert problem == "incomplete, 24 missing: 0 of 24 images are here; --images FOLDER says where they lie"
    assert check("csv", foreign, **said, images=tmp_path / "photos").problems == []


def test_no_command_is_offered_where_training_would_refuse(scored, tmp_path):
    report = check("csv", scored(10, 20, 30))
    assert report.good == []
    assert report.render().splitlines()[-1] == "Too little to divide for training: 0 good images"
