"""The commit of the running source, which is recorded with every measurement."""

from __future__ import annotations

import subprocess
from pathlib import Path


def commit() -> str | None:
    """The commit as `git describe --always --dirty` names it; None where noref does not run from its own checkout."""
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:  # installed inside another checkout
        return None
    return _git("describe", "--always", "--dirty")


def _git(*words: str) -> str | None:
    call = ["git", "-C", str(Path(__file__).parent), *words]
    try:
        found = subprocess.run(call, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
