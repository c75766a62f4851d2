from __future__ import annotations

import base64
import csv
import html
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from noref.card import Scale
from noref.data.records import Record
from noref.embed.colour_scale import by_score
from noref.embed.embedding_plot import EmbeddingPlot, LabelledImage, Panel, draw, write_points
from noref.embed.metrics import Metric
from noref.embed.page import in_view, render_page, thumbnails

pytest.importorskip("jinja2", reason="needs the report extra")
ODD = 'a</script><b>"&.png'


@pytest.fixture
def plot(tmp_path):
    """Six photos, one with a name that would break a page, on two maps."""
    rng = np.random.default_rng(0)
    called = ["0.png", "1.png", "2.png", "3.png", "4.png", ODD.replace("/", "_")]
    images = []
    for number, name in enumerate(called):
        Image.fromarray(rng.integers(0, 256, (60, 90, 3), dtype=np.uint8)).save(tmp_path / name, format="PNG")
        record = Record(tmp_path / name, 15.0 * number, Scale(0, 100), None, "jpeg", 1 + number % 5)
        images.append(LabelledImage(record, "set", name))
    metrics = (Metric("silhouette by type", 0.25, -0.01, -0.02, 0.004),)
    panels = [Panel(f"model {n} <x>", rng.normal(size=(6, 2)), metrics) for n in (1, 2)]
    colours = by_score([image.record.raw_score for image in images])
    return EmbeddingPlot("what & why", images, colours, panels, ("a note",))


def points(text):
    return json.loads(re.search(r'id="points">(.*?)</script>', text, re.S)[1])


def test_the_page_needs_nothing_else(plot):
    text = render_page(plot)
    assert not re.search(r"""(?:https?:)?//[a-z]|@import|url\(|\ssrc=(?!["']data:)|<link""", text.split("<script")[0])
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
    assert "fetch(" not in text
    assert "prefers-color-scheme: dark" in text


def test_every_point_is_drawn_and_has_its_photo(plot):
    text = render_page(plot)
    dots = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="[\d.]+" fill="(#\w+)"', text)
    assert len(dots) == 12
    assert [dot[2] for dot in dots] == list(plot.colours.colours) * 2
    found = points(text)
    assert [point["name"] for point in found] == [image.name for image in plot.images]
    assert found[3]["caption"] == "set, 45 of 0-100, higher is better, type jpeg, level 4"
    for point in found:
        picture = Image.open(io.BytesIO(base64.b64decode(point["uri"].partition(",")[2])))
        assert picture.size == (90, 60)  # never enlarged


def test_a_number_is_never_broken_on_a_narrow_page(plot):
    text = render_page(plot)
    cells = re.findall(r"<td[^>]*>(.*?)</td>", text) + re.findall(r'<div class="ramp">(.*?)</div>', text)
    numbers = [cell for cell in cells if re.search(r">[^<]*\d", cell)]
    assert len(numbers) == 5  # value and chance on two maps, and the ends of the colour ramp
    for cell in numbers:  # every digit of the text is in an element that does not wrap
        others = re.sub(r'<span class="number[^"]*">[^<]*</span>|<[^>]*>', "", cell)
        assert not re.search(r"\d", others)
    assert re.search(r"\.number \{[^}]*white-space: nowrap", text)


def test_names_cannot_break_the_page(plot):
    text = render_page(plot)
    assert text.count("</script>") == 2
    assert "model 1 &lt;x&gt;" in text
    assert "what &amp; why" in html.unescape(text.replace("&amp;", "&amp;amp;"))


def test_the_page_stays_within_its_budget(plot):
    paths = [image.record.path for image in plot.images]
    whole, _ = thumbnails(paths, megabytes=1)
    assert all(whole)
    size = sum(map(len, whole)) / 1e6
    fewer, _ = thumbnails(paths, megabytes=size / 20)
    shown = sum(map(bool, fewer))
    assert shown < 6
    assert sum(map(len, fewer)) <= size / 20 * 1e6
    assert f"{shown} of 6 points have one" in render_page(plot, megabytes=size / 20).replace("\n", " ")


def test_a_photo_that_has_gone_leaves_its_point(plot):
    plot.images[2].record.path.unlink()
    assert [point["uri"] == "" for point in points(render_page(plot))].index(True) == 2


def test_places_keep_their_shape():
    places = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 2.0]])
    (x0, y0), (x1, y1), (x2, y2) = in_view(places)
    assert (x0, x1, x2) == (25, 975, 975)
    assert y0 == y1 == y2 + 475  # y grows upwards on a map; half as high as wide
    assert y0 + y2 == 1000


def test_a_single_place_is_the_middle():
    assert in_view(np.zeros((2, 2))) == [(500, 500), (500, 500)]


def test_the_table(plot, tmp_path):
    write_points(plot, tmp_path / "points.csv")
    with (tmp_path / "points.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [image.name for image in plot.images]
    assert float(rows[4]["x2"]) == pytest.approx(plot.panels[1].places[4, 0], abs=1e-4)
    assert rows[1]["quality"] == "0.1500"


def test_the_picture_is_the_same_each_time(plot, tmp_path):
    pytest.importorskip("matplotlib")
    for name in ("a.png", "b.png"):
        draw(plot, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > picture.height / 1.2


def test_a_metric_never_says_minus_zero():
    assert str(Metric("x", -0.0001, 0, 0, 0)) == "x 0.000 (chance 0.000, 0.000 to 0.000)"
