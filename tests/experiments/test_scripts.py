"""Every script of experiments/ and benchmarks/ finds the names that it imports and says how it is called."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ..load_script import load_script

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted([*(ROOT / "experiments").glob("*/*.py"), *(ROOT / "benchmarks").glob("*.py")])


def test_there_are_scripts():
    assert len(SCRIPTS) > 15


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_script_has_its_names_and_a_help(path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(path.parent)  # a script may import one beside it
    monkeypatch.setattr(sys, "argv", [path.name, "--help"])
    for neighbour in path.parent.glob("*.py"):  # folders have scripts of one name
        monkeypatch.setitem(sys.modules, neighbour.stem, None)  # what was there comes back after the test
        del sys.modules[neighbour.stem]
    module = load_script(path)
    if hasattr(module, "main"):
        with pytest.raises(SystemExit) as end:
            module.main()
        assert end.value.code == 0
        assert "--help" in capsys.readouterr().out
