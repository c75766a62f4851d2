"""A cloud as a page on which a point shows its photo: one HTML file that asks no server."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from noref.card import Preprocessing
from noref.embed.colour_scale import ramp
from noref.embed.embedding_plot import Cloud
from noref.errors import ImageError
from noref.images import printable, read
from noref.report import pages

TEMPLATE = Path(__file__).with_name("templates") / "embedding.html"
SIDES = (144, 112, 80, 56)  # of thumbnails, the longer side in pixels
QUALITY = 72
TRIED = 24  # thumbnails that are made to see how large they come out
VIEW, BORDER = 1000, 25  # of a map, in its own units


class Thumbnails(NamedTuple):
    """Small pictures for the page.

    Attributes:
        uris: (M,) data URIs; empty where a point has none.
        side: of the longer side in pixels.
        shown: how many points have one.
    """

    uris: list[str]
    side: int
    shown: int


def render_page(cloud: Cloud, *, megabytes: float = 8.0, advance: Callable[[], None] = lambda: None) -> str:
    """The page as HTML text.

    Args:
        cloud: what to show.
        megabytes: of all thumbnails together, at most: they are made smaller, and then fewer.
        advance: called after each image.

    Raises:
        MissingExtraError: Jinja2 is not installed.
    """
    template = pages.template(TEMPLATE, "the page of a map", figure=lambda value: f"{value:z.3f}")
    found = thumbnails([record.path for record in cloud.records], megabytes=megabytes, advance=advance)
    colouring = cloud.colouring
    points = [
        {"name": printable(cloud.names[at]), "words": cloud.words(at), "uri": uri} for at, uri in enumerate(found.uris)
    ]
    return str(
        template.render(
            cloud=cloud,
            title=printable(cloud.title),
            panels=[
                {"title": printable(panel.title), "figures": panel.figures, "places": in_view(panel.places)}
                for panel in cloud.panels
            ],
            radius=round(min(14.0, max(4.5, 170 / math.sqrt(len(points)))), 1),
            points=points,
            legend={printable(name): colour for name, colour in colouring.legend.items()},
            ramp=[ramp(share) for share in np.linspace(0, 1, 9)] if colouring.ramp else [],
            notes=[printable(note) for note in (*cloud.notes, *([colouring.words] if colouring.words else []))],
            thumbnails=found,
            view=VIEW,
        )
    )


def in_view(places: NDArray[np.float64]) -> list[tuple[float, float]]:
    """(M, 2) places of a map, y upwards -> places on the page, y downwards, one scale for both axes."""
    low, span = places.min(axis=0), float(np.ptp(places, axis=0).max()) or 1.0
    room = VIEW - 2 * BORDER
    shift = (1 - np.ptp(places, axis=0) / span) / 2
    share = (places - low) / span + shift
    return [(round(BORDER + room * x, 1), round(BORDER + room * (1 - y), 1)) for x, y in share]


def thumbnails(paths: Sequence[Path], *, megabytes: float, advance: Callable[[], None] = lambda: None) -> Thumbnails:
    """Thumbnails that fit into so many megabytes of text: smaller ones first, then of every second, third... image."""
    budget = megabytes * 1e6
    tried = [paths[at] for at in np.unique(np.linspace(0, len(paths) - 1, min(TRIED, len(paths))).astype(int))]
    each, side = 0.0, SIDES[0]
    for side in SIDES:
        each = max(1.0, float(np.mean([len(thumbnail(path, side)) for path in tried])))
        if each * len(paths) <= budget:
            break
    step = max(1, math.ceil(each * len(paths) / max(budget, 1)))
    uris, room = [], budget
    for at, path in enumerate(paths):
        uri = thumbnail(path, side) if at % step == 0 else ""
        uris.append(uri if len(uri) <= room else "")  # the sample may have been kind
        room -= len(uris[-1])
        advance()
    return Thumbnails(uris, side, sum(map(bool, uris)))


def thumbnail(path: Path, side: int) -> str:
    """A JPEG as a data URI, never enlarged; empty where the file cannot be read any more."""
    try:
        pixels = read(path, preprocessing=Preprocessing(max_pixels=6 * side * side, min_side=1))
    except ImageError:
        return ""
    small = Image.fromarray(pixels)
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return pages.data_uri(small, "JPEG", quality=QUALITY, optimize=True)
