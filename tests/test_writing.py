"""What is written is whole or not there."""

from __future__ import annotations

import os
import threading

import pytest

from noref.errors import OptionError
from noref.writing import check_output, check_writable, replacing, write_text


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("old")
    with replacing(path) as partial:
        partial.write_text("half of the n")
        assert path.read_text() == "old"
        partial.write_text("new")
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["scores.csv"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path, error):
    path = tmp_path / "scores.csv"
    path.write_text("old")

    def stopped():
        with replacing(path) as partial:
            partial.write_text("half")
            raise error("stopped")

    with pytest.raises(error, match="stopped"):
        stopped()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["scores.csv"]


def test_a_reader_never_sees_half_a_file(tmp_path):
    path, texts, seen = tmp_path / "page.html", ("a" * 200_000, "b" * 300_000), set()
    write_text(path, texts[0])
    done = threading.Event()

    def write():
        for turn in range(60):
            write_text(path, texts[turn % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        seen.add(path.read_text())
    writer.join()
    assert seen <= set(texts)


def test_text_is_written_as_it_is(tmp_path):
    write_text(tmp_path / "a.csv", "ä,1\n\r\nb\n")
    assert (tmp_path / "a.csv").read_bytes() == "ä,1\n\r\nb\n".encode()


def test_a_folder_that_cannot_be_written_is_found_at_once(tmp_path):
    check_writable(tmp_path)
    assert os.listdir(tmp_path) == []
    with pytest.raises(FileNotFoundError):
        check_writable(tmp_path / "none")


def test_nothing_is_written_over_an_input_or_a_foreign_file(tmp_path):
    ours, foreign, link, twin, empty = (tmp_path / name for name in ("ours", "foreign", "link", "twin", "empty"))
    ours.write_text("noref,1")
    foreign.write_text("precious")
    link.symlink_to(foreign)
    os.link(ours, twin)
    empty.touch()

    def check(path, inputs=(), **options):
        check_output(path, inputs=inputs, ours=lambda head: head.startswith(b"noref"), **options)

    for path in (tmp_path / "new", tmp_path / "none" / "new", empty, "/dev/null"):
        check(path)
    for path in (foreign, link):
        for overwrite in (False, True):
            with pytest.raises(OptionError, match="was not written by noref"):
                check(path, overwrite=overwrite)
    with pytest.raises(OptionError, match="ours: is there; --overwrite replaces it"):
        check(ours)
    check(ours, overwrite=True)
    check(ours, inputs=[foreign, tmp_path / "none"], overwrite=True)
    with pytest.raises(OptionError, match="is one of the inputs, not overwritten"):
        check(ours, inputs=["none", twin], overwrite=True)
    with pytest.raises(OptionError, match="was not written by noref"):
        check_output(ours, overwrite=True)
