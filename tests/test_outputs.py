"""No command writes over an input, or over a file that noref did not write: every option that names an output."""

from __future__ import annotations

import shutil

import click
import pytest
from PIL import Image

from noref.card import card_path
from noref.cli import cli, run
from noref.methods import launch

SET = "csv={rated}"
FILES = {  # command, option -> a call with {out}; how its file is named, and an input that must stay as it is
    ("score", "--output"): (["score", "{photo}", "--model", "{model}", "--output", "{out}"], "rows.csv", "photo"),
    ("degrade", "--out"): (["degrade", "{photo}", "-d", "jpeg", "-l", "2", "--out", "{out}"], "a.png", "photo"),
    ("degrade", "--sheet"): (["degrade", "{photo}", "--sheet", "{out}"], "a.png", "photo"),
    ("batch", "--out"): (["batch", "{photo}", "--model", "{model}", "--out", "{out}"], "rows.parquet", "photo"),
    ("calibrate", "--out"): (["calibrate", "{rated}", "--out", "{out}"], "m.onnx", "rated"),
    ("calibrate", "--plot"): (["calibrate", "{good}", "--out", "{out}.onnx", "--plot", "{out}"], "plot.png", "photo"),
    ("data check", "--good"): (["data", "check", "csv", "{rated}", "--good", "{out}"], "good.csv", "rated"),
    ("evaluate", "--output"): (["evaluate", "{model}", "--data", SET, "--output", "{out}"], "rows.csv", "rated"),
    ("export", "--out"): (["export", "{exported}", "--out", "{out}"], "m.onnx", "model"),
    ("gmad tally", "--out"): (["gmad", "tally", "{votes}", "--out", "{out}"], "counts.csv", "votes"),
}
FOLDERS = {  # command, option -> a call with {out}, and the files that it writes there
    ("demo", "--out"): (["demo", "--model", "{model}", "--out", "{out}"], ["blur_0.png", "jpeg_5.png"]),
    ("degrade", "--out"): (
        ["degrade", "{photo}", "--compositions", "1", "--out", "{out}"],
        ["set.csv", "set.json", "images/a_1.png", "references/a.png"],
    ),
    ("explain", "--out"): (
        ["explain", "{photo}", "--model", "{model}", "--crop", "48", "--out", "{out}"],
        ["a.png", "explain.html", "maps/a.npz"],
    ),
    ("explain --sanity", "--out"): (
        ["explain", "{photo}", "--model", "{model}", "--crop", "48", "--sanity", "--out", "{out}"],
        ["sanity.csv", "sanity-1.png"],
    ),
    ("embed", "--out"): (
        ["embed", "{run}", "--data", SET, "--perplexity", "5", "--out", "{out}"],
        ["embed.png", "embed.html", "embed.csv", "embed.json"],
    ),
    ("gmad pairs", "--out"): (
        ["gmad", "pairs", "--defender", "{one}", "--attacker", "{two}", "--images", "{images}", "--out", "{out}"],
        ["pairs.csv", "gmad.html"],
    ),
    ("report", "--out"): (["report", "{run}", "--out", "{out}"], ["report.html", "report.md", "report.json"]),
    ("bench", "--out"): (["bench", "deiqt", "--data", SET, "--out", "{out}"], ["bench.json", "predictions.csv"]),
    ("train", "--out"): (["train", "deiqt", "--data", SET, "--out", "{out}"], ["config.yaml", "log.csv"]),
    ("convert", "--out"): (["convert", "arniqa", "{photo}", "{photo}", "--data", "live", "--out", "{out}"], ["a.csv"]),
    ("data prepare", "--out"): (
        ["data", "prepare", "csv", "{rated}", "--side", "64", "--out", "{out}"],
        ["0.png", "scores.csv", "prepared.jsonl"],
    ),
}
OWN = [key for key in FILES if key[0] not in ("batch", "data check", "gmad tally")]
BEGUN = {"train", "bench", "convert", "data prepare", "degrade"}  # refuse any folder that is not empty and not theirs
READ = {  # options that name what is read
    *("--from", "--model", "--config", "--split", "--grid", "--scores", "--images", "--weights", "--data"),
    *(
        "--test-data",
        "--cache",
        "--defender",
        "--attacker",
        "--defender-columns",
        "--attacker-columns",
        "--api-key-file",
    ),
}
PATHS = ("FILE", "FOLDER", "DIR", "PATH")


def commands(command=cli, name=""):
    if isinstance(command, click.Group):
        for word in command.list_commands(None):
            yield from commands(command.get_command(None, word), f"{name} {word}".strip())
    else:
        yield name, command


