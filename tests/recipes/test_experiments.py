"""Every file in experiments/ is a config that says only what differs, under a header that says what came of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from noref.recipes.launch import RECIPES
from noref.recipes.options import build, read_yaml

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "experiments").rglob("*.yaml"))


def test_there_are_experiments():
    assert FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_experiment_is_a_config_with_a_header(path):
    config = RECIPES[path.parent.name].Config
    given = read_yaml(path)
    chosen = build(config, given)
    assert not [key for key in given if getattr(chosen, key) == getattr(config(), key)], (
        "says what is the default anyway"
    )
    header = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    for word in ("Command:", "Hardware:", "Time:", "Expected:", "Obtained:"):
        assert any(line.startswith(f"# {word}") for line in header), word
    assert f"--config experiments/{path.parent.name}/{path.name}" in " ".join(header)
