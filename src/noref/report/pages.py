"""What every self-contained page is made with: a template that escapes, and pictures as text."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from noref.errors import MissingExtraError


def template(file: Path, what: str, **filters: Callable[[Any], Any]) -> Any:  # jinja2.Template: an extra
    """An HTML template, in which everything is escaped and a name that is missing is an error.

    Args:
        file: the template.
        what: is made with it, for the error.
        filters: for the template, beside Jinja2's.

    Raises:
        MissingExtraError: Jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise MissingExtraError("report", what) from error
    space = jinja2.Environment(
        loader=jinja2.FileSystemLoader(file.parent), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    space.filters.update(filters)
    return space.get_template(file.name)


def data_uri(picture: Image.Image, form: str, **options: Any) -> str:
    """A picture as text that a page can hold.

    Args:
        picture: any mode that the format can hold.
        form: "JPEG" or "PNG".
        options: of Pillow's `save`.
    """
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return f"data:image/{form.lower()};base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
