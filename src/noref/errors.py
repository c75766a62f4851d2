"""Every error that noref raises on purpose.

    NorefError
    |-- ImageError         one image cannot be scored; the others can         (also a ValueError)
    |-- ModelError         a model file or its card cannot be trusted         (also a ValueError)
    |-- DataError          a data set's file or line is not what it must be   (also a ValueError)
    |-- OptionError        the call itself is wrong: exit status 2            (also a ValueError)
    `-- MissingExtraError  an optional part is not installed                  (also an ImportError)

Messages name the file, the line where there is one, and the reason, in that order.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MANY = 100  # names that a message still lists


class NorefError(Exception):
    """Base of all errors below: `except noref.NorefError` catches what noref reports, and no bug."""


class ImageError(NorefError, ValueError):
    """An image that cannot be read or scored, for the reason in its message."""


class ModelError(NorefError, ValueError):
    """A model file, or the card beside it, that is broken, foreign or not the one the card describes."""


class DataError(NorefError, ValueError):
    """A data set whose files do not say what they must; names file and line."""


class OptionError(NorefError, ValueError):
    """A name or value that the caller chose and that does not exist or cannot work."""


class MissingExtraError(NorefError, ImportError):
    """A part of noref that needs packages which are not installed.

    Args:
        extra: the extra's name in the package, such as `train`.
        what: what asked for it, as the subject of a sentence.
    """

    def __init__(self, extra: str, what: str) -> None:
        super().__init__(f"{what} needs an extra: pip install 'noref[{extra}]'")
        self.extra = extra


def unknown(kind: str, name: str, known: Iterable[str]) -> OptionError:
    """An `OptionError` for a name that is not known, offering the nearest ones, or all where they are not many.

    Example:
        >>> str(unknown("backbone", "resnet5", ["resnet50", "vgg16"]))
        "unknown backbone 'resnet5': did you mean resnet50?"
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3)
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    else:
        hint = (
            f"known are {', '.join(names)}" if len(names) <= MANY else f"none of the {len(names)} known ones is like it"
        )
    return OptionError(f"unknown {kind} {name!r}: {hint}")
