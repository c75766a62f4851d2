"""Files that are whole or not there: everything that noref writes is written beside its place and moved there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write, hidden beside `path`, that takes its place in one step once the block is left.

    Whoever reads `path` finds the old file or the new one, never half of one, also where several processes write it:
    the last one stays. If the block fails, `path` is as it was and nothing else is left.

    Args:
        path: in a folder that exists.

    Yields:
        Where to write. Its name does not end like `path`'s, so libraries that go by it must be told the format.

    Raises:
        OSError: it cannot be moved.

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


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8, in one step, its line ends as they are."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="")


def check_writable(folder: Path) -> None:
    """Find out now, and not after hours of work, whether files can be written into a folder that exists.

    Raises:
        OSError: they cannot.
    """
    probe = folder / f".probe.{os.getpid()}.part"
    probe.write_bytes(b"")
    probe.unlink()
