"""The page, its parts and the docs: files of the package, read when the service starts."""

from __future__ import annotations

import io
from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from noref.explain.colormap import legend

FOLDER = Path(__file__).parent / "pages"
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
NAMES = {"index.html": "/", "docs.html": "/docs"}
CURRENT = {"Cache-Control": "no-cache"}


def add_pages(app: FastAPI) -> None:
    """Give the app a path for each file of the folder `pages`, and for the colours of the map."""
    for path in sorted(FOLDER.iterdir()):
        add_page(app, NAMES.get(path.name, f"/assets/{path.name}"), path.read_bytes(), KINDS[path.suffix])
    colours = io.BytesIO()
    legend("quality", (256, 8)).save(colours, "PNG")
    add_page(app, "/assets/colours.png", colours.getvalue(), "image/png")


def add_page(app: FastAPI, place: str, content: bytes, kind: str) -> None:
    """Give the app a path that answers with `content`."""

    async def page(_: Request) -> Response:
        return Response(content, headers=CURRENT, media_type=kind)

    app.router.routes.append(Route(place, page, methods=["GET"], include_in_schema=False))
