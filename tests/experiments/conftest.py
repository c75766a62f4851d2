from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ..load_script import load_script

ROOT = Path(__file__).parents[2] / "experiments"


@pytest.fixture(scope="session")
def script():
    """A script of experiments/ as a module, by its path there."""

    def load(place):
        name = Path(place).stem
        if name not in sys.modules:
            load_script(ROOT / place)
        return sys.modules[name]

    return load


@pytest.fixture(scope="session")
def variants(script):
    return script("csiqa/variants.py")
