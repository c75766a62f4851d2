"""Scripts, which lie in no package, as modules."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def load_script(path: Path, name: str | None = None) -> ModuleType:
    """Run a script as the module `name`, its stem by default; known by it, as dataclasses and timm look it up."""
    spec = importlib.util.spec_from_file_location(name or path.stem, path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
