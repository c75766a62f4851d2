"""`noref gmad`: from tables, models and folders to pairs, a page, and counted votes."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
import re
import sys
import types

import numpy as np
import pytest
from PIL import Image

from noref.cli import run

pytest.importorskip("jinja2", reason="needs the report extra")

DARKNESS = """
<ir_version: 8, opset_import: ["" : 17]>
darkness (uint8[n, h, w, 3] image) => (float[n] quality)
{
    level = Cast<to = 1>(image)
    mean = ReduceMean<axes = [1, 2, 3], keepdims = 0>(level)
    top = Constant<value_float = 255.0>()
    light = Div(mean, top)
    one = Constant<value_float = 1.0>()
    quality = Sub(one, light)
}
"""


@pytest.fixture
def photos(tmp_path):
    """Twelve grey images, from black to white, in a folder and one below it."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for i in range(12):
        place = folder / "more" if i % 3 == 0 else folder
        Image.new("RGB", (320, 240), (20 * i,) * 3).save(place / f"{i:02}.png")
    return folder


def names(photos):
    return sorted(str(path.relative_to(photos)) for path in photos.rglob("*.png"))


def table(path, paths, scores, header="path,score"):
    path.write_text(header + "\n" + "".join(f"{p},{s}\n" for p, s in zip(paths, scores, strict=True)))
    return str(path)


@pytest.fixture
def two(tmp_path, photos):
    rng = np.random.default_rng(0)
    paths = names(photos)
    first = table(tmp_path / "first.csv", paths, rng.permutation(12))
    second = table(tmp_path / "second.csv", [f"{photos}/{p}" for p in paths[::-1]], rng.permutation(12), "path,score")
    return ["gmad", "pairs", "--defender", first, "--attacker", second, "--images", str(photos)]


def rows(out):
    return list(csv.DictReader((out / "pairs.csv").open()))


def test_two_tables_give_pairs_and_a_page(two, tmp_path, capsys):
    out = tmp_path / "deep" / "contest"
    assert run([*two, "--levels", "3", "--top", "2", "--out", str(out)]) == 0
    assert "12 pairs from 12 images" in capsys.readouterr().out
    found = rows(out)
    assert [(r["defender"], r["attacker"]) for r in found] == [("first", "second")] * 6 + [("second", "first")] * 6
    assert [r["level"] for r in found[:6]] == list("112233")
    for row in found:
        assert float(row["attacker_better"]) > float(row["attacker_worse"])


def test_the_page_holds_the_pictures_and_asks_nobody(two, tmp_path, photos):
    out = tmp_path / "contest"
    assert run([*two, "--levels", "2", "--side", "100", "--out", str(out)]) == 0
    page = (out / "gmad.html").read_text()
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "http:" not in page
    assert "https:" not in page
    shown = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)" alt="(left|right) picture of pair ([\d-]+)"', page)
    assert len(shown) == 8
    by_pair = {row["pair"]: row for row in rows(out)}
    for data, place, pair in shown:
        row = by_pair[pair]
        expected = row["better"] if (place == "left") == (row["left"] == "better") else row["worse"]
        image = Image.open(io.BytesIO(base64.b64decode(data)))
        assert image.size == (100, 75)  # 320 x 240 made to fit
        grey = np.asarray(image).mean()
        assert grey == pytest.approx(np.asarray(Image.open(photos / expected)).mean(), abs=2)


def test_what_the_page_saves_is_what_is_counted(two, tmp_path, capsys):
    out = tmp_path / "contest"
    run([*two, "--levels", "2", "--out", str(out)])
    page = (out / "gmad.html").read_text()
    data = json.loads(html.unescape(re.search(r'id="pairs">(.*?)</script>', page, re.S)[1]))
    votes = tmp_path / "votes.csv"
    with votes.open("w", newline="") as file:
        writer = csv.DictWriter(file, data["columns"])
        writer.writeheader()
        for pair in data["pairs"]:  # this reader always sees what the attacker `second` sees
            side = "left" if pair["left"] == "better" else "right"
            writer.writerow(pair | {"vote": side if pair["attacker"] == "second" else "same"})
    capsys.readouterr()
    assert run(["gmad", "tally", str(votes), "--out", str(tmp_path / "counts.csv")]) == 0
    said = capsys.readouterr().out
    assert re.search(r"first +second +2 +2 +0.00 .* 1.00 ", said)
    assert re.search(r"second +first +2 +2 +1.00 .* 0.00 ", said)
    ranked = said[said.index("model ") :].splitlines()[1:3]
    assert [line.split()[0] for line in ranked] == ["second", "first"]
    assert (tmp_path / "counts.csv").read_text().count("\n") == 3


