"""Folders of very many pictures, in short; benchmarks/many_files.py is the long form."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from noref.degrade.files import find_photos
from noref.degrade.labelled_set import _in_order, _names
from noref.scoring.find_images import find_images
from noref.scoring.score_files import score_rows
from noref.scoring.scorer import AHEAD, Scorer

COUNT = 3000


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    Image.new("RGB", (32, 32), (90, 120, 150)).save(folder / "0000.png")
    for number in range(1, COUNT):
        os.link(folder / "0000.png", folder / f"{number:04}.png")
    return folder


def test_a_folder_a_list_and_a_pattern_give_the_same_files(many):
    names = [f"{many}/{number:04}.png" for number in range(COUNT)]
    for paths in ([str(many)], names, [f"{many}/*.png"]):
        assert [found.path for found in find_images(paths)] == names
    assert find_photos([many]) == names


def test_the_first_row_waits_for_few_pictures(many, brightness, monkeypatch):
    taken, original = [], Scorer.score
    monkeypatch.setattr(Scorer, "score", lambda self, source: taken.append(source) or original(self, source))
    scorer = Scorer(brightness, threads=2)
    rows = score_rows(scorer, find_images([str(many)]))
    assert next(rows).path == f"{many}/0000.png"
    assert len(taken) <= AHEAD * 2 + 3
    rows.close()


def test_a_set_works_ahead_by_few_photos(many, tmp_path):
    begun = []

    def work(photo, name):
        begun.append(name)
        return 0, 1, ""

    names = _names(find_photos([many]), tmp_path / "set")
    with ThreadPoolExecutor(2) as pool:
        results = _in_order(pool, work, names, ahead=8)
        assert next(results) == (0, 1, "")
        assert len(begun) <= 9
        assert sum(1 for _ in results) == COUNT - 1
    assert sorted(begun) == list(names)
