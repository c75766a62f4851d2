from __future__ import annotations

import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from noref.card import Preprocessing
from noref.errors import ImageError, printable
from noref.images import name, read

from .made_pictures import packed, packed_png, picture, png_header


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("png", {}),
        ("bmp", {}),
        ("ppm", {}),
        ("tiff", {}),
        ("tiff", {"compression": "tiff_lzw"}),
        ("webp", {"lossless": True}),
    ],
)
def test_lossless_formats_give_back_the_pixels(form, options):
    pixels = picture()
    found = read(packed(Image.fromarray(pixels), form, **options))
    np.testing.assert_array_equal(found, pixels)
    assert found.dtype == np.uint8
    assert found.flags.writeable
    assert found.flags.c_contiguous


def test_path_text_bytes_and_array_are_the_same(tmp_path):
    pixels = picture()
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    content = path.read_bytes()
    frozen = pixels.copy()
    frozen.flags.writeable = False
    for source in (
        path,
        str(path),
        content,
        bytearray(content),
        memoryview(content),
        pixels,
        frozen,
        pixels.copy(order="F"),
    ):
        for preprocessing in (None, Preprocessing(max_pixels=600, min_side=1)):
            expected = read(content, preprocessing=preprocessing)
            found = read(source, preprocessing=preprocessing)
            np.testing.assert_array_equal(found, expected)
            assert found.flags.writeable


def test_an_array_is_copied():
    pixels = picture()
    read(pixels)[:] = 0
    read(pixels, preprocessing=Preprocessing(min_side=1))[:] = 0
    assert pixels.any()


def test_names_say_nothing_about_the_format(tmp_path):
    path = tmp_path / "really a png.jpg"
    Image.fromarray(picture()).save(path, "png")
    np.testing.assert_array_equal(read(path), picture())


def test_a_path_that_is_no_utf8(tmp_path):
    path = os.fsencode(tmp_path) + b"/caf\xe9.png"
    Image.fromarray(picture()).save(os.fsdecode(path))
    np.testing.assert_array_equal(read(os.fsdecode(path)), picture())
    Path(os.fsdecode(path)).write_bytes(b"")
    with pytest.raises(ImageError) as caught:
        read(os.fsdecode(path))
    assert str(caught.value).endswith("/caf\\xe9.png: empty file")


@pytest.mark.parametrize(("path", "text"), [("é.jpg", "é.jpg"), ("\udce9\udcff", r"\xe9\xff"), ("\ud800", r"\ud800")])
def test_printable_can_always_be_written(path, text):
    assert printable(path) == text
    printable(path).encode()


def test_sources_have_names():
    assert [name(source) for source in ("a", Path("b"), b"", np.zeros(1), 3)] == [
        "a",
        "b",
        "<bytes>",
        "<array>",
        "<int>",
    ]


def test_grey_palette_and_one_bit():
    grey = picture()[..., 0]
    np.testing.assert_array_equal(read(packed(Image.fromarray(grey), "png")), np.stack([grey] * 3, axis=-1))
    bits = grey > 100
    np.testing.assert_array_equal(read(packed(Image.fromarray(bits), "png"))[..., 0], np.where(bits, 255, 0))
    palette = Image.fromarray(picture()).quantize(16)
    np.testing.assert_array_equal(read(packed(palette, "png")), np.array(palette.convert("RGB")))


def test_cmyk_is_turned_to_light():
    inks = np.zeros((2, 2, 4), np.uint8)
    inks[0, 1, 0] = 255  # cyan
    inks[1, 0, 3] = 255  # black
    found = read(packed(Image.fromarray(inks, "CMYK"), "tiff"))
    assert found.tolist() == [[[255, 255, 255], [0, 255, 255]], [[0, 0, 0], [255, 255, 255]]]


def test_cmyk_jpeg_is_near():
    inks = Image.fromarray(picture(64, 64)).convert("CMYK")
    found = read(packed(inks, "jpeg", quality=95)).astype(int)
    assert np.abs(found - np.array(inks.convert("RGB"))).mean() < 3


def over_white(color, alpha):
    return color * (alpha / 255.0) + 255.0 * (1 - alpha / 255.0)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("form", ["png", "tiff", "webp"])
def test_alpha_lies_on_white(mode, form):
    if (mode, form) == ("LA", "webp"):
        form = "png"  # WebP has no grey with alpha
    color = picture()[..., : len(mode) - 1]
    alpha = np.tile(np.linspace(0, 255, 40).astype(np.uint8), (30, 1))[..., None]
    data = packed(
        Image.fromarray(np.concatenate([color, alpha], axis=-1), mode),
        form,
        **({"lossless": True} if form == "webp" else {}),
    )
    visible = np.broadcast_to(over_white(color.astype(float), alpha), (30, 40, 3))
    np.testing.assert_allclose(read(data).astype(float), visible, atol=1)