def test_every_option_that_names_an_output_is_tried_here():
    tried, found = {(name.removesuffix(" --sanity"), option) for name, option in (*FILES, *FOLDERS)}, set()
    for name, command in commands():
        for option in command.params:
            path = isinstance(option.type, click.Path) or any(word in (option.metavar or "") for word in PATHS)
            if isinstance(option, click.Option) and path and not READ & set(option.opts):
                found.add((name, next(word for word in option.opts if word.startswith("--"))))
    assert found == tried


@pytest.fixture(scope="module")
def trained(rated, small, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "run"
    launch.train("deiqt", data=f"csv={rated}", out=str(out), options={**small, "epochs": ("1", "")})
    return out


@pytest.fixture
def places(tmp_path, rated, trained, brightness):
    """Inputs of all calls, copies that a wrong command may destroy."""
    images = tmp_path / "rated"
    shutil.copytree(rated.parent, images)
    shutil.copytree(trained, tmp_path / "run")
    exported = tmp_path / "exported"
    exported.mkdir()
    for file in (brightness, card_path(brightness)):
        shutil.copy(file, exported / file.name.replace("brightness", "model"))
    for name, step in (("one", 5), ("two", 7)):
        table = [f"{n}.png,{n * step % 24}" for n in range(24)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["path,score", *table]) + "\n")
    (tmp_path / "votes.csv").write_text(
        "pair,level,attacker,defender,better,worse,attacker_better,attacker_worse,defender_better,defender_worse,vote\n"
    )
    rows = [f"{n}.png,{'yes' if n % 6 < 3 else 'no'}" for n in range(24)]
    (images / "good.csv").write_text("\n".join(["path,good", *rows]) + "\n")
    Image.open(images / "0.png").save(tmp_path / "a.png")
    return {
        "photo": tmp_path / "a.png",
        "rated": images / "scores.csv",
        "good": images / "good.csv",
        "images": images,
        "model": exported / "model.onnx",
        "run": tmp_path / "run",
        "exported": exported,
        "votes": tmp_path / "votes.csv",
        "one": tmp_path / "one.csv",
        "two": tmp_path / "two.csv",
    }


def call(words, places, out):
    return [word.format(out=out, **places) for word in words]


@pytest.mark.parametrize("key", FILES, ids=" ".join)
def test_a_foreign_file_and_an_input_stay(key, places, tmp_path, capsys):
    words, name, kept = FILES[key]
    foreign = tmp_path / "there" / name
    foreign.parent.mkdir()
    foreign.write_text("path,score\nprecious,1\n")
    for out, reason in ((foreign, "was not written by noref"), (places[kept], "")):
        before = out.read_bytes()
        for more in ([], ["--overwrite"]):
            assert run([*call(words, places, out), *more]) == 2
            err = capsys.readouterr().err
            assert reason in err or "No such option" in err
            assert out.read_bytes() == before


@pytest.mark.parametrize("key", OWN, ids=" ".join)
def test_a_file_of_its_own_is_replaced_with_overwrite_alone(key, places, tmp_path, capsys):
    words, name, _ = FILES[key]
    out = tmp_path / "new" / name
    out.parent.mkdir()
    assert [run(call(words, places, out)) for _ in range(2)] == [0, 2]
    assert "--overwrite replaces it" in capsys.readouterr().err
    assert run([*call(words, places, out), "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("key", "name"), [(key, name) for key, (_, names) in FOLDERS.items() for name in names], ids=str
)
def test_foreign_files_in_a_folder_stay(key, name, places, tmp_path, capsys):
    words, _ = FOLDERS[key]
    foreign = tmp_path / "there" / name
    foreign.parent.mkdir(parents=True)
    foreign.write_text("path,score\nprecious,1\n")
    assert run(call(words, places, tmp_path / "there")) == 2
    assert "there" in capsys.readouterr().err
    assert foreign.read_text() == "path,score\nprecious,1\n"
    beside = tmp_path / "there" / "notes.txt"
    foreign.unlink()
    beside.write_text("precious")
    if key[0] in BEGUN:
        assert run(call(words, places, tmp_path / "there")) == 2
    assert beside.read_text() == "precious"


@pytest.mark.parametrize("key", [key for key in FOLDERS if key[0] not in ("train", "bench", "convert")], ids=" ".join)
def test_a_folder_of_its_own_goes_on(key, places, tmp_path, capsys):
    words, names = FOLDERS[key]
    out = tmp_path / "new"
    more = ["--overwrite"] if key[0] == "gmad pairs" else []
    statuses = [run([*call(words, places, out), *more]) for _ in range(2)]
    assert statuses[0] == statuses[1] < 2, capsys.readouterr().err
    assert all((out / name).is_file() for name in names)


def test_a_name_that_no_file_can_have_is_a_wrong_call(places, capsys):
    assert run(["score", str(places["photo"]), "--model", str(places["model"]), "--output", "\ud800.csv"]) == 2
    assert "\\ud800.csv: no file can have this name" in capsys.readouterr().err
