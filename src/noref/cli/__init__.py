"""The command line: each command parses, calls, prints and chooses the exit status; the work is done elsewhere.

`group` holds the root, and names the module of each command, which is imported when the command is asked for.
"""

from __future__ import annotations

import contextlib
import os
import sys

import click

from noref.cli.group import FAILED, INTERRUPTED, WRONG_CALL, cli
from noref.errors import NorefError, OptionError

__all__ = ["cli", "main", "run"]


def main() -> None:
    """Run the command line and exit with its status."""
    status = run()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BrokenPipeError):
            stream.flush()
    if "torch" in sys.modules:  # data loaders and loggers may still have to finish
        sys.exit(status)
    os._exit(status)  # skips the shutdown of ONNX Runtime, which takes as long as scoring an image


def run(args: list[str] | None = None) -> int:
    """Run a command line (the process's own, or what follows `noref`), print errors, return the exit status."""
    try:
        return cli.main(args, prog_name="noref", standalone_mode=False) or 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:  # Ctrl-C
        return INTERRUPTED
    except NorefError as error:
        click.echo(f"Error: {error}", err=True)
        return WRONG_CALL if isinstance(error, OptionError) else FAILED
    except OSError as error:  # such as a full disk
        click.echo(f"Error: {f'{error.filename}: ' if error.filename else ''}{error.strerror or error}", err=True)
        return FAILED
