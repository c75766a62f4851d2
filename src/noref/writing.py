"""Write files whole or not at all, and never over an input or over what noref did not write."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from noref.errors import OptionError, printable

HEAD = 4096  # bytes of a file that tell who wrote it
SOFTWARE = "noref"  # in the text chunk "Software" of a PNG, or that tag of a TIFF, that noref wrote


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


def check_output(
    path: str | os.PathLike[str],
    *,
    inputs: Iterable[str | os.PathLike[str]] = (),
    kind: str = "inputs",
    ours: Callable[[bytes], bool] | None = None,
    overwrite: bool = False,
    way: str = "--overwrite replaces it",
) -> None:
    """Raise before something is destroyed: where `path` is an input, or a file that noref did not write.

    Nothing is lost, and nothing raised, where no file is, where it is empty, and where it is no regular file, such as
    /dev/stdout. Links are followed.

    Args:
        path: of the file that will be written.
        inputs: files that the call reads.
        kind: what the inputs are, in the message.
        ours: whether noref wrote a file that begins with these bytes (4096, or all of it). None: it never writes such.
        overwrite: a file that noref wrote may be replaced.
        way: how the caller can replace it, in the message.

    Raises:
        OptionError: names the file and the reason.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "notes.csv"
        ...     _ = file.write_text("precious")
        ...     check_output(file)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        noref.errors.OptionError: ...notes.csv: is there and was not written by noref; choose another file
    """
    shown = printable(os.fspath(path))
    try:
        status = os.stat(path)
    except ValueError as error:
        raise OptionError(f"{shown}: no file can have this name") from error
    except OSError:
        return  # nothing is there, or opening it will tell why it cannot be written
    if any(os.path.exists(source) and os.path.samestat(status, os.stat(source)) for source in inputs):
        raise OptionError(f"{shown}: is one of the {kind}, not overwritten")
    if not stat.S_ISREG(status.st_mode) or not status.st_size:
        return
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise OptionError(f"{shown}: is there and cannot be read: {error.strerror}") from error
    if ours is None or not ours(head):
        raise OptionError(f"{shown}: is there and was not written by noref; choose another file")
    if not overwrite:
        raise OptionError(f"{shown}: is there; {way}")


def is_picture(head: bytes) -> bool:
    """Whether a PNG or TIFF that begins with `head` has noref as its `Software`."""
    png = head.startswith(b"\x89PNG") and f"tEXtSoftware\0{SOFTWARE}".encode() in head
    return png or (head.startswith((b"II*\0", b"MM\0*")) and f"{SOFTWARE}\0".encode() in head)


def is_page(head: bytes) -> bool:
    """Whether a page that begins with `head` names noref as its generator."""
    return b'<meta name="generator" content="noref' in head
