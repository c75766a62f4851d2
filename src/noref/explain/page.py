"""The page of explanations: one HTML file that needs nothing else, where maps are laid over their photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from noref.explain.colormap import legend, overlay
from noref.explain.figure import Sheet, ends_in_words, score_line, truth_line
from noref.explain.map_types import KINDS
from noref.report import pages

TEMPLATE = Path(__file__).with_name("templates") / "explain.html"
GENERATOR = "noref explain"
MAP_SIDE = 320  # pixels of a map's longer side on the page: maps are smooth, the browser enlarges them
JPEG_QUALITY = 90


def render_page(photos: Sequence[Mapping[str, Any]], cards: Sequence[tuple[str, str]]) -> str:
    """The page as HTML text.

    Args:
        photos: as `shown` gives them, in their order.
        cards: name of a model and what it is, in their order.

    Raises:
        MissingExtraError: Jinja2 is not installed.
    """
    kinds = list(dict.fromkeys(row["kind"] for photo in photos for row in photo["rows"]))
    legends = {kind: pages.data_uri(legend(KINDS[kind].shade, (256, 1)), "PNG", optimize=True) for kind in kinds}
    return str(
        template().render(
            generator=GENERATOR,
            photos=photos,
            kinds=[KINDS[kind] for kind in kinds],
            legends=legends,
            models=cards,
        )
    )


def shown(sheet: Sheet) -> dict[str, Any]:
    """What the page shows of one photo."""
    rows = []
    for place, kind in enumerate(sheet.kinds):
        ends = sheet.ends(place)
        scale = min(1.0, MAP_SIDE / max(sheet.photo.shape[:2]))
        size = (max(1, round(sheet.photo.shape[1] * scale)), max(1, round(sheet.photo.shape[0] * scale)))
        rows.append(
            {
                "kind": kind,
                "title": KINDS[kind].title,
                "ends": None if KINDS[kind].framed else ends_in_words(kind, ends),
                "maps": [pages.data_uri(overlay(one, ends, size), "PNG", optimize=True) for one in sheet.row(place)],
            }
        )
    return {
        "name": sheet.name,
        "photo": pages.data_uri(Image.fromarray(sheet.photo), "JPEG", quality=JPEG_QUALITY),
        "width": sheet.photo.shape[1],
        "height": sheet.photo.shape[0],
        "truth": truth_line(sheet.truth),
        "columns": [{"model": column.model, "score": score_line(column)} for column in sheet.columns],
        "rows": rows,
    }


def template() -> Any:  # jinja2.Template: an extra
    """The page's template.

    Raises:
        MissingExtraError: Jinja2 is not installed.
    """
    return pages.template(TEMPLATE, "the page of explanations")
