"""Write files whole or not at all: each is written beside its place and then moved there in one step."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a hidden file beside `path`, which replaces `path` when the block ends.

    A reader finds the old file or the new one, never half of one, also where several processes write it: the last
    one stays. If the block fails, `path` is unchanged and nothing else is left.

    Yields:
        Where to write. The name has another suffix than `path`, so tell libraries the format.

    Raises:
        OSError: the folder is missing, not writable, or full.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(Path(folder) / "scores.csv") as partial:
        ...         _ = partial.write_text("path,quality")
        ...     [file.name for file in Path(folder).iterdir()]
        ['scores.csv']
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file in one step."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8, in one step, with its line ends unchanged."""
    write_bytes(path, text.encode())


def check_writable(folder: Path) -> None:
    """Raise an OSError, before hours of work, where files cannot be written into an existing folder."""
    probe = folder / f".probe.{os.getpid()}.part"
    probe.write_bytes(b"")
    probe.unlink()
