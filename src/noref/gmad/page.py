"""The page on which people see the pairs of a gMAD competition and vote: one HTML file that needs nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

from PIL import Image

from noref.gmad.pairs import Match
from noref.gmad.preference_counts import COLUMNS
from noref.gmad.score_table import Opponent
from noref.images import printable, read
from noref.report import pages

TEMPLATE = Path(__file__).with_name("templates") / "gmad.html"
JPEG_QUALITY = 95  # with full colour resolution: what is judged must not come from this file


def render_page(
    matches: Sequence[Match],
    opponents: tuple[Opponent, Opponent],
    locate: Callable[[str], Path],
    *,
    levels: int,
    side: int = 640,
    advance: Callable[[], None] = lambda: None,
) -> str:
    """The page as HTML text.

    Pairs stand role by role and level by level. Scores stay hidden until the pair has a vote or the reader asks for
    all of them; without JavaScript and in print they are seen. Votes stay in the browser until they are saved.

    Args:
        matches: of both roles.
        opponents: the two models, for the direction of their scores.
        locate: path as in the matches -> the image's file.
        levels: how many there are, also where some gave no pair.
        side: pixels of the longer side, at most; smaller images keep their size.
        advance: called after each pair.

    Raises:
        MissingExtraError: Jinja2 is not installed.
        ImageError: an image that cannot be read.
    """
    template = pages.template(TEMPLATE, "the page of pairs", score=lambda value: f"{value:#.4g}", path=_plain)
    shown = {}
    for match in matches:
        shown[match.pair] = {name: picture(locate(getattr(match, name)), side) for name in ("better", "worse")}
        advance()
    roles = [
        {"defender": defender, "attacker": attacker, "levels": [(n, list(of)) for n, of in groupby(found, _level)]}
        for (defender, attacker), found in groupby(matches, lambda match: (match.defender, match.attacker))
    ]
    return str(
        template.render(
            title=" and ".join(opponent.name for opponent in opponents),
            directions={opponent.name: opponent.direction for opponent in opponents},
            matches=[{name: _plain(getattr(match, name)) for name in COLUMNS if name != "vote"} for match in matches],
            columns=COLUMNS,
            roles=roles,
            levels=levels,
            shown=shown,
            key=_key(matches),
        )
    )


def picture(path: Path, side: int) -> str:
    """An image as a JPEG in a data URI, its longer side at most `side` pixels, never enlarged."""
    image = Image.fromarray(read(path))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return pages.data_uri(image, "JPEG", quality=JPEG_QUALITY, subsampling=0)


def _level(match: Match) -> int:
    return match.level


def _plain(value: str | int) -> str | int:
    return printable(value) if isinstance(value, str) else value


def _key(matches: Sequence[Match]) -> str:
    """Names the competition, so that the votes that a browser keeps belong to these pairs and sides."""
    text = "\n".join(f"{m.pair} {m.attacker} {m.defender} {m.better} {m.worse} {m.left}" for m in matches)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
