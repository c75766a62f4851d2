"""Embedded colour profiles: the same picture in another colour space gives the same pixels."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from PIL import Image, ImageCms

from noref.card import Preprocessing
from noref.decoding import profiles
from noref.images import read

from ..made_pictures import packed, picture
from .profiles import cmyk_profile, grey_profile, lab_of, rgb_profile

PIXELS = picture(160, 120)


def converted(profile, mode="RGB"):
    target = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.profileToProfile(Image.fromarray(PIXELS), ImageCms.createProfile("sRGB"), target, outputMode=mode)


def difference(found, expected=PIXELS):
    return np.abs(found.astype(int) - expected).mean()


@pytest.mark.parametrize("form", ["png", "tiff", "jpeg", "webp"])
@pytest.mark.parametrize("space", ["Display P3", "Adobe RGB", "ProPhoto"])
def test_other_spaces_give_the_pixels_of_the_srgb_original(space, form):
    profile = rgb_profile(space)
    options = {"jpeg": {"quality": 98, "subsampling": 0}, "webp": {"lossless": True}}.get(form, {})
    found = read(packed(converted(profile), form, icc_profile=profile, **options))
    ignored = read(packed(converted(profile), form, icc_profile=b"", **options))
    assert difference(found) < (3 if form == "jpeg" else 0.8)  # a wide space makes the errors of JPEG larger
    assert difference(found) < difference(ignored) / 2


def test_cmyk_is_shown_as_its_profile_says():
    profile = cmyk_profile()
    inks = converted(profile, "CMYK")
    assert difference(read(packed(inks, "tiff", icc_profile=b""))) > 6
    assert difference(read(packed(inks, "tiff", icc_profile=profile))) < 2
    assert difference(read(packed(inks, "jpeg", quality=98, subsampling=0, icc_profile=profile))) < 3


@pytest.mark.parametrize("exponent", [1.0, 1.8])
def test_grey_is_shown_as_its_profile_says(exponent):
    grey = Image.fromarray(PIXELS[..., 0])
    found = read(packed(grey, "png", icc_profile=grey_profile(exponent)))
    light = (PIXELS[..., 0] / 255.0) ** exponent
    expected = 255 * np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(found[..., 0] - expected).max() < 2.5
    assert (found[..., 0] == found[..., 2]).all()


@pytest.mark.parametrize(
    "profile", [ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), rgb_profile("sRGB")]
)
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
def test_tagged_srgb_stays_bit_identical(mode, profile):
    image = Image.fromarray(PIXELS).convert(mode)
    plain = read(packed(image, "png"))
    np.testing.assert_array_equal(read(packed(image, "png", icc_profile=profile)), plain)


@pytest.mark.parametrize(
    "profile", [rgb_profile("sRGB"), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()]
)
def test_srgb_is_known_without_little_cms(profile, monkeypatch):
    profiles._transform.cache_clear()
    monkeypatch.setattr(profiles, "_built", lambda *args: pytest.fail("loaded"))
    read(packed(Image.fromarray(PIXELS), "png", icc_profile=profile))


@pytest.mark.parametrize("space", ["Display P3", "Adobe RGB", "ProPhoto"])
def test_other_spaces_are_not_taken_for_srgb(space):
    assert not profiles._is_srgb(rgb_profile(space))


def test_an_rgb_profile_counts_for_palettes_and_transparency():
    profile = rgb_profile("ProPhoto")
    image = converted(profile)
    palette = image.quantize(256)
    seen = read(packed(palette, "png", icc_profile=profile))
    assert difference(seen, read(packed(palette.convert("RGB"), "png", icc_profile=profile))) == 0
    image.putalpha(0)
    assert (read(packed(image, "png", icc_profile=profile)) >= 254).all()


def test_a_shrunk_and_turned_picture_too():
    profile, small = rgb_profile("ProPhoto"), Preprocessing(max_pixels=4800, min_side=1)
    exif = Image.Exif()
    exif[274] = 6
    found = read(packed(converted(profile), "png", icc_profile=profile, exif=exif), preprocessing=small)
    assert difference(found, np.rot90(read(PIXELS, preprocessing=small), -1)) < 1


BROKEN = {
    "noise": bytes(range(256)) * 4,
    "cut": rgb_profile("ProPhoto")[:200],
    "another space": cmyk_profile(),
    "no curves": rgb_profile("ProPhoto").replace(b"TRC", b"XXX"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_profile_is_ignored_and_said(broken):
    content = packed(Image.fromarray(PIXELS), "png", icc_profile=BROKEN[broken])
    cautions = []
    np.testing.assert_array_equal(read(content, cautions=cautions), PIXELS)
    assert cautions == ["broken colour profile ignored"]


def test_without_a_list_a_broken_profile_is_said_once():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        for name in BROKEN:
            read(packed(Image.fromarray(PIXELS), "png", icc_profile=BROKEN[name]))
    assert [str(one.message) for one in said] == ["a broken colour profile is ignored"]


def test_cielab_tiff_is_read():
    lab = np.rint(lab_of(PIXELS / 255.0) * (2.55, 1, 1)).astype(int).astype(np.uint8)  # a and b are signed
    image = Image.frombytes("LAB", (160, 120), lab.tobytes())
    assert difference(read(packed(image, "tiff"))) < 2.5
