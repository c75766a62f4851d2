from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "experiments"


@pytest.fixture(scope="session")
def script():
    """A script of experiments/ as a module, by its path there."""

    def load(place):
        name = Path(place).stem
        if name not in sys.modules:
            spec = importlib.util.spec_from_file_location(name, ROOT / place)
            sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[name])
        return sys.modules[name]

    return load


@pytest.fixture(scope="session")
def variants(script):
    return script("csiqa/variants.py")
