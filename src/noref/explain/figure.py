"""One photo's maps as one PNG in the papers' layout: photo, map of A, map of B, their scores below. Pillow only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from noref.explain.colormap import laid_over, legend, overlay
from noref.explain.map_types import KINDS, Map, span
from noref.images import Pixels
from noref.writing import replacing

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont
MARK = "noref-explain"  # the PNG's own word of what it was drawn from
CELL, TALLEST, GAP = 360, 480, 14  # pixels
INK, SOFT, GROUND = (28, 28, 26), (96, 96, 92), (255, 255, 255)
LARGE, SMALL = 17, 13


@dataclass(frozen=True)
class Column:
    """What one model says of one photo.

    Attributes:
        model: its name.
        score: in [0, 100], higher is better.
        maps: one of each kind, all columns of a photo in the same order.
    """

    model: str
    score: float
    maps: tuple[Map, ...]


@dataclass(frozen=True)
class Sheet:
    """A photo with everything that is said of it.

    Attributes:
        name: of the photo, printable.
        photo: (H, W, 3) uint8 RGB, as large as it is shown.
        columns: one a model.
        truth: the true score in words; None where none is known.
    """

    name: str
    photo: Pixels
    columns: tuple[Column, ...]
    truth: str | None = None

    @property
    def kinds(self) -> list[str]:
        """The kinds of the rows, in their order."""
        return [one.kind for one in self.columns[0].maps]

    def row(self, place: int) -> list[Map]:
        """The maps of one kind, one a model."""
        return [column.maps[place] for column in self.columns]

    def ends(self, place: int) -> tuple[float, float]:
        """The numbers at both ends of the colours of one row."""
        return span(self.kinds[place], self.row(place))


def score_line(column: Column) -> str:
    """A model's score in words.

    Example:
        >>> score_line(Column("default", 61.23, ()))
        'predicted 61.2'
    """
    return f"predicted {column.score:.1f}"


def truth_line(truth: str | None) -> str:
    """What stands under the photo."""
    return f"true score {truth}" if truth else "no true score given"


def draw(sheet: Sheet) -> Image.Image:
    """The whole figure, dark on white: a row a kind of map, a column a model, the photo first in each row."""
    width = GAP + (CELL + GAP) * (1 + len(sheet.columns))
    photo = Image.fromarray(sheet.photo)
    scale = min(CELL / photo.width, TALLEST / photo.height)
    small = photo.resize(
        (max(1, round(photo.width * scale)), max(1, round(photo.height * scale))), Image.Resampling.LANCZOS
    )
    large, fine = (ImageFont.load_default(size) for size in (LARGE, SMALL))
    strips = [_text([sheet.name], large, INK, width)]
    for place, kind in enumerate(sheet.kinds):
        strips.append(_text([KINDS[kind].title], large, INK, width))
        strips.append(_text([KINDS[kind].meaning], fine, SOFT, width))
        strips.append(_row(sheet, place, small, width))
        if not KINDS[kind].framed:
            strips.append(_scale(kind, sheet.ends(place), fine, width))
    heads = ["photo", *(column.model for column in sheet.columns)]
    lines = [truth_line(sheet.truth), *(score_line(column) for column in sheet.columns)]
    strips.append(_captions(heads, lines, large, fine, width))
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
    except Exception:  # what is no picture was not drawn here either
        return ""


def _row(sheet: Sheet, place: int, photo: Image.Image, width: int) -> Image.Image:
    strip = Image.new("RGB", (width, photo.height + GAP // 2), GROUND)
    strip.paste(photo, (GAP + (CELL - photo.width) // 2, GAP // 2))
    for number, one in enumerate(sheet.row(place), start=1):
        cover = overlay(one, sheet.ends(place), photo.size)
        left = GAP + number * (CELL + GAP) + (CELL - photo.width) // 2
        strip.paste(laid_over(np.asarray(photo), cover, grey=not KINDS[one.kind].framed), (left, GAP // 2))
    return strip


def _scale(kind: str, ends: tuple[float, float], font: Font, width: int) -> Image.Image:
    strip = Image.new("RGB", (width, 40), GROUND)
    bar = legend(KINDS[kind].shade, (CELL, 12))
    left = GAP + CELL + GAP
    strip.paste(bar, (left, 6))
    low, high = ends_in_words(kind, ends)
    pen = ImageDraw.Draw(strip)
    pen.text((left, 21), low, fill=SOFT, font=font)
    pen.text((left + CELL - pen.textlength(high, font=font), 21), high, fill=SOFT, font=font)
    return strip


def ends_in_words(kind: str, ends: tuple[float, float]) -> tuple[str, str]:
    """What stands at both ends of a colour scale.

    Example:
        >>> ends_in_words("quality", (40.0, 60.0))
        ('40 worse', '60 better')
    """
    digits = 0 if kind == "quality" else 1
    return f"{ends[0]:.{digits}f} {KINDS[kind].low}", f"{ends[1]:.{digits}f} {KINDS[kind].high}"


def _captions(
    heads: Sequence[str],
    lines: Sequence[str],
    large: Font,
    fine: Font,
    width: int,
) -> Image.Image:
    cells = [
        (_text([head], large, INK, CELL + 2 * GAP, middle=True), _text([line], fine, SOFT, CELL + 2 * GAP, middle=True))
        for head, line in zip(heads, lines, strict=True)
    ]
    tall = max(upper.height for upper, _ in cells)
    strip = Image.new("RGB", (width, tall + max(lower.height for _, lower in cells)), GROUND)
    for number, (upper, lower) in enumerate(cells):
        strip.paste(upper, (number * (CELL + GAP), 0))
        strip.paste(lower, (number * (CELL + GAP), tall))
    return strip


def _text(
    lines: Sequence[str],
    font: Font,
    ink: tuple[int, int, int],
    width: int,
    *,
    middle: bool = False,
) -> Image.Image:
    """Lines of text on white, broken where they are too long."""
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    broken = [part for line in lines for part in _broken(line, font, width - 2 * GAP, pen)]
    step = round(font.getbbox("Ag")[3] * 1.25)
    strip = Image.new("RGB", (width, step * len(broken) + 6), GROUND)
    pen = ImageDraw.Draw(strip)
    for number, line in enumerate(broken):
        left = (width - pen.textlength(line, font=font)) / 2 if middle else GAP
        pen.text((left, 4 + step * number), line, fill=ink, font=font)
    return strip


def _broken(line: str, font: Font, room: int, pen: ImageDraw.ImageDraw) -> list[str]:
    """A line as lines that fit: at spaces where there are any, else anywhere."""
    found = [""]
    for word in line.split(" "):
        longer = f"{found[-1]} {word}".strip()
        if pen.textlength(longer, font=font) <= room:
            found[-1] = longer
            continue
        if found[-1]:
            found.append("")
        for letter in word:
            if pen.textlength(found[-1] + letter, font=font) > room:
                found.append("")
            found[-1] += letter
    return found
