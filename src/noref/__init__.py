"""noref: no-reference image quality assessment, how good a picture looks without a reference to compare it to.

    >>> import noref
    >>> noref.Scale(0, 100).raw(0.5)
    50.0

The names are loaded on first use: `import noref` alone loads neither torch nor ONNX Runtime nor numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from noref.card import Card, Preprocessing, Scale
    from noref.errors import DataError, ImageError, MissingExtraError, ModelError, NorefError, OptionError
    from noref.scoring.reasons import Reason
    from noref.scoring.scorer import Score, Scorer, score
    from noref.scoring.twin import load_torch

    __version__: str

__all__ = [
    "Card",
    "DataError",
    "ImageError",
    "MissingExtraError",
    "ModelError",
    "NorefError",
    "OptionError",
    "Preprocessing",
    "Reason",
    "Scale",
    "Score",
    "Scorer",
    "__version__",
    "load_torch",
    "score",
]

_HOMES = {
    "noref.card": ("Card", "Preprocessing", "Scale"),
    "noref.errors": ("DataError", "ImageError", "MissingExtraError", "ModelError", "NorefError", "OptionError"),
    "noref.scoring.reasons": ("Reason",),
    "noref.scoring.scorer": ("Score", "Scorer", "score"),
    "noref.scoring.twin": ("load_torch",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        value: object = version("noref")
    elif name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
    else:
        raise AttributeError(f"module 'noref' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
