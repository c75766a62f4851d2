from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats

from noref.cli import run
from noref.evaluate.published import beside
from noref.report.build import build_report
from noref.report.formatting import SELECTIONS

VOID = {"meta", "link", "img", "br"}
LOADS = {"src", "href", "xlink:href", "srcset", "poster", "data", "action"}


class Page(HTMLParser):
    """Checks that elements close in order, and collects what a page would load, its words and its alt texts."""

    def __init__(self, text):
        super().__init__()
        self.open, self.loads, self.words, self.alts, self.scopes, self.ids, self.scripts = [], [], [], [], [], [], 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.loads += [value for name, value in attrs if name in LOADS]
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.scripts += tag == "script"
        if tag == "img":
            self.alts.append(attributes["alt"])
        if tag == "th":
            self.scopes.append(attributes["scope"])
        if tag == "svg":
            assert attributes.get("aria-label") or attributes.get("aria-hidden") == "true"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def pages(folder, **options):
    """The three files of a folder's report; the page's form is checked."""
    page = build_report(folder, draws=20, **options).write(folder)
    text = page.read_text(encoding="utf-8")
    parsed = Page(text)
    assert parsed.open == []
    assert len(set(parsed.ids)) == len(parsed.ids)
    for address in parsed.loads:
        assert address.startswith(("data:", "#"))
        assert not address.startswith("#") or address[1:] in parsed.ids
    assert not re.search(r"url\(|@import|https?://", text)
    markdown = page.with_suffix(".md").read_text(encoding="utf-8")
    content = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert not re.search(r"\bnan\b", parsed.text + markdown, flags=re.IGNORECASE)
    return parsed, markdown, content


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos") / "set"
    (folder / "img").mkdir(parents=True)
    for i in range(20):
        Image.new("RGB", (64, 48), (10 * i, 90, 90)).save(folder / f"img/{i:03}.png")
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory, write_bench, rows_of, photos):
    """Two variants, two sets, two fractions, one failed run, one constant cell."""
    rows = []
    for variant in ("base", "more"):
        for split in range(2):
            rows += rows_of(variant=variant, split=split)
            rows += rows_of(variant=variant, split=split, fraction=0.2, noise=0.3)
            rows += rows_of(
                variant=variant, split=split, test_set="live", low=-3, high=112, higher_is_better=False,
                distortions=("blur", "noise"), images=20, names=[f"live/{i}.png" for i in range(20)],
            )  # fmt: skip
    constant = [{**row, "predicted": 50.0, "quality": 0.5} for row in rows_of(variant="base", split=2)]
    about = {
        "recipe": "deiqt",
        "hardware": "a machine",
        "commit": "abc123",
        "protocol": {"division": "3 random splits 80/20, seeds 0-2"},
        "options": {"backbone": "mobilenetv2_100", "width": None},
        "variants": {"more": {"clip": 0.3}, "base": {}},
        "data": {
            "livec": {
                "root": str(photos),
                "images": 931,
                "shortfall": "931 of 1162 images, 231 missing",
                "checksum": "c0ffee",
            },
            "live": {"note": "realigned DMOS"},
        },
        "splits": [{"split": 0, "training_set": "livec", "file": "splits/a.json", "checksum": "5eed", "train": 9}],
        "cells": {"wanted": 10, "done": 7, "failed": [{"cell": "runs/more/x", "reason": "loss is not finite"}]},
        "seconds": {"a": 60, "b": 180},
    }
    return write_bench(tmp_path_factory.mktemp("whole") / "bench", rows + constant, about)


@pytest.fixture(scope="module")
def whole_pages(whole):
    return pages(whole)


