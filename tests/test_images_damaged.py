from __future__ import annotations

import os
import socket
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from noref import images
from noref.card import Preprocessing
from noref.errors import ImageError
from noref.images import pillow_allows, read

from .made_pictures import packed, packed_png, picture, png_header


def test_the_budget_is_checked_before_pixels_are_decoded(monkeypatch):
    content = packed(Image.fromarray(picture(100, 100)), "png")
    assert read(content, max_megapixels=0.01).shape == (100, 100, 3)
    assert read(picture(100, 100), max_megapixels=0.01).shape == (100, 100, 3)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    for source in (content, picture(100, 100)):
        with pytest.raises(ImageError, match=r"0 megapixels are over the budget of 0\.0099"):
            read(source, max_megapixels=0.0099)


def test_a_header_that_promises_60000_by_60000(tmp_path):
    path = tmp_path / "huge.png"
    path.write_bytes(packed_png([png_header(60000, 60000), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]))
    with pytest.raises(ImageError, match=r"huge\.png: 3600 megapixels are over the budget of 200"):
        read(path)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_pillows_own_limit_stays(monkeypatch):
    content = packed(Image.fromarray(picture(100, 100)), "png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4000)
    with pytest.raises(ImageError, match=r"over Pillow.s limit, PIL\.Image\.MAX_IMAGE_PIXELS"):
        read(content)
    assert Image.MAX_IMAGE_PIXELS == 4000
    with pillow_allows(0.01):
        assert read(content).shape == (100, 100, 3)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(ImageError, match="over Pillow's limit"):
                read(content)
    assert Image.MAX_IMAGE_PIXELS == 4000
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    with pillow_allows(0.001):
        assert Image.MAX_IMAGE_PIXELS == 10_000  # never lowered
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pillow_allows(5):
        assert Image.MAX_IMAGE_PIXELS is None


def test_importing_leaves_pillow_as_it_is():
    assert Image.MAX_IMAGE_PIXELS == 1024 * 1024 * 1024 // 4 // 3


def test_large_images_are_decoded_one_at_a_time(monkeypatch):
    monkeypatch.setattr("noref.decoding.limits.LARGE", 100)
    content = packed(Image.fromarray(picture()), "png")
    inside, most, lock = 0, 0, threading.Lock()
    load = images._rgb

    def slow(image):
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        found = load(image)
        threading.Event().wait(0.005)
        with lock:
            inside -= 1
        return found

    monkeypatch.setattr(images, "_rgb", slow)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: read(content), range(16)))
    assert most == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"just text", "not an image that can be read"),
        (b"\xff\xd8\xff\xe0", "not an image that can be read"),
        (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", "this AVIF is damaged, or of a kind that is not supported"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "EPS is a drawing, not a picture"),
    ],
)
def test_what_is_no_image(content, reason, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    for source, label in ((path, str(path)), (content, "<bytes>")):
        with pytest.raises(ImageError) as caught:
            read(source)
        assert str(caught.value) == f"{label}: {reason}"


def test_what_cannot_be_opened(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    for path, reason in [
        ("folder.jpg", "Is a directory"),
        ("none.jpg", "No such file"),
        ("loop.jpg", "symbolic links"),
        ("\0", "null"),
    ]:
        with pytest.raises(ImageError, match=f"{path if path != chr(0) else ''}: .*{reason}"):
            read(tmp_path / path)


def test_a_named_pipe_a_device_and_a_socket_are_errors(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to("pipe.jpg")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "socket.jpg"))
        for path, kind in [
            (tmp_path / "pipe.jpg", "a named pipe"),
            (tmp_path / "link.jpg", "a named pipe"),
            (tmp_path / "socket.jpg", "a socket"),
            ("/dev/null", "a device"),
        ]:
            with pytest.raises(ImageError, match=f"^{path}: {kind}, not a file$"):
                read(path)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (15, 400), (400, 15)])
def test_a_picture_below_the_least_side_is_an_error_where_one_is_set(size):
    pixels = picture(*size)
    for source in (pixels, packed(Image.fromarray(pixels), "png")):
        np.testing.assert_array_equal(read(source), pixels)
        with pytest.raises(ImageError, match=rf"{size[0]} x {size[1]} pixels are too few: the least side is 16$"):
            read(source, least_side=images.SCORED_SIDE)
    assert read(picture(16, 16), least_side=16).shape == (16, 16, 3)


def test_an_unreadable_file(tmp_path, monkeypatch):
    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ImageError, match=r"a\.jpg: Permission denied"):
        read(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    "source",
    [
        np.zeros(4, np.uint8),
        np.zeros((9, 9, 5), np.uint8),
        np.zeros((3, 9, 9), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.int8),
        np.zeros((4, 4, 3), bool),
        3,
        None,
        [1, 2],
    ],
    ids=str,
)
def test_sources_of_another_kind(source):
    with pytest.raises(ImageError, match=r"\(H, W, 3\) uint8"):
        read(source)  # type: ignore[arg-type]


ENCODED = {
    "jpeg": packed(Image.fromarray(picture(64, 48)), "jpeg", quality=90),
    "progressive": packed(Image.fromarray(picture(64, 48)), "jpeg", progressive=True),
    "png": packed(Image.fromarray(picture(64, 48)), "png"),
    "gif": packed(Image.fromarray(picture(64, 48)), "gif"),
    "webp": packed(Image.fromarray(picture(64, 48)), "webp"),
    "bmp": packed(Image.fromarray(picture(64, 48)), "bmp"),
    "tiff": packed(Image.fromarray(picture(64, 48)), "tiff"),
    "ppm": packed(Image.fromarray(picture(64, 48)), "ppm"),
}


@pytest.mark.parametrize("form", ENCODED)
def test_half_a_file_is_an_error_with_name_and_reason(form, tmp_path):
    path = tmp_path / "half.jpg"
    path.write_bytes(ENCODED[form][: len(ENCODED[form]) // 2])
    with pytest.raises(ImageError, match=r"half\.jpg: ."):
        read(path)


def test_a_truncated_jpeg_says_so():
    with pytest.raises(ImageError, match=r"^<bytes>: damaged: image file is truncated \(\d+ bytes not processed\)$"):
        read(ENCODED["jpeg"][:-200])


@given(
    form=st.sampled_from(sorted(ENCODED)),
    cut=st.floats(0, 1),
    holes=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=4))),
)
@settings(max_examples=300, deadline=None)
def test_damaged_bytes_raise_nothing_else(form, cut, holes):
    content = bytearray(ENCODED[form])
    for place, junk in holes:
        at = int(place * len(content))
        content[at : at + len(junk)] = junk
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = read(
                bytes(content[: int(cut * len(content)) + 1]), preprocessing=Preprocessing(min_side=8), max_megapixels=1
            )
        except ImageError:
            return
    assert found.ndim == 3
    assert found.dtype == np.uint8


def test_not_enough_memory_is_an_error_of_this_image(monkeypatch):
    def fail(image):
        raise MemoryError

    monkeypatch.setattr(images, "_rgb", fail)
    with pytest.raises(ImageError, match="not enough memory"):
        read(ENCODED["png"])


def test_ctrl_c_is_not_swallowed(monkeypatch):
    def interrupt(image):
        raise KeyboardInterrupt

    monkeypatch.setattr(images, "_rgb", interrupt)
    with pytest.raises(KeyboardInterrupt):
        read(ENCODED["png"])


def test_threads_read_the_same():
    contents = list(ENCODED.values()) * 5
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(read, contents))
    for content, found in zip(contents, together, strict=True):
        np.testing.assert_array_equal(found, read(content))