def test_names_of_files_and_models_cannot_break_the_page(tmp_path):
    nasty = "<img src=x onerror=alert(1)>&\"'.png"
    paths = [nasty, "b.png", "c.png", "d.png"]
    for i, path in enumerate(paths):
        Image.new("RGB", (64, 64), (60 * i,) * 3).save(tmp_path / path)
    for name, scores in (("x.csv", [1, 2, 3, 4]), ("y.csv", [4, 3, 2, 1])):
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file).writerows([["path", "score"], *zip(paths, scores, strict=True)])
    command = ["gmad", "pairs", "--defender", str(tmp_path / "x.csv"), "--attacker", str(tmp_path / "y.csv")]
    assert run([*command, "--levels", "1", "--defender-name", "</script>", "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "gmad.html").read_text()
    assert "<img src=x" not in page
    assert page.count("</script>") == 2
    assert rows(tmp_path / "out")[0]["worse"] in paths


def test_a_model_scores_the_images_of_a_table(photos, tmp_path, brightness):
    paths = names(photos)
    other = table(tmp_path / "other.csv", paths, range(12), "file,points")
    command = ["gmad", "pairs", "--defender", str(brightness), "--defender-name", "bright", "--attacker", other]
    out = tmp_path / "out"
    assert (
        run(
            [*command, "--attacker-columns", "file,points", "--images", str(photos), "--levels", "2", "--out", str(out)]
        )
        == 0
    )
    for row in rows(out)[:2]:
        grey = 20 * int(row["better"][-6:-4])
        assert float(row["defender_better"]) == pytest.approx(100 * grey / 255, abs=0.01)


def test_two_models_score_a_folder_and_what_below_it(photos, tmp_path, brightness, make_model):
    dark = make_model(DARKNESS, name="dark")
    command = ["gmad", "pairs", "--defender", str(brightness), "--attacker", str(dark), "--attacker-name", "dark"]
    out = tmp_path / "out"
    (photos / "broken.png").write_bytes(b"no image")
    status = run([*command, "--images", str(photos), "--levels", "3", "--out", str(out)])
    assert status == 1  # the broken one is listed, the others compete
    found = rows(out)
    assert len(found) == 6
    for row in found:  # the dark model prefers what is darker
        darker, lighter = (row["better"], row["worse"]) if row["attacker"] == "dark" else (row["worse"], row["better"])
        assert int(darker[-6:-4]) < int(lighter[-6:-4])


def test_a_broken_image_is_listed_with_the_reason(photos, tmp_path, brightness, capsys):
    (photos / "broken.png").write_bytes(b"no image")
    paths = [*names(photos)]
    other = table(tmp_path / "other.csv", paths, range(13))
    command = ["gmad", "pairs", "--defender", str(brightness), "--attacker", other, "--images", str(photos)]
    assert run([*command, "--levels", "2", "--out", str(tmp_path / "out")]) == 1
    shown = capsys.readouterr()
    assert "left out: broken.png" in shown.err
    assert "not an image that can be read" in shown.err
    assert "from 12 images" in shown.out


@pytest.mark.parametrize("lower", [False, True])
def test_a_metric_of_iqa_pytorch_is_used_where_it_is_there(photos, tmp_path, monkeypatch, lower):
    torch = pytest.importorskip("torch", reason="needs the train extra")

    class Metric:
        lower_better = lower

        def __call__(self, pixels):
            assert pixels.shape == (1, 3, 240, 320)
            return pixels.mean().reshape(1, 1)

    fake = types.ModuleType("pyiqa")
    fake.list_models = lambda: ["niqe", "brisque"]
    fake.create_metric = lambda name, device: Metric()
    monkeypatch.setitem(sys.modules, "pyiqa", fake)
    assert torch is not None
    other = table(tmp_path / "other.csv", names(photos), [int(p[-6:-4]) for p in names(photos)])
    command = ["gmad", "pairs", "--defender", other, "--attacker", "pyiqa:niqe", "--images", str(photos)]
    out = tmp_path / "out"
    assert run([*command, "--levels", "1", "--out", str(out)]) == 0
    first = rows(out)[0]
    assert first["attacker"] == "pyiqa:niqe"
    assert (first["better"] == "more/00.png") == lower
    page = (out / "gmad.html").read_text()
    assert f"pyiqa:niqe: {'lower' if lower else 'higher'} is better" in page
    assert run([*command[:-4], "--attacker", "pyiqa:niqee", "--images", str(photos), "--out", str(out)]) == 2


def test_iqa_pytorch_that_is_not_there_is_one_line(two, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    command = [*two, "--out", str(tmp_path / "out")]
    command[command.index("--attacker") + 1] = "pyiqa:niqe"
    assert run(command) == 2
    assert capsys.readouterr().err == "Error: pyiqa:niqe needs IQA-PyTorch, which is not installed: pip install pyiqa\n"


def test_calls_that_cannot_work(two, tmp_path, photos, capsys):
    out = ["--out", str(tmp_path / "out")]

    def fails(command, status, reason):
        assert run(command) == status
        assert reason in capsys.readouterr().err

    fails([*two, *out, "--levels", "12"], 1, "level 1 has too few images")
    fails([*two, *out, "--levels", "0"], 2, "levels must be 1 or more")
    fails([*two, *out, "--side", "3"], 2, "side must be 32 pixels")
    fails([*two, *out, "--attacker-columns", "path"], 2, "--attacker-columns must be two headers")
    fails([*two, *out, "--attacker-columns", "path,niqe"], 1, "column niqe missing")
    fails([*two, *out, "--attacker-name", "first"], 2, "both models are called 'first'")
    fails([*two[:-1], str(tmp_path / "nowhere"), *out], 2, "nowhere: no such folder")
    fails([*two[:2], "--defender", "default", "--attacker", "x.onnx", *out], 2, "--images FOLDER")
    fails([*two[:2], "--defender", "none.csv", "--attacker", "default", *out], 1, "none.csv: No such file")
    fails([*two[:4], "--attacker", "defautl", "--images", str(photos), *out], 2, "defautl")
    fails(["gmad", "pair"], 2, "did you mean pairs?")
    (tmp_path / "file").write_text("")
    fails([*two, "--levels", "2", "--out", str(tmp_path / "file")], 2, "cannot be written")
    assert not (tmp_path / "out" / "gmad.html").exists()


def test_an_image_of_a_pair_that_is_not_there_is_named(tmp_path, capsys):
    first = table(tmp_path / "x.csv", ["a.png", "b.png"], [1, 2])
    second = table(tmp_path / "y.csv", ["a.png", "b.png"], [2, 1])
    command = ["gmad", "pairs", "--defender", first, "--attacker", second, "--levels", "1", "--out", str(tmp_path)]
    assert run(command) == 1
    assert "a.png: no such image in" in capsys.readouterr().err


def test_levels_of_equal_width_say_what_is_missing(tmp_path, photos, capsys):
    paths = names(photos)
    first = table(tmp_path / "x.csv", paths, [*range(11), 1000])
    second = table(tmp_path / "y.csv", paths, range(12))
    command = ["gmad", "pairs", "--defender", first, "--attacker", second, "--images", str(photos), "--groups", "width"]
    assert run([*command, "--levels", "3", "--out", str(tmp_path / "out")]) == 0
    assert "2 pairs fewer than asked for" in capsys.readouterr().err


def test_votes_that_cannot_be_counted(tmp_path, capsys):
    assert run(["gmad", "tally", str(tmp_path / "none.csv")]) == 1
    assert "none.csv" in capsys.readouterr().err
    assert run(["gmad", "tally"]) == 2


def test_only_its_own_files_are_replaced(two, tmp_path, capsys):
    out = tmp_path / "competition"
    words = [*two, "--levels", "2", "--out", str(out)]
    assert run(words) == 0
    assert run(words) == 2
    assert "pairs.csv: is there; --overwrite replaces it" in capsys.readouterr().err
    assert run([*words, "--overwrite"]) == 0
    for name in ("pairs.csv", "gmad.html"):
        before = (out / name).read_bytes()
        (out / name).write_text("precious")
        assert run([*words, "--overwrite"]) == 2
        assert f"{name}: is there and was not written by noref" in capsys.readouterr().err
        assert (out / name).read_text() == "precious"
        (out / name).write_bytes(before)


def test_a_tally_is_not_written_over_votes_or_photos(tmp_path, photos, capsys):
    votes = tmp_path / "votes.csv"
    votes.write_text("precious")
    for target in (votes, photos / "01.png"):
        assert run(["gmad", "tally", str(votes), "--out", str(target), "--overwrite"]) == 2
    assert votes.read_text() == "precious"
