"""`noref push`: a model to the hub."""

from __future__ import annotations

import click

from noref.cli.group import cli


@cli.command()
@click.argument("model")
@click.argument("address", metavar="hf:OWNER/NAME")
@click.option("--private", is_flag=True, help="If the repository is new.")
@click.option("--message", "-m", help="Of the commit.")
def push(model: str, address: str, private: bool, message: str | None) -> int:
    """Upload MODEL, an .onnx file, and its card to the Hugging Face hub.

    \b
    noref push model.onnx hf:OWNER/NAME
    noref score photos/ --model hf:OWNER/NAME@REVISION

    Prints the address with its commit, which is always the same model. Who you are says HF_TOKEN, or what
    `hf auth login` keeps. Needs the extra hub.
    """
    from noref.scoring import hub
    from noref.scoring.network import locate

    click.echo(hub.push(locate(model), address, private=private, message=message))
    return 0
