"""The errors that noref raises, and paths as they stand in them.

    NorefError
    |-- ImageError         one image is unreadable or has no score      (also a ValueError)
    |-- ModelError         a model's file or card is broken or foreign  (also a ValueError)
    |-- DataError          a file of a data set is wrong                (also a ValueError)
    |-- OptionError        the call is wrong: exit status 2             (also a ValueError)
    `-- MissingExtraError  an optional part is not installed            (also an ImportError)

Messages name the file, the line where there is one, and the reason, in that order.
"""

from __future__ import annotations

from collections.abc import Iterable

MANY = 100  # most names that a message lists


class NorefError(Exception):
    """Base of all errors that noref raises on purpose."""


class ImageError(NorefError, ValueError):
    """An image that is unreadable or has no score; the others go on."""


class ModelError(NorefError, ValueError):
    """A model's file or card that is broken, of another program, or does not belong to the other."""


class DataError(NorefError, ValueError):
    """A data set with a wrong file; names the file and the line."""


class OptionError(NorefError, ValueError):
    """A name that does not exist, or a value that is out of range or does not fit the others."""


class MissingExtraError(NorefError, ImportError):
    """A part of noref (`what`) needs the packages of an extra, such as `train`, and they are not installed."""

    def __init__(self, extra: str, what: str) -> None:
        super().__init__(f"{what} needs an extra: pip install 'noref[{extra}]'")
        self.extra = extra


def unknown(kind: str, name: str, known: Iterable[str]) -> OptionError:
    """An `OptionError` for an unknown name; offers the nearest known ones, or all if there are at most 100.

    Example:
        >>> str(unknown("backbone", "resnet5", ["resnet50", "vgg16"]))
        "unknown backbone 'resnet5': did you mean resnet50?"
    """
    import difflib  # a cold start does without

    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3)
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    elif len(names) <= MANY:
        hint = f"known are {', '.join(names)}"
    else:
        hint = f"none of the {len(names)} known ones is like it"
    return OptionError(f"unknown {kind} {name!r}: {hint}")


def printable(path: str | bytes) -> str:
    r"""A path as text; bytes that are not UTF-8 become \xNN.

    Example:
        >>> print(printable(b"caf\xe9.jpg"))
        caf\xe9.jpg
    """
    try:
        raw = path if isinstance(path, bytes) else path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a surrogate pair, which no file's name has
        raw = ascii(path)[1:-1].encode()
    return raw.decode("utf-8", "backslashreplace")
