"""Degrade an image file into another file, draw its contact sheet, and find the photos of a set."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from noref import images
from noref.decoding.kinds import SUFFIXES
from noref.degrade.pipeline import apply, check_step
from noref.degrade.sheet import draw_sheet
from noref.errors import DataError, OptionError
from noref.writing import SOFTWARE, check_output, is_picture

LOSSLESS = (".png", ".bmp", ".tif", ".tiff", ".ppm")


def degrade_file(
    photo: Path, name: str, level: int | str, out: Path | None = None, *, seed: int = 0, overwrite: bool = False
) -> Path:
    """Degrade an image file by one distortion and write the result; return the file that was written.

    Args:
        name: one of `noref.degrade.pipeline.DISTORTIONS`.
        level: 1 to 5, also as text.
        out: the file to write, of a lossless format; None: `NAME_DISTORTION_LEVEL.png` in the current folder.
        overwrite: replace a PNG or TIFF at `out` that noref wrote.

    Raises:
        OptionError: an unknown name, a level outside 1-5, or an `out` that is no place to write to, or is there and
            must not be replaced.
        ImageError: the photo is unreadable or smaller than 8 x 8.
    """
    is_number = isinstance(level, str) and level.strip("+-").isdecimal()
    _, number = check_step(name, int(level) if is_number else level)
    out = out or Path(f"{photo.stem}_{name}_{number}.png")
    _check_target(out, photo, overwrite)
    return _write(out, apply(images.read(photo), name, number, np.random.default_rng(seed)))


def draw_file(photo: Path, out: Path, *, seed: int = 0, overwrite: bool = False) -> Path:
    """Draw the contact sheet of an image file: all distortions at all levels; arguments as `degrade_file`."""
    _check_target(out, photo, overwrite)
    return _write(out, draw_sheet(images.read(photo), np.random.default_rng(seed)))


def find_photos(paths: Sequence[Path]) -> list[str]:
    """The files in `paths` and all image files below its folders, each folder's sorted by name.

    Raises:
        DataError: a path does not exist, or there is no image file.
    """
    found: list[str] = []
    for path in paths:
        if path.is_dir():
            found += sorted(_photos_below(str(path)), key=lambda photo: photo.split(os.sep))
        elif path.exists():
            found.append(str(path))
        else:
            raise DataError(f"{path}: no such file or folder")
    if not found:
        raise DataError(f"{', '.join(map(str, paths))}: no image file in it")
    return found


def _photos_below(folder: str) -> Iterator[str]:
    for root, _, files in os.walk(folder):
        for file in files:
            path = os.path.join(root, file)
            if os.path.splitext(file)[1].lower() in SUFFIXES and os.path.isfile(path):
                yield path


def _check_target(out: Path, photo: Path, overwrite: bool) -> None:
    if out.suffix.lower() not in LOSSLESS:
        raise OptionError(f"{out}: the result is written without loss, as {', '.join(LOSSLESS)}")
    if not out.parent.is_dir():
        raise OptionError(f"{out}: there is no folder {out.parent}")
    if out.exists() and photo.exists() and out.samefile(photo):
        raise OptionError(f"{out}: would overwrite the photo itself")
    check_output(out, ours=is_picture, overwrite=overwrite)


def _write(out: Path, pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Path:
    try:
        words = PngInfo()
        words.add_text("Software", SOFTWARE)
        Image.fromarray(pixels).save(out, pnginfo=words, software=SOFTWARE)
    except OSError as error:
        raise OptionError(f"{out}: cannot be written: {error.strerror or error}") from error
    return out
