"""One paper is one page: the names that `noref train` and `noref bench` take, and the module that is each one's page.

A page has `Config`, a frozen dataclass of every option, and `train(config, data, run, fabric)`. The model inside the
package is no paper, but it is trained by the same command, so its page is named here too.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from noref.errors import unknown

METHODS = {
    "arniqa": "noref.methods.arniqa",
    "csiqa": "noref.methods.csiqa",
    "deiqt": "noref.methods.deiqt",
    "embedded": "noref.default_model.training",
    "lml_iqa": "noref.methods.lml_iqa",
}


def page(name: str) -> ModuleType:
    """The module of a method; it is imported only when it is asked for.

    Raises:
        OptionError: there is no such method.
        MissingExtraError: the extra `train` is not installed.
    """
    if name not in METHODS:
        raise unknown("recipe", name, METHODS)
    return importlib.import_module(METHODS[name])
