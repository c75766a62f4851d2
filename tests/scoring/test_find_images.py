from __future__ import annotations

import os

import pytest

from noref.scoring import find_images as module
from noref.scoring.find_images import SUFFIXES, find_images


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in [
        "b.jpg",
        "a.PNG",
        "notes.txt",
        ".hidden.jpg",
        "sub/c.webp",
        "sub/deep/d.tif",
        ".git/e.jpg",
        "bare/x.md",
    ]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"")
    return tmp_path


def paths(found):
    return [item.path for item in found]


def test_a_folder_gives_its_images_by_name(folder):
    assert paths(find_images(["."])) == ["./a.PNG", "./b.jpg"]
    assert paths(find_images([str(folder)])) == [f"{folder}/a.PNG", f"{folder}/b.jpg"]


def test_recursive_goes_into_folders_but_not_hidden_ones(folder):
    assert paths(find_images(["."], recursive=True)) == ["./a.PNG", "./b.jpg", "./sub/c.webp", "./sub/deep/d.tif"]


def test_files_are_taken_as_they_are_in_the_order_given(folder):
    assert paths(find_images(["notes.txt", "sub", "b.jpg", "none", "b.jpg", ".hidden.jpg"])) == [
        "notes.txt",
        "sub/c.webp",
        "b.jpg",
        "none",
        "b.jpg",
        ".hidden.jpg",
    ]


def test_a_folder_without_images_is_an_error(folder):
    (bare,) = find_images(["bare"])
    assert (bare.path, str(bare.error)) == ("bare", "no image in this folder")
    (folder / "bare" / "below").mkdir()
    (bare,) = find_images(["bare"])
    assert str(bare.error) == "no image in this folder; try --recursive"
    (bare,) = find_images(["bare"], recursive=True)
    assert str(bare.error) == "no image in this folder"


def test_a_folder_that_cannot_be_read_is_an_error(folder, monkeypatch):
    scan = os.scandir

    def refuse(path):
        if "sub" in str(path):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(module.os, "scandir", refuse)
    found = find_images(["."], recursive=True)
    assert paths(found) == ["./a.PNG", "./b.jpg", "./sub"]
    assert str(found[2].error) == "this folder cannot be read: Permission denied"


def test_links(folder):
    (folder / "links").mkdir()
    (folder / "links" / "good.jpg").symlink_to(folder / "b.jpg")
    (folder / "links" / "gone.jpg").symlink_to(folder / "nothing")
    (folder / "links" / "loop").symlink_to(folder / "links")
    os.mkfifo(folder / "links" / "pipe.jpg")
    (folder / "links" / "folder.jpg").mkdir()
    assert paths(find_images(["links"], recursive=True)) == ["links/gone.jpg", "links/good.jpg"]


def test_names_that_are_no_utf8(folder):
    (folder / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"")
    assert paths(find_images(["."])) == ["./a.PNG", "./b.jpg", "./caf\udce9.jpg"]


def test_suffixes_are_small_letters():
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in SUFFIXES)
