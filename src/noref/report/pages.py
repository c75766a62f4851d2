"""What every self-contained page is made with: a template that escapes, pictures as text."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from noref import images
from noref.card import Preprocessing
from noref.errors import MissingExtraError

SHARED = Path(__file__).with_name("templates")


def template(file: Path, what: str, **filters: Callable[..., Any]) -> Any:  # jinja2.Template: an extra
    """An HTML or Markdown template with filters of its own. HTML is escaped; a name that is missing is an error.

    It can include the templates of its own folder, then those of this part: `head.html` is the head of every page.

    Raises:
        MissingExtraError: Jinja2 is not installed; says that `what` needs it.
    """
    try:
        import jinja2
    except ImportError as error:
        raise MissingExtraError("report", what) from error
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([file.parent, SHARED]),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    return environment.get_template(file.name)


def data_uri(picture: Image.Image, form: str, **options: Any) -> str:
    """A picture as text that a page can hold, as "JPEG" or "PNG", with options of Pillow's `save`."""
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return f"data:image/{form.lower()};base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


class Thumbnail(NamedTuple):
    """A small JPEG as a data URI, with its size in pixels."""

    uri: str
    width: int
    height: int


def thumbnail(path: Path, side: int, *, quality: int) -> Thumbnail:
    """A JPEG at most `side` pixels long, never enlarged.

    Raises:
        ImageError: the image cannot be read.
    """
    rough = Preprocessing(max_pixels=6 * side * side, min_side=1)  # decoded at about this size, then shrunk
    small = Image.fromarray(images.read(path, preprocessing=rough))
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return Thumbnail(data_uri(small, "JPEG", quality=quality, optimize=True), *small.size)
