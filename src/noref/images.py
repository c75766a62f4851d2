"""Decode a file, bytes or an array to RGB pixels, for scoring, training and evaluation. numpy and Pillow only.

EXIF orientation is applied, transparency is put on white, 16 bit is scaled to 8, an animation gives its first frame.
Colours are converted from the embedded profile to sRGB; a file without a profile is taken as sRGB.
Pillow's own limits stay: it warns above `PIL.Image.MAX_IMAGE_PIXELS` (89 MP) and refuses twice that, whatever
`max_megapixels` says.
"""

from __future__ import annotations

import io
import math
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from noref.decoding import arrays, damage, jpeg2000
from noref.decoding.cautions import PROFILE
from noref.decoding.grey import eight_bit
from noref.decoding.limits import Limits, one_large
from noref.decoding.margin import trimmed
from noref.decoding.notes import notes
from noref.decoding.opening import opened
from noref.decoding.profiles import BrokenProfileError, lab_to_rgb, to_srgb
from noref.errors import ImageError, printable

Pixels = NDArray[np.uint8]

MAX_MEGAPIXELS = 200.0
MAX_ASPECT = 100  # longer side over shorter side
SCORED_SIDE = 16  # pixels; a picture with a shorter side has no score
LEAST_SIDE = 96  # pixels; at half scale a network of stride 32 still has two rows
DRAFT = 3  # a JPEG is decoded to at least this many times the size needed: at 2 scores move by up to 0.65, at 3 by 0.33
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}
ORIENTATION = 0x0112  # EXIF tag
NOT_FILES = {  # opening these may wait for ever, or act on a machine
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
UNUSED_ALPHA = {"BMP", "DIB", "TGA"}  # their fourth byte is often unused; where it is zero everywhere, it is no alpha
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
Image.preinit()  # load the common decoders now, not while the first image is decoded


class Tensor(Protocol):
    """What of a torch tensor is used."""

    def detach(self) -> Any:
        """Without its gradient."""


Source = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | NDArray[Any] | Tensor


class _Sizing(Protocol):
    """The fields of `noref.card.Preprocessing`, which documents them; this file imports no other but `errors`."""

    @property
    def max_pixels(self) -> int | None: ...
    @property
    def min_side(self) -> int: ...
    @property
    def crop(self) -> int | None: ...
    @property
    def resample(self) -> str: ...


def read(
    source: Source,
    *,
    preprocessing: _Sizing | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
    least_side: int = 1,
    trim: bool = False,
    cautions: list[str] | None = None,
) -> Pixels:
    """Decode an image and resize it for a model.

    The budget is checked with the size in the header, before memory is used. Where the model needs fewer pixels than a
    JPEG has, it is decoded at 1/2, 1/4 or 1/8, never below three times the size needed, and then resampled exactly.

    Args:
        source: a path, the bytes of an image file, an open binary file (read from where it stands), a PIL image (as
            its file would be read), an array (H, W) or (H, W, C) of grey, grey with alpha, RGB or RGBA, or a torch
            tensor (C, H, W); values are uint8, uint16 up to 65535, or floats in [0, 1].
        preprocessing: the model's; None keeps the size.
        max_megapixels: the budget, in millions of pixels of the file.
        least_side: a picture with a shorter side is an error; scoring uses `SCORED_SIDE`.
        trim: cut off a margin of one colour; a JPEG is then decoded at its full size.
        cautions: what makes the pixels doubtful is added to this list, in a few words each (`decoding.cautions`): a
            JPEG with missing data, a broken colour profile; also which picture of a file with several was taken.
            Without a list, a broken profile is a warning, once in a process.

    Returns:
        (H, W, 3) uint8 RGB, writable, C-contiguous.

    Raises:
        ImageError: missing, unreadable, not an image, damaged, over the budget, too small, too thin,
            or an array of another kind.

    Example:
        >>> read(np.zeros((30, 20, 3), np.uint8)).shape
        (30, 20, 3)
    """
    limits = Limits(max_megapixels, least_side, trim)
    try:
        if isinstance(source, np.ndarray):
            return _from_array(arrays.to_rgb(source), preprocessing, limits, cautions)
        if arrays.is_tensor(source):
            return _from_array(arrays.to_rgb(arrays.from_tensor(source)), preprocessing, limits, cautions)
        if isinstance(source, Image.Image):
            return _from_image(source, preprocessing, limits, cautions)
        with _open(source) as file:
            return _decode(file, preprocessing, limits, cautions)
    except Exception as error:  # on damaged bytes Pillow's decoders raise errors of any type
        raise ImageError(f"{name(source)}: {_reason(error)}") from error


def name(source: object) -> str:
    """The name of a source in messages: its path, or its kind such as `<bytes>` or `<array>`."""
    if isinstance(source, str | os.PathLike):
        return printable(os.fspath(source))
    inside = getattr(source, "filename" if isinstance(source, Image.Image) else "name", None)
    if inside and isinstance(inside, str) and not isinstance(source, np.ndarray):
        return printable(inside)
    return "<array>" if isinstance(source, np.ndarray) else f"<{type(source).__name__}>"


@contextmanager
def pillow_allows(max_megapixels: float) -> Iterator[None]:
    """Raise Pillow's own limit, which is global to the process, to a larger budget: for the command line only."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None:
        Image.MAX_IMAGE_PIXELS = max(limit, math.ceil(max_megapixels * 1e6 / 2))  # Pillow refuses above twice this
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def target_size(width: int, height: int, preprocessing: _Sizing) -> tuple[int, int]:
    """The (width, height) of an image as the input of a model.

    The image is shrunk to `max_pixels`, then enlarged to `min_side` (or to `crop`, if that is more). In a long and
    thin image the two conflict: where crops are the input, the side is kept as long as they need; where the whole
    image is, it stays within `max_pixels`, unless a side would fall below 96 pixels, too few for the last layers.

    Raises:
        ImageError: an image without pixels, or more than 100 times as long as wide.

    Example:
        >>> from noref.card import Preprocessing
        >>> target_size(4000, 3000, Preprocessing(max_pixels=480_000)), target_size(100, 50, Preprocessing())
        ((800, 600), (448, 224))
    """
    short, long = sorted((width, height))
    if short < 1 or long > MAX_ASPECT * short:
        raise ImageError(f"{width} x {height} pixels are too long and thin to be scored")
    fit = math.inf if preprocessing.max_pixels is None else math.sqrt(preprocessing.max_pixels / (width * height))
    scale = min(1.0, fit)
    least = max(preprocessing.min_side, preprocessing.crop or 0) / short
    if least > scale:
        scale = least if preprocessing.crop else min(least, max(fit, LEAST_SIDE / short))
    return max(1, round(width * scale)), max(1, round(height * scale))


def grid(height: int, width: int, size: int) -> list[tuple[int, int]]:
    """Top-left corners (row, column) of the fewest square crops of side `size` that cover an image, evenly spaced.

    Raises:
        ValueError: the image is smaller than a crop, or `size` is below 1.

    Example:
        >>> grid(4, 7, 4)
        [(0, 0), (0, 3)]
    """
    if not 1 <= size <= min(height, width):
        raise ValueError(f"crops of {size} do not fit into {height} x {width}")
    return [(top, left) for top in _starts(height, size) for left in _starts(width, size)]


def _starts(length: int, size: int) -> list[int]:
    gaps = -(-length // size) - 1
    return [round(i * (length - size) / gaps) for i in range(gaps + 1)] if gaps else [(length - size) // 2]


def _open(source: object) -> BinaryIO:
    if isinstance(source, bytes | bytearray | memoryview):
        return io.BytesIO(source)
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        mode = 0
        with suppress(OSError, ValueError):  # opening it says what is wrong
            mode = stat.S_IFMT(path.stat().st_mode)
        if mode in NOT_FILES:
            raise ImageError(f"{NOT_FILES[mode]}, not a file")
        return path.open("rb")
    if callable(read_all := getattr(source, "read", None)):
        content = read_all()
        if isinstance(content, bytes):
            return io.BytesIO(content)
        raise ImageError('a text file: open it with mode "rb"')
    several = ": for several call score_many" if isinstance(source, list | tuple) else ""
    raise ImageError(f"a source is {arrays.KINDS}{several}")


def _from_array(
    array: NDArray[Any], preprocessing: _Sizing | None, limits: Limits, cautions: list[str] | None
) -> Pixels:
    limits.check(array.shape[1], array.shape[0])
    if preprocessing is None and not limits.trim:
        return np.array(array, order="C")
    return np.array(_fitted(Image.fromarray(np.ascontiguousarray(array)), preprocessing, limits, cautions))


def _from_image(
    image: Image.Image, preprocessing: _Sizing | None, limits: Limits, cautions: list[str] | None
) -> Pixels:
    limits.check(*image.size)
    upright = UPRIGHT.get(_orientation(image, 1))
    rgb = _in_srgb(image, _rgb(image), image.info.get("icc_profile"), cautions)
    rgb = _fitted(rgb, preprocessing, limits, cautions)
    return np.array(rgb if upright is None else rgb.transpose(upright))


def _decode(file: BinaryIO, preprocessing: _Sizing | None, limits: Limits, cautions: list[str] | None) -> Pixels:
    picture = opened(file, limits)
    found = [] if cautions is None else cautions
    found.extend(picture.notes)
    with picture.image as image:
        limits.check(*image.size)
        drafted = None
        if preprocessing is not None and not limits.trim:
            size = target_size(*image.size, preprocessing)
            drafted = image.draft("RGB", (DRAFT * size[0], DRAFT * size[1]))
        damage.check(image, picture.file)
        with one_large(image.width * image.height):
            image.load()
            upright = UPRIGHT.get(_orientation(image, picture.orientation))
            decoded = _corrected(image, picture.file)
            if cautions is not None:
                found.extend(damage.cautions(image, picture.file))
            rgb = _in_srgb(decoded, _rgb(decoded), image.info.get("icc_profile"), cautions)
            if preprocessing is not None and drafted:
                rgb = _resized(rgb, size, drafted[1], preprocessing)
            else:
                rgb = _fitted(rgb, preprocessing, limits, cautions)
            if cautions is not None and not picture.notes:
                found.extend(notes(image, picture.file))
            return np.array(rgb if upright is None else rgb.transpose(upright))


def _orientation(image: Image.Image, default: int) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, default))
    except Exception:  # the pixels may be readable where the tag is not
        return 1


def _corrected(image: Image.Image, file: BinaryIO) -> Image.Image:
    """The pixels where Pillow decodes a format wrongly."""
    if image.format == "JPEG2000":
        file.seek(0)
        return jpeg2000.corrected(image, file.read())
    if image.format in UNUSED_ALPHA and image.mode == "RGBA" and not image.getchannel("A").getbbox():
        return image.convert("RGB")
    return image


def _in_srgb(image: Image.Image, rgb: Image.Image, profile: bytes | None, cautions: list[str] | None) -> Image.Image:
    try:
        return to_srgb(image, rgb, profile)
    except BrokenProfileError:
        if cautions is None:
            warnings.warn("a broken colour profile is ignored", stacklevel=2)
        else:
            cautions.append(PROFILE)
        return rgb


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "LAB":
        return lab_to_rgb(image)
    if image.mode.startswith("I") or image.mode == "F":
        return eight_bit(image).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    white = Image.new("RGB", layer.size, "white")
    white.paste(layer, (0, 0), layer)
    return white


def _fitted(
    image: Image.Image, preprocessing: _Sizing | None, limits: Limits, cautions: list[str] | None
) -> Image.Image:
    """Without its margin, where that is asked for, and as large as the model takes it."""
    if limits.trim:
        image = trimmed(image, [] if cautions is None else cautions)
        limits.check(*image.size)
    return (
        image
        if preprocessing is None
        else _resized(image, target_size(*image.size, preprocessing), None, preprocessing)
    )


def _resized(
    image: Image.Image, size: tuple[int, int], box: tuple[int, int, float, float] | None, preprocessing: _Sizing
) -> Image.Image:
    return image if image.size == size else image.resize(size, FILTERS[preprocessing.resample], box=box)


def _reason(error: Exception) -> str:
    if isinstance(error, ImageError):
        return str(error)
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if "unsupported" in str(error).lower():
        return f"this kind of file is not supported: {error}"
    return f"damaged: {error or type(error).__name__}"
