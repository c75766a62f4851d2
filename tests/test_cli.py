from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from noref.cli import cli, group, run

NOREF = [sys.executable, "-c", "from noref.cli import main; main()"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three grey pictures: scores 20, 60, 80."""
    monkeypatch.chdir(tmp_path)
    for name, level in (("a", 51), ("b", 153), ("c", 204)):
        Image.new("RGB", (300, 240), (level, level, level)).save(f"{name}.png")
    return tmp_path


@pytest.fixture
def noref(folder, brightness, capfd):
    """Run `noref score ... --model brightness`; gives status, stdout, stderr."""

    def call(*args, command="score"):
        status = run([command, *args, "--model", str(brightness)])
        return status, *capfd.readouterr()

    return call


def csv_rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_a_table(noref):
    status, out, err = noref("c.png", "a.png")
    assert status == 0
    assert [line.split()[:2] for line in out.splitlines()] == [["path", "score"], ["c.png", "80.0"], ["a.png", "20.0"]]
    assert [line.count("█") for line in out.splitlines()[1:]] == [16, 4]
    assert err.startswith("2 of 2 scored, 0 failed, ")


def test_csv(noref):
    status, out, err = noref(".", "--format", "csv")
    assert status == 0
    assert err.startswith("3 of 3 scored, 0 failed, ")
    assert out.startswith("path,score,error,")
    assert [(row["path"], float(row["score"]), row["error"]) for row in csv_rows(out)] == [
        ("./a.png", pytest.approx(20, abs=1e-3), ""),
        ("./b.png", pytest.approx(60, abs=1e-3), ""),
        ("./c.png", pytest.approx(80, abs=1e-3), ""),
    ]


def test_json_lines(noref):
    status, out, _ = noref("b.png", "none.png", "-f", "jsonl")
    assert status == 1
    one, two = map(json.loads, out.splitlines())
    first = ("path", "score", "error")
    assert [one[key] for key in first] == ["b.png", pytest.approx(60, abs=1e-3), None]
    assert [two[key] for key in first] == ["none.png", None, "No such file or directory"]
    assert tuple(one)[:3] == first
    assert one["size"] == os.path.getsize("b.png")
    assert (one["model"], two["size"], two["time"]) == ("brightness", None, None)


@pytest.mark.parametrize(("name", "form"), [("rows.csv", "csv"), ("rows.jsonl", "jsonl"), ("rows.txt", "table")])
def test_the_output_files_name_chooses_the_format(noref, name, form):
    status, out, _ = noref("a.png", "--output", name)
    assert (status, out) == (0, "")
    written = Path(name).read_text()
    assert written == noref("a.png", "--format", form)[1]


def test_the_format_option_wins_over_the_name(noref):
    noref("a.png", "-o", "rows.csv", "-f", "jsonl")
    assert json.loads(Path("rows.csv").read_text())["path"] == "a.png"


@pytest.mark.parametrize(("minimum", "status"), [("10", 0), ("20.5", 3), ("100", 3), ("0", 0)])
def test_a_minimum(noref, minimum, status):
    found, _, err = noref(".", "--min", minimum)
    assert found == status
    below = sum(score < float(minimum) for score in (20, 60, 80))
    assert f"{below} below {minimum}" in err


def test_a_failure_outweighs_a_missed_minimum(noref):
    assert noref("a.png", "none.png", "--min", "90")[0] == 1


def test_recursive(noref, folder):
    (folder / "below").mkdir()
    os.rename("c.png", "below/c.png")
    assert [row["path"] for row in csv_rows(noref(".", "-f", "csv")[1])] == ["./a.png", "./b.png"]
    assert [row["path"] for row in csv_rows(noref(".", "-r", "-f", "csv")[1])] == [
        "./a.png",
        "./b.png",
        "./below/c.png",
    ]


def huge_png():
    header = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n\0\0\0\r" + header + zlib.crc32(header).to_bytes(4, "big") + b"\0\0\1\0IDAT" + bytes(300)


def test_bad_input_is_a_row_each_and_the_rest_is_scored(noref, folder):
    Path("truncated.png").write_bytes(Path("a.png").read_bytes()[:-100])
    Path("empty.png").write_bytes(b"")
    Path("text.jpg").write_text("not a picture")
    Path("huge.png").write_bytes(huge_png())
    Path("folder").mkdir()
    Path("folder.jpg").mkdir()
    Image.new("RGB", (1, 1), (51, 51, 51)).save("dot.png")
    Image.new("RGB", (3000, 40), (51, 51, 51)).save("long.png")
    odd = os.fsdecode(b"caf\xe9.png")
    Image.new("RGB", (300, 240), (51, 51, 51)).save(odd)
    reasons = {
        "truncated.png": "damaged: .*truncated",
        "empty.png": "empty file",
        "text.jpg": "not an image that can be read",
        "huge.png": "3600 megapixels are over the budget of 200",
        "dot.png": "1 x 1 pixels are too few: the least side is 16",
        "missing.png": "No such file or directory",
        "folder": "no image in this folder",
        "folder.jpg": "no image in this folder",
    }
    status, out, err = noref("a.png", *reasons, "long.png", odd, "c.png", "--format", "csv")
    rows = csv_rows(out)
    assert status == 1
    assert len(err.splitlines()) == 2  # the summary
    assert [row["path"] for row in rows] == ["a.png", *reasons, "long.png", r"caf\xe9.png", "c.png"]
    for row in rows:
        if row["path"] in reasons:
            assert row["score"] == ""
            assert re.fullmatch(f"{reasons[row['path']]}.*", row["error"])
        else:
            assert float(row["score"]) == pytest.approx(80 if row["path"] == "c.png" else 20, abs=1e-3)
            assert row["error"] == ""


def test_an_unreadable_file_is_a_row(noref, monkeypatch):
    opened = Path.open

    def refuse(path, *args, **options):
        if path.name == "a.png":
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **options)

    monkeypatch.setattr(Path, "open", refuse)
    status, out, _ = noref("a.png", "b.png", "-f", "csv")
    assert status == 1
    assert [row["error"] for row in csv_rows(out)] == ["Permission denied", ""]


def test_the_budget_is_an_option(noref):
    assert "over the budget" in noref("a.png", "--max-megapixels", "0.07")[1]
    assert noref("a.png", "--max-megapixels", "0.072")[0] == 0


def test_a_larger_budget_moves_pillows_limit_for_the_run_only(noref, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    status, out, _ = noref("a.png", "-f", "csv", "--max-megapixels", "0.073")
    assert (status, csv_rows(out)[0]["error"]) == (0, "")
    assert Image.MAX_IMAGE_PIXELS == 10_000


def test_pillows_warnings_stay_off_the_terminal(noref, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50_000)  # a.png has 72,000: a warning, no error
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert noref("a.png", "-f", "csv", "--max-megapixels", "0.09")[0] == 0
    assert not seen


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (["score", "a.png", "--recursiv"], "--recursive"),
        (["score", "a.png", "--format", "xml"], "'csv'"),
        (["score", "a.png", "--min", "high"], "not a valid float"),
        (["score", "a.png", "--min", "101"], "min must be 0-100"),
        (["score", "a.png", "--min", "nan"], "min must be 0-100"),
        (["score", "a.png", "--threads", "0"], "threads must be 1-256"),
        (["score", "a.png", "--max-megapixels", "-1"], "max_megapixels must be above 0"),
        (["score", "a.png", "--max-megapixels", "inf"], "max_megapixels must be above 0"),
        (["score"], "PATH..."),
        (["scoer", "a.png"], "did you mean score or"),
        (["score", "a.png", "--output", "no/such/folder/rows.csv"], "cannot be written: No such file"),
        (["score", "a.png", "--output", "."], "cannot be written: Is a directory"),
        (["score", "a.png", "--output", "./a.png"], "one of the images to score"),
    ],
)
def test_a_wrong_call_is_2_with_a_hint(folder, brightness, capfd, args, hint):
    before = Path("a.png").read_bytes()
    status = run([*args, "--model", str(brightness)] if len(args) > 1 else args)
    out, err = capfd.readouterr()
    assert (status, out) == (2, "")
    assert hint in err
    assert "Traceback" not in err
    assert Path("a.png").read_bytes() == before


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        ([], "Missing argument RECIPE, one of arniqa, csiqa, deiqt, "),
        (["diqt"], "unknown recipe 'diqt': did you mean deiqt?"),
        (["diqt", "--help"], "unknown recipe 'diqt': did you mean deiqt?"),
        (["deiqt"], "Missing option --out."),
    ],
)
def test_train_says_first_which_recipes_there_are(args, hint, capfd):
    assert run(["train", *args]) == 2
    assert hint in capfd.readouterr().err


def test_the_help_of_train_names_every_recipe(capfd):
    from noref.methods import METHODS

    assert run(["train", "--help"]) == 0
    out = capfd.readouterr().out
    assert all(name in out for name in METHODS)


@pytest.mark.parametrize(
    ("model", "hint"),
    [
        ("defualt", "did you mean default?"),
        ("no.onnx", "no such model file"),
        ("mine", "known are default (or give an .onnx file)"),
    ],
)
@pytest.mark.parametrize("command", [["score", "a.png"], ["demo"]])
def test_an_unknown_model_is_2(folder, capfd, command, model, hint):
    assert run([*command, "--model", model]) == 2
    assert hint in capfd.readouterr().err


def test_a_broken_model_is_1_and_keeps_earlier_results(folder, capfd, make_model):
    text = (
        """<ir_version: 8, opset_import: ["" : 17]> x (float[n] image) => (float[n] quality) {quality = Abs(image)}"""
    )
    Path("rows.csv").write_text("precious")
    broken = make_model(text)
    assert run(["score", "a.png", "--model", str(broken), "--output", "rows.csv"]) == 1
    assert re.match(r"Error: .*other\.onnx: the input must be uint8", capfd.readouterr().err)
    broken.write_bytes(b"broken")
    assert run(["score", "a.png", "--model", str(broken), "--output", "rows.csv"]) == 1
    assert re.match(r"Error: .*other\.onnx: sha256", capfd.readouterr().err)
    assert Path("rows.csv").read_text() == "precious"


def test_a_full_disk_is_no_traceback(folder, brightness, capfd):
    assert run(["score", "a.png", "--model", str(brightness), "--output", "/dev/full"]) == 1
    assert capfd.readouterr().err == "Error: No space left on device\n"


@pytest.mark.parametrize("command", [[], *([name] for name in cli.list_commands(None))])
def test_every_command_has_help(command, capfd):
    assert run([*command, "--help"]) == 0
    out, err = capfd.readouterr()
    assert out.startswith(f"Usage: noref {' '.join(command)}".rstrip())
    assert err == ""


def test_help_lists_commands_and_exit_statuses(capfd):
    run(["--help"])
    out = capfd.readouterr().out
    for word in ("score", "demo", "Exit status", "0 all done", "--version"):
        assert word in out


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_version(option, capfd):
    import noref as package

    assert run([option]) == 0
    assert capfd.readouterr().out == f"noref {package.__version__}\n"


@pytest.mark.parametrize("words", [[], ["score"], ["gmad"], ["gmad", "pairs"], ["train", "deiqt"], ["help"]])
def test_help_as_a_command_says_what_the_option_says(words, capfd):
    assert run([*words, "--help"]) == 0
    wanted = capfd.readouterr().out
    assert run(["help", *words]) == 0
    assert capfd.readouterr() == (wanted, "")


@pytest.mark.parametrize("words", [["scoer"], ["gmad", "scoer"]])
def test_help_of_an_unknown_command_is_2(words, capfd):
    assert run(["help", *words]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert "unknown command 'scoer'" in err


def test_the_package_runs_as_a_module(folder, brightness):
    def output(*start):
        words = ["score", ".", "none.png", "-f", "csv", "--quiet", "--model", str(brightness)]
        done = subprocess.run([*start, *words], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    assert output(sys.executable, "-m", "noref") == output(*NOREF)
    done = subprocess.run([sys.executable, "-m", "noref", "scoer"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: noref [OPTIONS]")


def test_demo_fails_where_scores_do_not_fall(noref):
    status, out, _ = noref(command="demo")  # blur leaves the brightness as it is
    assert status == 1
    assert "does not fall" in out


def test_demo_keeps_pictures_where_asked(noref, folder):
    noref("--out", "kept", command="demo")
    assert len(list((folder / "kept").iterdir())) == 12
    assert noref("--out", "kept", command="demo")[0] == 1  # the scores of this model do not fall
    Path("kept/blur_0.png").write_text("precious")
    assert noref("--out", "kept", command="demo")[0] == 2
    assert Path("kept/blur_0.png").read_text() == "precious"


def start(args, brightness, **options):
    return subprocess.Popen([*NOREF, "score", *args, "--model", str(brightness)], stdout=subprocess.PIPE, **options)


def test_a_closed_pipe_is_quiet(folder, brightness):
    for i in range(200):
        os.symlink("a.png", f"link_{i}.png")
    process = start([".", "-f", "csv"], brightness, stderr=subprocess.PIPE)
    assert process.stdout.readline().startswith(b"path,score,error,")
    process.stdout.close()
    assert process.wait() == 141
    assert process.stderr.read() == b""


ENDLESS = """
import time
import noref.scoring.scorer as scorer
from noref.cli import main

def read(source, read=scorer.read, **options):
    time.sleep(600 if "endless" in str(source) else 0)
    return read(source, **options)

scorer.read = read
main()
"""


def test_ctrl_c_keeps_what_was_scored(folder, brightness):
    Path("endless.png").touch()
    paths = ["a.png", "b.png", "none.png", "endless.png", "c.png"]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits that it is ignored
    words = ["score", *paths, "-o", "rows.csv", "--model", str(brightness)]
    process = subprocess.Popen([sys.executable, "-c", ENDLESS, *words], stderr=subprocess.PIPE)
    while not Path("rows.csv").exists() or Path("rows.csv").read_text().count("\n") < 4:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    assert b"Traceback" not in process.stderr.read()
    rows = csv_rows(Path("rows.csv").read_text())
    assert [(row["path"], bool(row["score"])) for row in rows] == [
        ("a.png", True),
        ("b.png", True),
        ("none.png", False),
    ]


def test_a_process_writes_utf8_whatever_the_terminal(folder, brightness):
    os.rename("a.png", "é写.png")
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    for form, shown in (("csv", "é写.png,20.0000,"), ("table", r"\xe9\u5199.png")):
        process = start(["é写.png", "-f", form], brightness, env=environment, stderr=subprocess.DEVNULL)
        assert shown in process.communicate()[0].decode("utf-8")
        assert process.returncode == 0


def test_progress_is_on_a_terminal_only(folder, brightness):
    parent, child = os.openpty()
    with os.fdopen(parent, "rb", buffering=0) as terminal:
        process = start(["a.png", "b.png", "c.png", "-f", "csv"], brightness, stderr=child)
        os.close(child)
        shown = b""
        try:
            while piece := terminal.read(1000):
                shown += piece
        except OSError:  # the other end is closed
            pass
        out = process.communicate()[0].decode()
    assert process.returncode == 0
    assert "3/3" in shown.decode()
    assert len(csv_rows(out)) == 3
    assert "\x1b" not in out


def test_scores_on_the_command_line_are_the_librarys(noref, brightness):
    from noref import Scorer

    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (260, 280, 3), dtype=np.uint8)).save("noise.jpg")
    (row,) = csv_rows(noref("noise.jpg", "-f", "csv")[1])
    assert float(row["score"]) == pytest.approx(Scorer(brightness).score("noise.jpg").value, abs=1e-3)


def test_photos_and_foreign_files_are_never_overwritten(noref, folder):
    Path("notes.csv").write_text("path,score\na.png,4\n")
    Path("empty.csv").touch()
    before = {name: Path(name).read_bytes() for name in ("a.png", "b.png", "c.png", "notes.csv")}
    for overwrite in ([], ["--overwrite"]):
        status, out, err = noref("-o", "a.png", "b.png", "c.png", *overwrite)  # what the shell makes of: -o *.png
        assert (status, out) == (2, "")
        assert "a.png: is there and was not written by noref" in err
        assert noref("-o", "notes.csv", "b.png", *overwrite)[0] == 2
        assert noref("-o", "a.png", ".", *overwrite)[0] == 2
    assert {name: Path(name).read_bytes() for name in before} == before
    assert noref("-o", "empty.csv", "b.png")[0] == 0


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.txt"])
def test_a_table_is_replaced_only_where_asked(noref, name):
    assert noref("a.png", "-o", name)[0] == 0
    before = Path(name).read_text()
    status, _, err = noref("b.png", "-o", name)
    assert status == 2
    assert "--overwrite" in err
    assert Path(name).read_text() == before
    assert noref("b.png", "-o", name, "--overwrite")[0] == 0
    assert "b.png" in Path(name).read_text()
    assert "a.png" not in Path(name).read_text()


def test_a_table_of_an_earlier_version_may_be_replaced(noref):
    Path("rows.csv").write_text("path,score,error\na.png,1.0000,\n")
    assert noref("a.png", "-o", "rows.csv")[0] == 2
    assert noref("a.png", "-o", "rows.csv", "--overwrite")[0] == 0


@pytest.mark.parametrize(
    "words", [["score"], ["explain", "--out", "maps"], ["degrade", "--out", "set", "--compositions", "1"]]
)
def test_one_unreadable_file_is_listed_and_the_others_go_on(noref, monkeypatch, words, capfd):
    opened = Path.open

    def refuse(path, *args, **options):
        if Path(path).name == "a.png":
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **options)

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(os, "access", lambda path, mode, **options: Path(path).name != "a.png")
    status = run([words[0], "a.png", "b.png", *words[1:]])
    out, err = capfd.readouterr()
    assert status == 1
    assert re.search("a.png.*Permission denied", out + err)
    if words[0] == "score":
        assert re.search(r"b\.png +\d", out)
    else:
        assert list(Path(words[2]).rglob("b*.png"))


def test_links_to_themselves_pipes_and_urls_are_rows(noref, folder):
    Path("d").mkdir()
    os.symlink("self.jpg", "d/self.jpg")
    os.symlink("loop", "d/loop")
    os.mkfifo("pipe.jpg")
    url = "https://example.org/photo.jpg"
    status, out, _ = noref("d", "pipe.jpg", url, "/dev/null", "a.png", "-f", "csv")
    rows = {row["path"]: row["error"] for row in csv_rows(out)}
    assert status == 1
    assert list(rows) == ["d/self.jpg", "pipe.jpg", url, "/dev/null", "a.png"]
    assert "symbolic links" in rows["d/self.jpg"]
    assert rows["pipe.jpg"] == rows["/dev/null"] == "not a regular file; a picture can be given on standard input as -"
    assert rows[url] == "URLs are not fetched; download it first"
    assert rows["a.png"] == ""


def test_patterns_that_the_shell_left(noref):
    rows = csv_rows(noref("*.png", "[ab].png", "x*.png", "-f", "csv")[1])
    assert [row["path"] for row in rows] == ["a.png", "b.png", "c.png", "a.png", "b.png", "x*.png"]
    assert rows[-1]["error"] == "no file fits this pattern"


def paths_of(out):
    return [row["path"] for row in csv_rows(out)]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--sort", "score"], "cbax"),
        (["--top", "2"], "cbx"),
        (["--bottom", "2"], "abx"),
        (["--bottom", "9"], "abcx"),
        (["--below", "60.1"], "bxa"),
        (["--above", "20.1"], "bxc"),
        (["--above", "20.1", "--below", "79", "--sort", "score"], "bx"),
    ],
)
def test_rows_are_sorted_and_selected(noref, words, wanted):
    status, out, err = noref("b.png", "x.png", "c.png", "a.png", "-f", "csv", *words)
    assert status == 1
    assert paths_of(out) == [f"{letter}.png" for letter in wanted]
    first, second = err.splitlines()
    assert first.startswith("3 of 4 scored, 1 failed, ")
    assert second == "mean 53.3; percentiles 5 % 24.0, 25 % 40.0, 50 % 60.0, 75 % 70.0, 95 % 78.0"


def test_paths_for_xargs(folder, capfdbinary, brightness):
    odd = b"odd \n caf\xe9.png"
    os.rename("a.png", os.fsdecode(odd))
    words = ["score", os.fsdecode(odd), "none.png", "c.png", "--below", "50", "-f", "paths", "--model", str(brightness)]
    assert run([*words, "-q", "-0"]) == 1
    assert capfdbinary.readouterr() == (odd + b"\0", b"none.png: No such file or directory\n")
    assert run([*words, "-q", "-0", "-o", "list"]) == 1
    assert Path("list").read_bytes() == odd + b"\0"


def test_quiet(noref):
    assert noref("a.png", "b.png", "-q", "-f", "csv")[2] == ""
    assert noref("a.png", "-q")[2] == ""


@pytest.mark.parametrize("end", ["\n", "\r\n", "\0"])
@pytest.mark.parametrize("words", [["--from", "list"], ["--from", "-"], ["-"]])
def test_lists_of_paths(noref, monkeypatch, end, words):
    data = f"c.png{end}a.png{end}{end}none.png{end}".encode()
    Path("list").write_bytes(data)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    status, out, err = noref("b.png", *words, "-f", "csv")
    assert status == 1
    assert paths_of(out) == ["b.png", "c.png", "a.png", "none.png"]
    assert ("a list of 3 paths" in err) == (words == ["-"])


def test_a_picture_on_standard_input(noref, monkeypatch):
    data = Path("b.png").read_bytes()
    for content, error in ((data, ""), (data[:-90], "damaged"), (b"", "empty file"), (b"\xff\0\x01", "not an image")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        status, out, err = noref("-", "-f", "csv")
        (row,) = csv_rows(out)
        assert (status, row["path"], row["size"], row["time"]) == (int(bool(error)), "-", str(len(content)), "")
        assert row["error"].startswith(error)
        assert "standard input is a picture" in err


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--top", "1", "--bottom", "1"], "choose one"),
        (["--top", "0"], "top must be 1 or more"),
        (["--below", "101"], "below must be 0-100"),
        (["-0"], "-0 goes with --format paths"),
        (["--from", "none.txt"], "none.txt: the list cannot be read"),
        (["-", "--from", "-"], "once only"),
        (["-o", "rows.xlsx"], ".csv and .jsonl are"),
        (["-o", "rows.csv", "--resume", "--top", "1"], "needs all its rows"),
    ],
)
def test_selections_that_are_refused(noref, words, hint):
    status, out, err = noref("a.png", *words)
    assert (status, out) == (2, "")
    assert hint in err


def test_every_command_has_a_home_and_score_imports_no_other():
    homes = {path.stem for path in Path(group.__file__).parent.glob("*.py")} - {"__init__", "group"}
    assert set(group.HOMES.values()) == homes
    for name in cli.list_commands(None):
        assert cli.get_command(None, name).name == name
    assert set(cli.commands) == {*group.HOMES, "help"}
    code = "import sys; from noref.cli import run; run(['score', '--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {name for name in done.stdout.split() if name.startswith("noref.cli.")} == {
        "noref.cli.group",
        "noref.cli.pictures",
    }
