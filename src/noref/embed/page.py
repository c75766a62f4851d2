"""An embedding plot as a page on which each point shows its photo: one HTML file that needs no server."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from noref.embed.colour_scale import ramp
from noref.embed.embedding_plot import EmbeddingPlot
from noref.errors import ImageError, printable
from noref.report import pages
from noref.scoring.progress import tracked

TEMPLATE = Path(__file__).with_name("templates") / "embedding.html"
SIDES = (144, 112, 80, 56)  # of thumbnails, the longer side in pixels
QUALITY = 72
TRIED = 24  # thumbnails that are made first, to estimate the size of all
VIEW, BORDER = 1000, 25  # of a map, in its own units


def render_page(plot: EmbeddingPlot, *, megabytes: float = 8.0) -> str:
    """The page as HTML text; its thumbnails fit into so many megabytes, see `thumbnails`.

    Raises:
        MissingExtraError: Jinja2 is not installed.
    """
    template = pages.template(TEMPLATE, "the page of a map", metric=lambda value: f"{value:z.3f}", printable=printable)
    uris, side = thumbnails([image.record.path for image in plot.images], megabytes=megabytes)
    points = [
        {"name": printable(image.name), "caption": image.caption, "uri": uri}
        for image, uri in zip(plot.images, uris, strict=True)
    ]
    content = {
        "plot": plot,
        "title": printable(plot.title),
        "places": [in_view(panel.places) for panel in plot.panels],
        "radius": round(min(14.0, max(4.5, 170 / math.sqrt(len(plot.images)))), 1),
        "points": points,
        "ramp": [ramp(share) for share in np.linspace(0, 1, 9)],
        "side": side,
        "shown": sum(map(bool, uris)),
        "view": VIEW,
    }
    return str(template.render(content))


def in_view(places: NDArray[np.float64]) -> list[tuple[float, float]]:
    """(M, 2) places of a map, y upwards -> places on the page, y downwards, one scale for both axes."""
    low, span = places.min(axis=0), float(np.ptp(places, axis=0).max()) or 1.0
    room = VIEW - 2 * BORDER
    shift = (1 - np.ptp(places, axis=0) / span) / 2
    share = (places - low) / span + shift
    return [(round(BORDER + room * x, 1), round(BORDER + room * (1 - y), 1)) for x, y in share]


def thumbnails(paths: Sequence[Path], *, megabytes: float) -> tuple[list[str], int]:
    """A data URI for each image, some of them empty, and the longer side in pixels.

    They fit into so many megabytes of text: they are made smaller, then of every second, third... image only.
    """
    budget = megabytes * 1e6
    tried = [paths[at] for at in np.unique(np.linspace(0, len(paths) - 1, min(TRIED, len(paths))).astype(int))]
    each, side = 0.0, SIDES[0]
    for side in SIDES:
        each = max(1.0, float(np.mean([len(thumbnail(path, side)) for path in tried])))
        if each * len(paths) <= budget:
            break
    step = max(1, math.ceil(each * len(paths) / max(budget, 1)))
    uris, room = [], budget
    for at, path in enumerate(tracked(paths, "page")):
        uri = thumbnail(path, side) if at % step == 0 else ""
        uris.append(uri if len(uri) <= room else "")  # the estimate may have been too low
        room -= len(uris[-1])
    return uris, side


def thumbnail(path: Path, side: int) -> str:
    """As `noref.report.pages.thumbnail`; empty where the file cannot be read any more."""
    try:
        return pages.thumbnail(path, side, quality=QUALITY).uri
    except ImageError:
        return ""
