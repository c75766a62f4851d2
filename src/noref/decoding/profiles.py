"""Embedded colour profiles: a picture is shown in sRGB, whatever space its file uses. Little CMS comes with Pillow."""

from __future__ import annotations

import functools
import io
import struct
from typing import Any

import numpy as np
from PIL import Image

SAME = 2  # of 255; a profile that moves no colour by more than this is sRGB, and pixels stay as they are
SPACES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # as a profile names them -> Pillow's mode
STEPS = np.linspace(0, 255, 9).round().astype(np.uint8)
PRIMARIES = {  # the XYZ of sRGB's primaries, adapted to D50
    b"rXYZ": (0.4361, 0.2225, 0.0139),
    b"gXYZ": (0.3851, 0.7169, 0.0971),
    b"bXYZ": (0.1431, 0.0606, 0.7141),
}
CURVE = {0.02: 0.001548, 0.2: 0.033105, 0.5: 0.214041, 0.8: 0.603827}  # value -> light
PARAMETERS = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)  # the same curve as a formula
NEAR = 0.002
REMEMBERED = 16  # profiles; a camera writes the same one into every file


class BrokenProfileError(Exception):
    """A profile that cannot be read, or that is of another colour space than its picture."""


def to_srgb(image: Image.Image, rgb: Image.Image, profile: bytes | None) -> Image.Image:
    """The RGB picture in sRGB.

    Args:
        image: as decoded, in the mode of its file; used where the profile is of that mode (grey, CMYK).
        rgb: the same picture in mode RGB, transparency already on white.
        profile: the ICC profile of the file, or None.

    Raises:
        BrokenProfileError: the profile cannot be used.
    """
    if not profile or image.mode == "LAB":
        return rgb
    mode, transform = _transform(bytes(profile))
    if transform is None:
        return rgb
    if (mode == "CMYK") != (image.mode == "CMYK"):
        raise BrokenProfileError(f"a profile for {mode} in a picture of mode {image.mode}")
    return _applied(transform, image if mode == "CMYK" else rgb.convert(mode))


def lab_to_rgb(image: Image.Image) -> Image.Image:
    """A picture of mode LAB (CIE 1976, D50) in sRGB."""
    from PIL import ImageCms

    return _applied(_built(ImageCms, ImageCms.createProfile("LAB"), "LAB"), image)


def _applied(transform: Any, image: Image.Image) -> Image.Image:
    found: Image.Image = transform.apply(image)
    return found


@functools.lru_cache(maxsize=REMEMBERED)
def _transform(profile: bytes) -> tuple[str, Any]:
    """The mode that a profile is for and its transform to sRGB, or None where nothing changes.

    Raises:
        BrokenProfileError: it cannot be read, or has no way to sRGB.
    """
    if _is_srgb(profile):
        return "RGB", None
    from PIL import ImageCms

    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = SPACES[opened.profile.xcolor_space]
        transform = _built(ImageCms, opened, mode)
    except Exception as error:  # Little CMS, or a space such as HSV
        raise BrokenProfileError(str(error)) from error
    return mode, None if _changes_nothing(mode, transform) else transform


def _is_srgb(profile: bytes) -> bool:
    """Whether a profile says in so many numbers that it is sRGB; spares loading Little CMS for most tagged files."""
    try:
        count = struct.unpack_from(">I", profile, 128)[0]
        tags = {name: at for name, at, _ in struct.iter_unpack(">4sII", profile[132 : 132 + 12 * count])}
        if profile[16:24] != b"RGB XYZ " or b"A2B0" in tags:
            return False
        points = [
            abs(found / 65536 - wanted) < NEAR
            for name, xyz in PRIMARIES.items()
            for found, wanted in zip(struct.unpack_from(">3i", profile, tags[name] + 8), xyz, strict=True)
        ]
        return all(points) and all(_srgb_curve(profile, tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC"))
    except (struct.error, KeyError):
        return False


def _srgb_curve(profile: bytes, at: int) -> bool:
    if profile[at : at + 4] == b"para":
        formula, *found = struct.unpack_from(">H2x5i", profile, at + 8)
        return formula == 3 and all(abs(a / 65536 - b) < NEAR for a, b in zip(found, PARAMETERS, strict=True))
    count = struct.unpack_from(">I", profile, at + 8)[0]
    if profile[at : at + 4] != b"curv" or count < 256:
        return False
    table = struct.unpack_from(f">{count}H", profile, at + 12)
    places = {value: value * (count - 1) for value in CURVE}
    between = {value: table[int(x)] + (x - int(x)) * (table[int(x) + 1] - table[int(x)]) for value, x in places.items()}
    return all(abs(between[value] / 65535 - light) < NEAR for value, light in CURVE.items())


def _built(cms: Any, profile: Any, mode: str) -> Any:
    intent = cms.Intent.PERCEPTUAL
    return cms.buildTransform(
        profile, cms.createProfile("sRGB"), mode, "RGB", renderingIntent=intent, flags=cms.Flags.BLACKPOINTCOMPENSATION
    )


def _changes_nothing(mode: str, transform: Any) -> bool:
    if mode not in ("RGB", "L"):
        return False
    if mode == "L":
        cube = np.arange(256, dtype=np.uint8)[None]
        same = np.stack([cube] * 3, axis=-1)
    else:
        cube = same = np.stack(np.meshgrid(STEPS, STEPS, STEPS), axis=-1).reshape(1, -1, 3)
    found = np.asarray(_applied(transform, Image.fromarray(cube)))
    return bool(np.abs(found.astype(int) - same).max() <= SAME)
