"""What every self-contained page is made with: a template that escapes, and pictures as text."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from noref.errors import MissingExtraError

SHARED = Path(__file__).with_name("templates")


def template(file: Path, what: str, **filters: Callable[..., Any]) -> Any:  # jinja2.Template: an extra
    """An HTML or Markdown template. HTML is escaped; a name that is missing is an error.

    It can include the templates of its own folder, then those of this part: `head.html` is the head of every page.

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
    """A picture as text that a page can hold.

    Args:
        picture: any mode that the format can hold.
        form: "JPEG" or "PNG".
        options: of Pillow's `save`.
    """
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return f"data:image/{form.lower()};base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
