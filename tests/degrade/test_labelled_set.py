from __future__ import annotations

import csv
import json
import os

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from noref.data import readers
from noref.degrade import labelled_set
from noref.degrade.labelled_set import ssim, write_set
from noref.degrade.pipeline import DISTORTIONS, apply
from noref.errors import DataError, OptionError


@pytest.fixture
def photos(tmp_path, scene):
    folder = tmp_path / "photos"
    folder.mkdir()
    pixels = np.round(scene * 255).astype(np.uint8)
    Image.fromarray(pixels[:40, :48]).save(folder / "first.png")
    Image.fromarray(pixels[30:, 40:]).save(folder / "second photo, 2.png")
    return sorted(folder.iterdir())


def contents(out):
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def pixels_of(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_every_distortion_at_every_level(tmp_path, photos):
    result = write_set(photos, tmp_path / "set", workers=2)
    assert (result.written, result.kept, result.skipped) == (240, 0, [])
    with result.table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["distortion"], int(row["level"])) for row in rows[:120]] == [
        (name, level) for name in DISTORTIONS for level in range(1, 6)
    ]
    assert {row["reference"] for row in rows} == {"references/first.png", "references/second_photo_2.png"}
    np.testing.assert_array_equal(pixels_of(tmp_path / "set" / rows[0]["reference"]), pixels_of(photos[0]))
    by_kind = {(row["distortion"], row["level"]): row for row in rows[:120]}
    row = by_kind["darken", "4"]
    expected = apply(pixels_of(photos[0]), "darken", 4, np.random.default_rng(0))
    np.testing.assert_array_equal(pixels_of(tmp_path / "set" / row["path"]), expected)
    assert float(by_kind["gaussian_blur", "1"]["score"]) == pytest.approx(100)
    assert float(by_kind["gaussian_blur", "5"]["score"]) < float(by_kind["gaussian_blur", "3"]["score"])


def test_the_csv_reader_takes_the_table(tmp_path, photos):
    write_set(photos, tmp_path / "set")
    records = readers.READERS["csv"](tmp_path / "set")
    assert len(records) == 240
    assert records[3].distortion == "gaussian_blur"
    assert records[3].level == 4
    assert records[3].reference == "references/first.png"
    assert all(record.path.is_file() for record in records)


def test_random_compositions(tmp_path, photos):
    result = write_set(photos, tmp_path / "set", compositions=30, seed=4)
    assert result.written == 60
    records = readers.READERS["csv"](result.table)
    assert len({record.distortion for record in records}) > 40
    for record in records:
        steps = [step.split(":") for step in record.distortion.split("+")] if record.distortion else []
        assert len(steps) <= 4
        assert all(kind in DISTORTIONS and 1 <= int(level) <= 5 for kind, level in steps)
    assert any(record.distortion is None and record.raw_score == 100 for record in records)


def test_order_company_and_workers_do_not_matter(tmp_path, photos):
    write_set(photos, tmp_path / "a", compositions=3)
    write_set(photos[::-1], tmp_path / "b", compositions=3, workers=3)
    write_set(photos[:1], tmp_path / "c", compositions=3)
    write_set(photos, tmp_path / "d", compositions=3, seed=1)
    a, b, c, d = (contents(tmp_path / name) for name in "abcd")
    images = [name for name in a if name.startswith("images/")]
    assert len(images) == 6
    assert all(a[name] == b[name] for name in images)
    assert all(c[name] == a[name] for name in c if name.startswith("images/"))
    assert any(d[name] != a[name] for name in images)


