"""The page on which people see the gMAD pairs of a competition and vote: one HTML file that needs nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from PIL import Image

from noref.errors import printable
from noref.gmad.pairs import GmadPair
from noref.gmad.preference_counts import COLUMNS
from noref.gmad.score_table import ScoreTable
from noref.images import read
from noref.report import pages

TEMPLATE = Path(__file__).with_name("templates") / "gmad.html"
JPEG_QUALITY = 95  # with full colour resolution: the artefacts that people compare must not be those of this file


def render_page(
    pairs: Sequence[GmadPair],
    models: tuple[ScoreTable, ScoreTable],
    locate: Callable[[str], Path],
    *,
    levels: int,
    side: int = 640,
    advance: Callable[[], None] = lambda: None,
) -> str:
    """The page as HTML text.

    Pairs stand role by role and level by level. Scores stay hidden until the pair has a vote or the reader asks for
    all of them; without JavaScript and in print they are visible. The browser keeps the votes until they are saved.

    Args:
        pairs: of both roles.
        models: for the direction of their scores.
        locate: path as in the pairs -> the image's file.
        levels: how many there are, also where some gave no pair.
        side: as in `picture`.
        advance: called after each pair.

    Raises:
        MissingExtraError: Jinja2 is not installed.
        ImageError: an unreadable image; names the file.
    """
    template = pages.template(TEMPLATE, "the page of pairs", score=lambda value: f"{value:#.4g}", path=printable)
    shown = {}
    for pair in pairs:
        shown[pair.pair] = {name: picture(locate(getattr(pair, name)), side) for name in ("better", "worse")}
        advance()
    page = template.render(
        title=" and ".join(model.name for model in models),
        directions={model.name: model.direction for model in models},
        pairs=[{name: printable(str(getattr(pair, name))) for name in COLUMNS[:-1]} for pair in pairs],  # no vote yet
        columns=COLUMNS,
        roles=[(names, list(found)) for names, found in groupby(pairs, attrgetter("defender", "attacker"))],
        levels=levels,
        shown=shown,
        key=_key(pairs),
    )
    return str(page)


def picture(path: Path, side: int) -> str:
    """An image as a JPEG in a data URI, its longer side at most `side` pixels, never enlarged."""
    image = Image.fromarray(read(path))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return pages.data_uri(image, "JPEG", quality=JPEG_QUALITY, subsampling=0)


def _key(pairs: Sequence[GmadPair]) -> str:
    """Names the competition, so that the votes that a browser keeps belong to these pairs and sides."""
    text = "\n".join(f"{p.pair} {p.attacker} {p.defender} {p.better} {p.worse} {p.left}" for p in pairs)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