def test_metrics_of_the_json_by_hand(whole, whole_pages):
    _, _, content = whole_pages
    frame = pd.read_csv(whole / "predictions.csv", keep_default_na=False)
    assert len(content["results"]) == 6
    for result in content["results"]:
        keys = ["variant", "training_set", "test_set", "fraction"]
        own = frame[(frame[keys] == [result[key] for key in keys]).all(axis=1)]
        own = own.groupby("cell").filter(lambda cell: cell.quality.nunique() > 1)
        cells = [cell for _, cell in own.groupby("cell")]
        by_hand = {
            "srcc": [stats.spearmanr(c.quality, c.human).statistic for c in cells],
            "plcc": [stats.pearsonr(c.quality, c.human).statistic for c in cells],
            "krcc": [stats.kendalltau(c.quality, c.human).statistic for c in cells],
            "rmse": [np.sqrt(np.mean((c.predicted - c.score) ** 2)) for c in cells],
        }
        for name, values in by_hand.items():
            wanted = pd.Series(values)
            found = result[name]
            assert found["mean"] == pytest.approx(wanted.mean())
            assert found["median"] == pytest.approx(wanted.median())
            assert found["std"] == pytest.approx(wanted.std())
        assert result["srcc"]["low"] <= result["srcc"]["mean"] <= result["srcc"]["high"]
        assert result["plcc_logistic4"]["mean"] >= result["plcc"]["mean"] - 1e-6
        assert result["images"] == own.path.nunique()


def test_the_page_says_what_a_reader_must_know(whole_pages):
    page, markdown, content = whole_pages
    for text in (page.text, markdown.replace("\\", ""), " ".join(content["warnings"])):
        assert "Not finished: 7 of 10 training runs are done" in text
        assert "931 of 1162 images, 231 missing" in text
        assert "realigned DMOS" in text
        assert "1 cell without metrics: base/livec-2-1 on livec: constant predictions" in text
    for text in (page.text, markdown.replace("\\", "")):
        assert "DMOS -3 to 112, lower is better; quality is (112 - score) / 115" in text
        assert "loss is not finite" in text
        for words in ("a machine", "abc123", "c0ffee", "5eed", "splits/a.json", "mobilenetv2_100", "0.3", "2.0 min"):
            assert words in text
        assert "rained on LIVE In the Wild, tested on all of LIVE" in text
        assert "grid: a fixed grid" in text
        assert "the last epoch" in text
    assert content["cells"]["failed"] == [{"cell": "runs/more/x", "reason": "loss is not finite"}]


def test_ours_stands_among_the_published_rows(whole_pages):
    page, _, content = whole_pages
    table = next(t for t in content["published"] if t["test_set"] == "livec" and t["fraction"] == 1)
    values = [row["srcc"] for row in table["rows"] if "," not in row["name"]]
    assert {row["name"] for row in table["rows"] if row["ours"]} == {"base", "more"}
    printed = {(row.method, row.srcc, row.plcc) for row in beside("livec", "livec") if not row.variant}
    assert printed <= {(row["name"], row["srcc"], row["plcc"]) for row in table["rows"]}
    assert values[: len(printed)] == sorted(values[: len(printed)], reverse=True)
    assert any("mobilenetv2_100" in sentence for sentence in table["differs"])
    assert any("takes the best on the test part" in sentence for sentence in table["differs"])
    assert "LML-IQA" in page.text


def test_every_section_of_a_whole_bench_is_there(whole_pages):
    page, _, content = whole_pages
    for place in ("results", "comparisons", "published", "fractions", "cross", "scatter", "kinds", "photos", "how"):
        assert place in page.ids
    assert set(page.scopes) <= {"row", "col", "rowgroup"}
    assert page.scripts == 1
    assert any("human score" in alt for alt in page.alts)
    assert content["baseline"] == "more"  # the first variant of the bench
    found = [(one["first"]["variant"], one["second"]["variant"]) for one in content["comparisons"]]
    assert ("base", "more") in found
    assert all(one["srcc"]["words"].startswith(("better by", "worse by")) for one in content["comparisons"])


def test_dots_tell_their_image_and_many_are_thinned(make_bench, rows_of):
    page, _, _ = pages(make_bench(rows_of(images=12)))
    assert any(re.fullmatch(r"img/000\.png: predicted -?[\d.]+, human [\d.]+", words) for words in page.words)
    made = build_report(make_bench(rows_of(images=3500), name="large"), thumbnails=False, draws=20).html()
    assert made.count("<circle") == 3000
    assert "3000 of 3500 predictions" in made