def test_an_interrupted_set_continues_where_it_stopped(tmp_path, photos, monkeypatch):
    write_set(photos, tmp_path / "whole")
    real, calls = labelled_set.apply_composition, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 150:  # 30 images into the second photo
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(labelled_set, "apply_composition", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_set(photos, tmp_path / "set")
    assert not (tmp_path / "set" / "set.csv").exists()
    result = write_set(photos, tmp_path / "set")
    assert (result.written, result.kept) == (120, 120)
    assert contents(tmp_path / "set") == contents(tmp_path / "whole")


def test_what_is_finished_stays_and_what_changed_is_made_again(tmp_path, photos):
    write_set(photos, tmp_path / "set", compositions=3)
    assert write_set(photos, tmp_path / "set", compositions=3).written == 0
    (tmp_path / "set" / "images" / "first_2.png").unlink()
    assert write_set(photos, tmp_path / "set", compositions=3).written == 3
    Image.new("RGB", (30, 30), "red").save(photos[1])
    later = (tmp_path / "set" / ".rows" / "second_photo_2.csv").stat().st_mtime + 5
    os.utime(photos[1], (later, later))
    assert write_set(photos, tmp_path / "set", compositions=3).written == 3
    assert pixels_of(tmp_path / "set" / "references" / "second_photo_2.png").shape == (30, 30, 3)


def test_a_broken_photo_is_listed_and_skipped(tmp_path, photos):
    text = photos[0].parent / "text.jpg"
    text.write_text("no photo")
    cut = photos[0].parent / "cut.png"
    cut.write_bytes(photos[0].read_bytes()[:900])
    small = photos[0].parent / "small.png"
    Image.new("RGB", (7, 90)).save(small)
    absent = photos[0].parent / "absent.png"
    result = write_set([text, *photos, cut, small, absent], tmp_path / "set", compositions=2)
    assert result.written == 4
    assert [path for path, _ in result.skipped] == [text, cut, small, absent]
    reasons = [reason for _, reason in result.skipped]
    assert reasons[2] == "7 x 90 pixels; 8 x 8 are needed"
    assert all(reason and str(tmp_path) not in reason for reason in reasons)
    assert not list((tmp_path / "set").rglob("*.part"))


def test_a_phone_photo_is_turned_and_a_grey_one_has_three_channels(tmp_path, scene):
    pixels = np.round(scene[:40, :60] * 255).astype(np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "phone.png", exif=turned)
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.png")
    write_set([tmp_path / "phone.png", tmp_path / "grey.png"], tmp_path / "set", compositions=1)
    expected = np.rot90(pixels, -1)
    np.testing.assert_array_equal(pixels_of(tmp_path / "set" / "references" / "phone.png"), expected)
    assert pixels_of(tmp_path / "set" / "references" / "grey.png").shape == (40, 60, 3)


def test_other_settings_need_another_folder(tmp_path, photos):
    write_set(photos, tmp_path / "set", compositions=2)
    for options in ({"compositions": 3}, {"compositions": 2, "seed": 1}, {}):
        with pytest.raises(OptionError, match=r"begun with.*'compositions': 2"):
            write_set(photos, tmp_path / "set", **options)
    assert json.loads((tmp_path / "set" / "set.json").read_text())["compositions"] == 2


def test_names_that_collide(tmp_path, photos):
    other = tmp_path / "other"
    other.mkdir()
    twin = other / "first.png"
    Image.new("RGB", (20, 20)).save(twin)
    write_set([*photos, twin], tmp_path / "set", compositions=1)
    made = {path.name for path in (tmp_path / "set" / "references").iterdir()}
    assert made == {"photos-first-png.png", "other-first-png.png", "second_photo_2.png"}


def test_an_earlier_set_among_the_photos_is_left_out(tmp_path, photos):
    out = photos[0].parent / "set"
    write_set(photos, out, compositions=1)
    found = sorted(photos[0].parent.rglob("*.png"))
    assert len(found) > 2
    assert write_set(found, out, compositions=1).kept == 2


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"compositions": 0}])
def test_numbers_below_one(tmp_path, photos, wrong):
    with pytest.raises(OptionError, match="1 or more"):
        write_set(photos, tmp_path / "set", **wrong)


def test_nothing_to_do_and_nowhere_to_write(tmp_path, photos):
    with pytest.raises(DataError, match="no photo"):
        write_set([], tmp_path / "set")
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="file"):
        write_set(photos, tmp_path / "file")


def test_progress_counts_photos(tmp_path, photos):
    seen = []
    write_set(photos, tmp_path / "set", compositions=1, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_ssim_against_the_definition(scene):
    first = np.round(scene * 255).astype(np.uint8)
    second = apply(first, "jpeg", 4, np.random.default_rng(0))
    values = []
    for channel in range(3):
        x, y = first[..., channel] / 255, second[..., channel] / 255

        def mean(image):
            return gaussian_filter(image, 1.5, mode="nearest", radius=5)

        mx, my = mean(x), mean(y)
        vx, vy, both = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
        values.append((2 * mx * my + 0.01**2) * (2 * both + 0.03**2))
        values[-1] /= (mx**2 + my**2 + 0.01**2) * (vx + vy + 0.03**2)
    assert ssim(first, second) == pytest.approx(np.mean(values), abs=1e-4)
    assert ssim(first, first) == pytest.approx(1)
