"""The page of explanations: one HTML file that needs nothing else, where maps are laid over their photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from noref.explain.colormap import legend, overlay
from noref.explain.figure import PhotoMaps, scale_ends
from noref.explain.map_types import MAP_TYPES, color_range
from noref.report import pages

TEMPLATE = Path(__file__).with_name("templates") / "explain.html"
GENERATOR = "noref explain"
MAP_SIDE = 320  # pixels of a map's longer side on the page: maps are smooth, the browser enlarges them
JPEG_QUALITY = 90


def render_page(photos: Sequence[Mapping[str, Any]], models: Sequence[tuple[str, str]]) -> str:
    """The page as HTML text, the photo with the lowest score first, by the first model.

    Args:
        photos: as `page_entry` gives them.
        models: name of each and what it is, in the order of the columns.

    Raises:
        MissingExtraError: Jinja2 is not installed.
    """
    names = list(dict.fromkeys(row["type"] for photo in photos for row in photo["rows"]))
    page = pages.template(TEMPLATE, "the page of explanations").render(
        generator=GENERATOR,
        photos=sorted(photos, key=lambda photo: photo["models"][0]["score"]),
        map_types={name: MAP_TYPES[name] for name in names},
        legends={name: _png(legend(MAP_TYPES[name].colormap, (256, 1))) for name in names},
        models=models,
    )
    return str(page)


def page_entry(photo_maps: PhotoMaps) -> dict[str, Any]:
    """What the page shows of one photo."""
    height, width = photo_maps.photo.shape[:2]
    scale = min(1.0, MAP_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    rows = []
    for row in photo_maps.rows:
        covers = [_png(overlay(one, color_range(row), size)) for one in row]
        ends = scale_ends(row) if row[0].window is None else None
        rows.append({"type": row[0].type, "ends": ends, "maps": covers})
    return {
        "name": photo_maps.name,
        "photo": pages.data_uri(Image.fromarray(photo_maps.photo), "JPEG", quality=JPEG_QUALITY),
        "width": width,
        "height": height,
        "truth": photo_maps.truth_line,
        "models": [
            {"name": one.model, "score": one.score, "line": one.score_line, "reasons": one.reasons}
            for one in photo_maps.models
        ],
        "rows": rows,
    }


def _png(picture: Image.Image) -> str:
    return pages.data_uri(picture, "PNG", optimize=True)
