"""The maps of one photo as one PNG in the papers' layout: photo, map of A, map of B, scores below. Pillow only."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps
from PIL.PngImagePlugin import PngInfo

from noref.explain.colormap import laid_over, legend, overlay
from noref.explain.map_types import MAP_TYPES, Map, color_range
from noref.images import Pixels
from noref.writing import replacing

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont
MARK = "noref-explain"  # the PNG's text chunk that holds the key
CELL, TALLEST, GAP = 360, 480, 14  # pixels
INK, SOFT, GROUND = (28, 28, 26), (96, 96, 92), (255, 255, 255)
LARGE, SMALL = 17, 13


@dataclass(frozen=True)
class ModelMaps:
    """The score and the maps of one photo by one model."""

    model: str
    score: float  # in [0, 100], higher is better
    maps: tuple[Map, ...]  # one of each type, for all models of a photo in the same order
    reasons: str = ""  # the faults that it sees in the whole photo, in words

    @property
    def score_line(self) -> str:
        """The score in words."""
        return f"predicted {self.score:.1f}"


@dataclass(frozen=True)
class PhotoMaps:
    """A photo with the scores and maps of all models."""

    name: str  # printable
    photo: Pixels  # as large as it is shown
    models: tuple[ModelMaps, ...]  # in the order of the columns
    truth: str | None = None  # the true score in words, where it is known

    @property
    def rows(self) -> list[list[Map]]:
        """The maps of each type, one a model."""
        return [list(row) for row in zip(*(one.maps for one in self.models), strict=True)]

    @property
    def truth_line(self) -> str:
        """What stands under the photo."""
        return f"true score {self.truth}" if self.truth else "no true score given"


def draw(photo_maps: PhotoMaps) -> Image.Image:
    """The whole figure, dark on white: a row for each map type, the photo and a column for each model."""
    width = GAP + (CELL + GAP) * (1 + len(photo_maps.models))
    photo = ImageOps.contain(Image.fromarray(photo_maps.photo), (CELL, TALLEST), Image.Resampling.LANCZOS)
    large, small = (ImageFont.load_default(size) for size in (LARGE, SMALL))
    strips = [_text(photo_maps.name, large, INK, width)]
    for row in photo_maps.rows:
        covers = [overlay(one, color_range(row), photo.size) for one in row]
        over = [laid_over(np.asarray(photo), cover, grey=row[0].window is None) for cover in covers]
        strips.append(_text(MAP_TYPES[row[0].type].title, large, INK, width))
        strips.append(_text(MAP_TYPES[row[0].type].meaning, small, SOFT, width))
        strips.append(_columns([photo, *over], above=GAP // 2))
        if row[0].window is None:
            strips.append(_columns([Image.new("RGB", (CELL, 1), GROUND), _scale(row, small)]))
    titles = ["photo", *(one.model for one in photo_maps.models)]
    scores = [photo_maps.truth_line, *(one.score_line for one in photo_maps.models)]
    for texts, font, ink in ((titles, large, INK), (scores, small, SOFT)):
        strips.append(_columns([_text(text, font, ink, CELL + 2 * GAP, middle=True) for text in texts]))
    figure = Image.new("RGB", (width, sum(strip.height for strip in strips) + GAP), GROUND)
    top = GAP // 2
    for strip in strips:
        figure.paste(strip, (0, top))
        top += strip.height
    return figure


def save(figure: Image.Image, path: Path, key: str) -> None:
    """Write a figure in one step, with the key of what it was drawn from inside."""
    words = PngInfo()
    words.add_text(MARK, key)
    with replacing(path) as partial:
        figure.save(partial, "PNG", pnginfo=words, optimize=True)


def key_of(path: Path) -> str | None:
    """The key inside a PNG that `save` wrote; None where there is no file, "" where it is something else."""
    if not path.exists():
        return None
    try:
        with Image.open(path) as picture:
            return str(picture.info.get(MARK, ""))
    except Exception:  # a file that is no picture was not drawn here either
        return ""


def scale_ends(row: list[Map]) -> tuple[str, str]:
    """What stands at both ends of the colour scale of maps side by side.

    Example:
        >>> scale_ends([Map("quality", np.array([[40.0, 60.0]]))])
        ('40 worse', '60 better')
    """
    found, digits = MAP_TYPES[row[0].type], 0 if row[0].type == "quality" else 1
    low, high = color_range(row)
    return f"{low:.{digits}f} {found.low}", f"{high:.{digits}f} {found.high}"


def _columns(cells: list[Image.Image], above: int = 0) -> Image.Image:
    """Pictures side by side, each in the middle of its column, and some white pixels above."""
    strip = Image.new("RGB", ((CELL + GAP) * len(cells) + GAP, above + max(cell.height for cell in cells)), GROUND)
    for number, cell in enumerate(cells):
        strip.paste(cell, (GAP + number * (CELL + GAP) + (CELL - cell.width) // 2, above))
    return strip


def _scale(row: list[Map], font: Font) -> Image.Image:
    scale = Image.new("RGB", (CELL, 40), GROUND)
    scale.paste(legend(MAP_TYPES[row[0].type].colormap, (CELL, 12)), (0, 6))
    low, high = scale_ends(row)
    pen = ImageDraw.Draw(scale)
    pen.text((0, 21), low, fill=SOFT, font=font)
    pen.text((CELL - font.getlength(high), 21), high, fill=SOFT, font=font)
    return scale


def _text(text: str, font: Font, ink: tuple[int, int, int], width: int, *, middle: bool = False) -> Image.Image:
    """A text on white, broken into lines where it is too long."""
    lines = _wrapped(text, font, width - 2 * GAP)
    step = round(font.getbbox("Ag")[3] * 1.25)
    strip = Image.new("RGB", (width, step * len(lines) + 6), GROUND)
    pen = ImageDraw.Draw(strip)
    for number, line in enumerate(lines):
        left = (width - font.getlength(line)) / 2 if middle else GAP
        pen.text((left, 4 + step * number), line, fill=ink, font=font)
    return strip


def _wrapped(text: str, font: Font, room: int) -> list[str]:
    """A text as lines that fit: broken at spaces where there are any, else anywhere."""
    for length in range(len(text), 0, -1):
        lines = textwrap.wrap(text, length)
        if all(font.getlength(line) <= room for line in lines):
            return lines or [""]
    return [text]