def test_names_cannot_become_markup(make_bench, rows_of):
    evil = '<script>alert("1")</script> & | `co`.png'
    rows = rows_of(names=[evil, *(f"{i}.png" for i in range(5))], variant="<b>v", distortions=("<i>blur",), images=6)
    about = {
        "options": {"<u>": "</style><script>"},
        "cells": {"wanted": 2, "done": 1, "failed": [{"cell": "<script>", "reason": "</code> & more"}]},
        "data": {"livec": {"note": "<img src=http:x>"}},
    }
    folder = make_bench(rows, about)
    made = build_report(folder, draws=20)
    page = Page(made.html())
    assert page.scripts == 1
    assert page.open == []
    assert page.loads == [value for value in page.loads if value.startswith(("#", "data:"))]
    assert any(evil in words for words in page.words)
    markdown = made.markdown()
    assert not re.search(r"<(?!/?table)[a-z]", markdown)
    assert all(row.count("|") - row.count("\\|") >= 2 for row in markdown.splitlines() if row.startswith("|"))


def test_markdown_tables_have_one_width(whole_pages):
    _, markdown, _ = whole_pages
    tables = re.findall(r"(?:^\|.*\n)+", markdown, flags=re.MULTILINE)
    assert len(tables) > 5
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table


def test_the_best_epoch_on_the_test_part_is_said_loudly(make_bench, rows_of):
    page, markdown, content = pages(make_bench(rows_of(selection="test")))
    assert "chosen on the test part" in content["warnings"][0]
    assert page.text.index("The epoch was chosen on the test part") < page.text.index("Results")
    assert SELECTIONS["test"] in page.text
    assert "BEST ON THE TEST PART" in markdown


def test_a_table_alone_one_split(make_bench, rows_of):
    page, _, content = pages(make_bench(rows_of()))
    (result,) = content["results"]
    assert result["srcc"]["std"] is None
    assert result["srcc"]["mean"] == result["srcc"]["median"]
    assert "one split" in page.text
    assert "the folder of the images is not known" in page.text
    assert content["warnings"] == []


def test_a_table_of_three_images(make_bench, rows_of):
    page, _, content = pages(make_bench(rows_of(images=3, noise=0.01)))
    assert content["results"][0]["plcc_logistic4"] is None
    assert "not defined" in page.text


def test_constant_predictions_alone_make_a_report_without_metrics(make_bench, rows_of, capsys):
    folder = make_bench([{**row, "predicted": 50.0, "quality": 0.5} for row in rows_of()])
    page, _, content = pages(folder)
    assert content["results"][0]["srcc"] is None
    assert "constant predictions: every image has quality 0.5" in page.text
    assert run(["report", str(folder), "--draws", "20"]) == 1
    assert "constant predictions" in capsys.readouterr().err


def test_a_harmless_note_is_no_warning(make_bench, rows_of):
    made = build_report(make_bench(rows_of(noise=0.01), {"data": {"livec": {"note": "MOS, 0 to 100"}}}), draws=20)
    page = made.html()
    assert 'class="warn"' not in page
    assert re.search(r'<div class="note" role="note">\s*<p>LIVE In the Wild: MOS, 0 to 100\.</p>', page)
    assert "**LIVE In the Wild" not in made.markdown()
    assert json.loads(made.json())["warnings"] == ["LIVE In the Wild: MOS, 0 to 100."]


def test_predictions_that_leave_the_scale_are_a_warning_and_a_few_are_a_note(make_bench, rows_of):
    def shifted(values, count):
        return [
            {**row, "quality": values, "predicted": 100 * values} if place < count else row
            for place, row in enumerate(rows_of(images=200, noise=0.01))
        ]

    page, markdown, content = pages(make_bench(shifted(1.77, 100)))
    sentence = "LIVE In the Wild: 100 of 200 predictions (50 %) lie outside of the scale 0 to 100: the lowest is"
    for text in (page.text, content["warnings"][0]):
        assert sentence in text
        assert "the highest 177" in text
    assert f"> **{sentence}" in markdown
    made = build_report(make_bench(shifted(1.01, 1), name="few"), draws=20).html()
    assert 'class="warn"' not in made
    assert "1 of 200 predictions (0.5 %) lie outside" in made


