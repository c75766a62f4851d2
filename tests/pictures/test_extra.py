"""HEIC, JPEG XL and raw files, by the packages of the extra `formats`; without them the error names it."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import types

import numpy as np
import pytest
from PIL import Image

from noref.errors import ImageError
from noref.images import read

from ..made_pictures import packed, picture
from .made_raw import dng, sensor_picture
from .profiles import encoded, lab_of, rgb_profile

PIXELS = picture(64, 48)
ALPHA = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
ON_WHITE = np.rint(PIXELS * (ALPHA[..., None] / 255) + 255 - ALPHA[..., None]).astype(int)
TURNS = {3: 2, 6: -1, 8: 1}  # EXIF orientation -> quarter turns to the left


def turned(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    return exif.tobytes()


def cautions(content):
    found = []
    read(content, cautions=found)
    return found


@pytest.fixture
def heif():
    return pytest.importorskip("pillow_heif")


@pytest.fixture
def jxl():
    pytest.importorskip("pillow_jxl")
    return lambda image, **options: packed(image, "jxl", lossless=True, **options)


def saved(heif, *images, **options):
    """Lossless HEIC: no subsampling, and the colours as they are."""
    file, options = io.BytesIO(), {"quality": -1, "chroma": 444, "matrix_coefficients": 0, **options}
    made = heif.from_pillow(images[0])
    for image in images[1:]:
        made.add_from_pillow(image)
    made.save(file, **options)
    return file.getvalue()


def test_heic(heif):
    np.testing.assert_array_equal(read(saved(heif, Image.fromarray(PIXELS))), PIXELS)
    grey = read(saved(heif, Image.fromarray(PIXELS[..., 0])))
    np.testing.assert_array_equal(grey, np.repeat(PIXELS[..., :1], 3, axis=-1))
    found = read(saved(heif, Image.fromarray(np.dstack([PIXELS, ALPHA]))))
    np.testing.assert_allclose(found.astype(int), ON_WHITE, atol=1)


@pytest.mark.parametrize("bits", [10, 12])
def test_heic_of_more_than_8_bits(heif, bits):
    values = np.rint(PIXELS * ((2**bits - 1) / 255)).astype(np.uint16) << (16 - bits)
    file = io.BytesIO()
    options = {"quality": -1, "chroma": 444, "matrix_coefficients": 0}
    heif.options.SAVE_HDR_TO_12_BIT = bits == 12
    try:
        heif.encode("RGB;16", (64, 48), values.tobytes(), file, **options)
    finally:
        heif.options.SAVE_HDR_TO_12_BIT = False
    np.testing.assert_allclose(read(file.getvalue()).astype(int), PIXELS, atol=1)


@pytest.mark.parametrize("orientation", TURNS)
def test_heic_is_turned_once(heif, orientation):
    found = read(saved(heif, Image.fromarray(PIXELS), exif=turned(orientation)))
    np.testing.assert_array_equal(found, np.rot90(PIXELS, TURNS[orientation]))


def test_the_primary_picture_of_a_heic(heif):
    others = [Image.fromarray(picture(64, 48, seed=seed)) for seed in (1, 2)]
    content = saved(heif, Image.fromarray(PIXELS), *others, primary_index=1)
    np.testing.assert_array_equal(read(content), picture(64, 48, seed=1))
    assert cautions(content) == ["the primary of 3 pictures"]


def test_profiles_and_hdr_of_a_heic(heif):
    profile = rgb_profile("ProPhoto")
    plain, tagged = (saved(heif, Image.fromarray(PIXELS), icc_profile=one) for one in (None, profile))
    expected = read(packed(Image.fromarray(PIXELS), "png", icc_profile=profile))
    np.testing.assert_array_equal(read(tagged), expected)
    assert cautions(plain) == []
    for number, name in ((16, "PQ"), (18, "HLG")):
        content = saved(heif, Image.fromarray(PIXELS), transfer_characteristics=number)
        assert cautions(content) == [f"HDR ({name}) samples taken as sRGB"]


def test_the_budget_of_a_heic_is_checked_before_it_is_decoded(heif, monkeypatch):
    content = saved(heif, Image.fromarray(PIXELS))
    monkeypatch.setattr(heif.HeifImageFile, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ImageError, match="over the budget"):
        read(content, max_megapixels=0.003)


@pytest.mark.parametrize("container", [False, True])
def test_jpeg_xl(jxl, container):
    np.testing.assert_array_equal(read(jxl(Image.fromarray(PIXELS), use_container=container)), PIXELS)
    grey = np.repeat(PIXELS[..., :1], 3, axis=-1)
    np.testing.assert_array_equal(read(jxl(Image.fromarray(PIXELS[..., 0]), use_container=container)), grey)
    deep = Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)
    shown = 255 * encoded(grey / 255)  # the package writes that its values are linear
    np.testing.assert_allclose(read(jxl(deep, use_container=container)), shown, atol=1.5)
    found = read(jxl(Image.fromarray(np.dstack([PIXELS, ALPHA])), use_container=container))
    np.testing.assert_allclose(found.astype(int), ON_WHITE, atol=1)


def test_a_jpeg_in_a_jpeg_xl_is_turned_as_the_jpeg(jxl, tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", quality=95, exif=turned(6))
    with Image.open(tmp_path / "a.jpg") as image:
        content = packed(image, "jxl", lossless_jpeg=True)
    np.testing.assert_array_equal(read(content), read(tmp_path / "a.jpg"))


def test_the_exif_orientation_of_a_jpeg_xl_does_not_count(jxl):
    np.testing.assert_array_equal(read(jxl(Image.fromarray(PIXELS), exif=turned(6), use_container=True)), PIXELS)


@pytest.mark.parametrize("size", [(64, 48), (48, 48), (40, 30), (64, 36), (800, 17), (17, 800), (60, 50), (33, 31)])
@pytest.mark.parametrize("container", [False, True])
def test_the_budget_of_a_jpeg_xl_is_checked_before_it_is_decoded(jxl, size, container, monkeypatch):
    from pillow_jxl.JpegXLImagePlugin import JXLImageFile

    content = jxl(Image.fromarray(picture(*size)), use_container=container)
    assert read(content, max_megapixels=size[0] * size[1] / 1e6).shape == (size[1], size[0], 3)
    monkeypatch.setattr(JXLImageFile, "_open", lambda self: pytest.fail("decoded"))
    with pytest.raises(ImageError, match="over the budget"):
        read(content, max_megapixels=(size[0] * size[1] - 1) / 1e6)
    with pytest.raises(ImageError, match=f"^<bytes>: {size[0]} x {size[1]} pixels are too few"):
        read(content, least_side=1000)


@pytest.mark.parametrize("cut", [2, 12, 20, 100])
def test_damaged_files_say_so(heif, jxl, cut):
    image = Image.fromarray(PIXELS)
    for content in (jxl(image), jxl(image, use_container=True), saved(heif, image)):
        with pytest.raises(ImageError, match=r"^<bytes>: .*(damaged|not an image|not supported)"):
            read(content[:cut])


@pytest.fixture
def rawpy():
    return pytest.importorskip("rawpy")


def test_a_raw_file_without_a_preview_is_developed(rawpy):
    pixels, mosaic = sensor_picture()
    content, found = dng(mosaic), []
    developed = read(content, cautions=found)
    assert found == ["a raw file: developed by LibRaw"]
    assert developed.shape == pixels.shape
    for channel in range(3):  # LibRaw brightens, and its curve is another than sRGB's
        assert np.corrcoef(developed[..., channel].ravel(), pixels[..., channel].ravel())[0, 1] > 0.97
    lab = lab_of(developed / 255)[..., 1:] - lab_of(pixels / 255)[..., 1:]
    assert np.abs(lab).mean() < 12


@pytest.mark.parametrize("orientation", TURNS)
def test_a_developed_picture_is_upright(rawpy, orientation):
    _, mosaic = sensor_picture(240, 160)
    plain, turned_one = (read(dng(mosaic, tags={274: number})) for number in (1, orientation))
    np.testing.assert_array_equal(turned_one, np.rot90(plain, TURNS[orientation]))


def test_raw_data_that_ends_early_is_damage(rawpy):
    _, mosaic = sensor_picture()
    mosaic[600:] = 0
    assert cautions(dng(mosaic))[1:] == ["the raw file is cut: a part of the picture is missing"]


def test_the_budget_of_a_raw_file_is_checked_before_it_is_developed(rawpy, monkeypatch):
    _, mosaic = sensor_picture(240, 160)
    monkeypatch.setattr("noref.decoding.extra._developed", lambda file: pytest.fail("developed"))
    with pytest.raises(ImageError, match="over the budget"):
        read(dng(mosaic), max_megapixels=0.03)


class LibRaw:
    """Stands for rawpy with a file of a kind that cannot be made by program."""

    LibRawError = type("LibRawError", (Exception,), {})
    ThumbFormat = types.SimpleNamespace(JPEG="jpeg")

    def __init__(self, preview, flip):
        self.preview, self.sizes = preview, types.SimpleNamespace(width=3000, height=2000, flip=flip)

    def imread(self, file):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *args):
        return None

    def extract_thumb(self):
        return types.SimpleNamespace(format="jpeg", data=self.preview)


CR3 = struct.pack(">I", 24) + b"ftypcrx \0\0\0\1crx isom" + bytes(20)


@pytest.mark.parametrize("start", [CR3, b"IIU\0\x08\0\0\0", b"FUJIFILMCCD-RAW 0201"])
def test_other_raw_files_give_the_preview_that_libraw_finds(start, monkeypatch):
    data = packed(Image.fromarray(picture(1200, 60)), "jpeg", quality=95)
    monkeypatch.setitem(sys.modules, "rawpy", LibRaw(data, flip=6))
    np.testing.assert_array_equal(read(start), np.rot90(read(data), -1))
    assert cautions(start) == ["a raw file: its preview of 1200 x 60 was taken"]


HEADS = {
    "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "pillow_heif"),
    "JPEG XL": (b"\xff\x0a\xff\x07" + bytes(40), "pillow_jxl.JpegXLImagePlugin"),
    "a raw file": (CR3, "rawpy"),
}


@pytest.mark.parametrize("what", HEADS)
def test_without_its_package_the_error_names_the_extra(what, monkeypatch):
    content, package = HEADS[what]
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImageError) as caught:
        read(content)
    assert str(caught.value) == f"<bytes>: {what} needs an extra: pip install 'noref[formats]'"


def test_the_packages_are_loaded_for_such_files_only(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.avif")
    code = f"import sys; from noref.images import read; read({str(tmp_path / 'a.avif')!r}); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "noref.decoding.extra" in loaded
    assert not {"pillow_heif", "pillow_jxl", "rawpy"} & set(loaded)