def test_transparent_palette_colours_lie_on_white():
    indices = np.array([[0, 1], [2, 1]], np.uint8)
    image = Image.fromarray(indices, "P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    one = read(packed(image, "png", transparency=1))
    assert one.tolist() == [[[10, 20, 30], [255] * 3], [[70, 80, 90], [255] * 3]]
    graded = read(packed(image, "png", transparency=bytes([255, 0, 128])))
    np.testing.assert_allclose(graded[1, 0], [over_white(c, 128) for c in (70, 80, 90)], atol=1)


@pytest.mark.parametrize(("mode", "key"), [("RGB", (10, 20, 30)), ("L", 10)])
def test_a_transparent_colour_lies_on_white(mode, key):
    image = Image.new(mode, (2, 1), key)
    image.putpixel((1, 0), 77 if mode == "L" else (77, 77, 77))
    assert read(packed(image, "png", transparency=key)).tolist() == [[[255] * 3, [77] * 3]]


LEVELS16 = np.linspace(0, 65535, 1200).astype(np.uint16).reshape(30, 40)


@pytest.mark.parametrize("form", ["png", "tiff"])
def test_16_bit_grey_is_scaled_not_clipped(form):
    found = read(packed(Image.fromarray(LEVELS16), form))
    np.testing.assert_allclose(found[..., 0], LEVELS16 / 257.0, atol=0.5001)
    np.testing.assert_array_equal(found[..., 0], found[..., 2])


def test_big_endian_and_pgm_16_bit_grey():
    content = b"P5 40 30 65535\n" + LEVELS16.astype(">u2").tobytes()
    np.testing.assert_allclose(read(content)[..., 0], LEVELS16 / 257.0, atol=0.5001)
    big = Image.frombytes("I;16B", (40, 30), LEVELS16.astype(">u2").tobytes())
    np.testing.assert_allclose(read(packed(big, "tiff"))[..., 0], LEVELS16 / 257.0, atol=0.5001)


def test_16_bit_colour_is_scaled_not_clipped():
    values = np.stack([LEVELS16, LEVELS16[::-1], LEVELS16[:, ::-1]], axis=-1)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    content = packed_png([png_header(40, 30, depth=16), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])
    np.testing.assert_allclose(read(content), values / 257.0, atol=1)


@pytest.mark.parametrize(
    ("top", "dtype"), [(2**31 - 1, np.int32), (1.0, np.float32), (255.0, np.float32), (65535.0, np.float32)]
)
def test_32_bit_grey_is_scaled_by_its_range(top, dtype):
    values = (np.linspace(0, 1, 256).reshape(16, 16) * top).astype(dtype)
    np.testing.assert_allclose(
        read(packed(Image.fromarray(values), "tiff"))[..., 0], np.arange(256).reshape(16, 16), atol=0.51
    )


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf, 1e9])
def test_floats_that_are_no_grey_levels_are_refused(value):
    values = np.full((4, 4), 0.5, np.float32)
    values[1, 2] = value
    with pytest.raises(ImageError, match=r"^<bytes>: values from .* are no grey levels$"):
        read(packed(Image.fromarray(values), "tiff"))


@pytest.mark.parametrize("form", ["gif", "png", "webp"])
def test_the_first_frame_of_an_animation(form):
    frames = [Image.new("RGB", (8, 6), color) for color in ("red", "lime", "blue")]
    content = packed(
        frames[0], form, save_all=True, append_images=frames[1:], **({"lossless": True} if form == "webp" else {})
    )
    assert (read(content) == (255, 0, 0)).all()


TURNED = {  # EXIF 2.32, tag 274: what row 0 and column 0 of the stored image are -> how to show it
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("form", ["png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", TURNED)
def test_exif_turns_the_image_once(form, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    content = packed(Image.fromarray(picture()), form, exif=exif, **({"lossless": True} if form == "webp" else {}))
    np.testing.assert_array_equal(read(content), TURNED[orientation](picture()))


@pytest.mark.parametrize("orientation", TURNED)
def test_exif_turns_a_shrunk_jpeg(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    small = Preprocessing(max_pixels=1200, min_side=1)
    pixels = picture(400, 300)
    plain = read(packed(Image.fromarray(pixels), "jpeg", quality=95), preprocessing=small)
    turned = read(packed(Image.fromarray(pixels), "jpeg", quality=95, exif=exif), preprocessing=small)
    assert plain.shape == (30, 40, 3)
    np.testing.assert_array_equal(turned, TURNED[orientation](plain))


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_an_unknown_orientation_turns_nothing(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    np.testing.assert_array_equal(read(packed(Image.fromarray(picture()), "png", exif=exif)), picture())


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_turns_nothing():
    content = packed(Image.fromarray(picture()), "jpeg", quality=95, exif=b"Exif\0\0II*\0\xff\xff\xff\xff broken")
    np.testing.assert_array_equal(read(content), read(packed(Image.fromarray(picture()), "jpeg", quality=95)))
