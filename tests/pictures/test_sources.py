"""What Python code may give as a picture, and the advice where it is ambiguous."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from noref.card import Preprocessing
from noref.errors import ImageError
from noref.images import name, read

from ..made_pictures import packed, picture

PIXELS = picture()
GREY = np.repeat(PIXELS[..., :1], 3, axis=-1)
ALPHA = np.full((30, 40, 1), 255, np.uint8)
FADED = np.concatenate([PIXELS, ALPHA // 2], axis=-1)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (PIXELS / 255.0, PIXELS),
        ((PIXELS / 255.0).astype(np.float32), PIXELS),
        (PIXELS.astype(np.uint16) * 257, PIXELS),
        (PIXELS[:3], PIXELS[:3]),  # three rows are three rows
        (PIXELS[..., 0], GREY),
        (PIXELS[..., :1], GREY),
        (PIXELS[..., 0] / 255.0, GREY),
        (np.concatenate([PIXELS[..., :1], ALPHA], axis=-1), GREY),
        (np.concatenate([PIXELS, ALPHA], axis=-1), PIXELS),
        (np.concatenate([PIXELS, 0 * ALPHA], axis=-1), np.full_like(PIXELS, 255)),
        (np.zeros((30, 40), np.uint16), np.zeros_like(PIXELS)),
    ],
)
def test_arrays(array, expected):
    for preprocessing in (None, Preprocessing(max_pixels=600, min_side=1)):
        wanted = read(expected, preprocessing=preprocessing)
        np.testing.assert_array_equal(read(array, preprocessing=preprocessing), wanted)


def test_alpha_of_an_array_lies_on_white_as_that_of_a_file():
    np.testing.assert_allclose(read(FADED).astype(int), read(packed(Image.fromarray(FADED), "png")), atol=1)


@pytest.mark.parametrize(
    ("array", "advice"),
    [
        (PIXELS.transpose(2, 0, 1), r"\.transpose\(1, 2, 0\)"),
        (PIXELS[None], r"array\[0\]"),
        (PIXELS.astype(float), r"array / 255"),
        (PIXELS - 128.0, r"\[0, 1\]"),
        (np.full((9, 9), np.nan), r"\[0, 1\]"),
        (PIXELS.astype(np.uint16), r"array\.astype\(np\.uint8\)"),
        (PIXELS.astype(np.uint16) * 16, r"12 bits give array / 4095"),
        (PIXELS.astype(np.int64), r"array\.astype\(np\.uint8\)"),
        (PIXELS > 100, r"array\.astype\(float\)"),
    ],
)
def test_what_is_ambiguous_is_an_error_with_the_right_call(array, advice):
    with pytest.raises(ImageError, match=f"^<array>: .*{advice}"):
        read(array)


def test_pil_images(tmp_path):
    np.testing.assert_array_equal(read(Image.fromarray(PIXELS)), PIXELS)
    exif = Image.Exif()
    exif[274] = 6
    for image in (Image.fromarray(PIXELS).quantize(64), Image.fromarray(FADED), Image.fromarray(PIXELS[..., 0])):
        image.save(tmp_path / "a.png", exif=exif)
        with Image.open(tmp_path / "a.png") as opened:
            for preprocessing in (None, Preprocessing(max_pixels=600, min_side=1)):
                wanted = read(tmp_path / "a.png", preprocessing=preprocessing)
                np.testing.assert_array_equal(read(opened, preprocessing=preprocessing), wanted)


def test_open_files(tmp_path):
    content = packed(Image.fromarray(PIXELS), "png")
    (tmp_path / "a.png").write_bytes(b"head" + content)
    with (tmp_path / "a.png").open("rb") as file:
        file.seek(4)
        np.testing.assert_array_equal(read(file), PIXELS)
        with pytest.raises(ImageError, match=r"a\.png: empty file$"):
            read(file)
    np.testing.assert_array_equal(read(io.BytesIO(content)), PIXELS)
    with pytest.raises(ImageError, match='a text file: open it with mode "rb"'):
        read(io.StringIO("text"))


def test_tensors():
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(PIXELS).permute(2, 0, 1)
    for given in (tensor, tensor / 255, (tensor / 255).requires_grad_()):
        np.testing.assert_array_equal(read(given), PIXELS)
    np.testing.assert_array_equal(read(tensor[0]), GREY)
    np.testing.assert_allclose(read((tensor / 255).bfloat16()).astype(int), PIXELS, atol=1)
    with pytest.raises(ImageError, match=r"^<Tensor>: .*tensor\[0\]"):
        read(tensor[None])
    with pytest.raises(ImageError, match=r"tensor\.permute\(2, 0, 1\)"):
        read(tensor.permute(1, 2, 0))
    small = torch.zeros(3, 2, 3)
    assert read(small).shape == (2, 3, 3)


def test_names():
    assert name(Image.fromarray(PIXELS)) == "<Image>"
    assert name(io.BytesIO()) == "<BytesIO>"
