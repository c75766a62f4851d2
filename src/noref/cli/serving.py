"""`noref serve`: the HTTP API and its page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from noref.cli.group import PATH, cli


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="0.0.0.0: from anywhere.")
@click.option("--port", type=int, default=8000, show_default=True, help="0: any free one.")
@click.option("--workers", type=int, default=1, show_default=True, help="Processes; one that dies is replaced.")
@click.option(
    "--model",
    "models",
    multiple=True,
    default=["default"],
    metavar="NAME|FILE",
    help="default or an .onnx file; several, then ?model=NAME chooses. [default: default]",
)
@click.option("--threads", type=int, help="Pictures that a worker scores at once. [default: its share of the cores]")
@click.option("--waiting", type=int, help="Requests that may wait; more get 503. [default: half as many as threads]")
@click.option("--max-mb", type=float, default=100.0, show_default=True, help="Of a request's body.")
@click.option("--max-pictures", type=int, default=100, show_default=True, help="Of a request.")
@click.option("--max-megapixels", type=float, default=100.0, show_default=True, help="Of a picture.")
@click.option("--seconds", type=float, default=60.0, show_default=True, help="That a request may take.")
@click.option("--api-key-file", "key_file", type=PATH, metavar="FILE", help="One key a line; others get 401.")
def serve(models: tuple[str, ...], key_file: Path | None, **options: Any) -> int:
    """Serve an HTTP API and a page, until Ctrl-C or SIGTERM.

    \b
    noref serve                                            then open http://127.0.0.1:8000
    curl --data-binary @photo.jpg localhost:8000/v1/score
    curl -F files=@a.jpg -F files=@b.jpg localhost:8000/v1/score

    Each request is a line of JSON on standard output. The docs of the API are at /docs.
    """
    from noref.serve.settings import Settings

    settings = Settings(models=models, key_file=key_file, **options)
    from noref.serve.launch import serve as run

    run(settings, say=lambda text: click.echo(text, err=True))
    return 0