def test_a_range_that_is_taken_from_the_scores_is_a_note_and_some_predictions_leave_it(make_bench, rows_of):
    said = {"data": {"livec": {"cautions": ["the range is taken"], "spanned": True}}}
    for count, alarm in ((40, False), (60, True)):
        rows = [
            {**row, "quality": 1.2, "predicted": 120} if place < count else row
            for place, row in enumerate(rows_of(images=200, noise=0.01))
        ]
        page = build_report(make_bench(rows, said, name=str(count)), draws=20).html()
        assert f"{count} of 200 predictions" in page
        assert ('class="warn"' in page) == alarm
        assert "<p>LIVE In the Wild: the range is taken.</p>" in page


def test_thumbnails_reserve_their_room(whole):
    images = re.findall(r"<img [^>]*>", build_report(whole, draws=20).html())
    assert images
    for image in images:
        assert 'width="64" height="48"' in image
        assert "loading=" not in image  # in a print and a long screenshot it would be blank


def test_short_times_are_in_minutes_and_seconds(make_bench, rows_of):
    page, markdown, _ = pages(make_bench(rows_of(), {"seconds": {"a": 12, "b": 24}}))
    for text in (page.text, markdown):
        assert "18 s a run in the median, 36 s in all" in text


def test_sets_of_ones_own_need_no_published_rows(make_bench, rows_of):
    page, _, content = pages(make_bench(rows_of(training_set="mine", test_set="mine", low=1, high=5)))
    assert content["published"] == []
    assert "MOS 1 to 5, higher is better" in page.text


def test_thumbnails_that_are_missing_are_named(make_bench, rows_of, tmp_path):
    about = {"data": {"livec": {"root": str(tmp_path / "nowhere")}}}
    page, _, content = pages(make_bench(rows_of(), about))
    assert "no thumbnail: No such file" in page.text
    assert page.alts == []
    assert "No such file" in json.dumps(content["photos"])
    assert str(tmp_path) not in page.text
    assert "root" not in content["bench"]["data"]["livec"]


def test_thumbnails_can_be_left_out(make_bench, rows_of, photos):
    folder = make_bench(rows_of(), {"data": {"livec": {"root": str(photos)}}})
    assert 4 <= len(pages(folder)[0].alts) <= 12
    page, _, _ = pages(folder, thumbnails=False)
    assert page.alts == []
    assert "no thumbnail" not in page.text


def test_the_same_table_gives_the_same_numbers(make_bench, rows_of):
    folder = make_bench(rows_of(variant="a") + rows_of(variant="bb"))
    first, second = (pages(folder)[2] for _ in range(2))
    assert {**first, "created": ""} == {**second, "created": ""}


def test_the_command(make_bench, rows_of, tmp_path, capsys):
    folder, out = make_bench(rows_of(variant="base") + rows_of(variant="more")), tmp_path / "pages"
    assert run(["report", str(folder), "--out", str(out), "--draws", "20", "--no-pictures", "--compare", "more"]) == 0
    assert capsys.readouterr().out == f"{out / 'report.html'}\n"
    assert sorted(path.name for path in out.iterdir()) == ["report.html", "report.json", "report.md"]
    content = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert (content["baseline"], content["comparisons"][0]["first"]["variant"]) == ("more", "base")
    assert run(["report", str(folder / "predictions.csv"), "--draws", "20", "--compare", "bas"]) == 2
    assert "did you mean base?" in capsys.readouterr().err


def test_a_call_that_is_wrong_and_a_table_that_is(make_bench, rows_of, tmp_path, capsys):
    folder = make_bench(rows_of())
    assert run(["report", str(tmp_path / "nowhere")]) == 2
    assert run(["report", str(folder), "--draws", "3"]) == 2
    (folder / "predictions.csv").write_text("path,score\na,1\n")
    assert run(["report", str(folder)]) == 1
    assert "predictions.csv, line 1: column" in capsys.readouterr().err


def test_without_jinja_one_line_says_what_to_install(tmp_path):
    code = (
        "import sys; sys.modules['jinja2'] = None\n"
        "from noref.cli import run\n"
        f"sys.exit(run(['report', {str(tmp_path)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "Error: a report needs an extra: pip install 'noref[report]'\n"
