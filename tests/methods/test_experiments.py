"""Every file in experiments/ is a config that says only what differs, under a header that says what came of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from noref.bench.grid import read_variants
from noref.methods import page
from noref.train.options import build, read_yaml

from ..load_script import load_script

ROOT = Path(__file__).parents[2]


def is_grid(path):
    """Whether a file is options by variant, for `noref bench --grid`, and not the options of one run."""
    given = read_yaml(path)
    return bool(given) and all(isinstance(value, dict) for value, _ in given.values())


EVERY = sorted((ROOT / "experiments").rglob("*.yaml"))
FILES = [path for path in EVERY if not is_grid(path)]
GRIDS = [path for path in EVERY if is_grid(path)]


def test_there_are_experiments():
    assert FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_experiment_is_a_config_with_a_header(path):
    config = page(path.parent.name).Config
    given = read_yaml(path)
    chosen = build(config, given)
    assert not [key for key in given if getattr(chosen, key) == getattr(config(), key)], (
        "says what is the default anyway"
    )
    words = header(path)
    assert f"--config experiments/{path.parent.name}/{path.name}" in words


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_grid_is_variants_that_the_recipe_can_have(path):
    words = header(path)
    assert f"--grid experiments/{path.parent.name}/{path.name}" in words
    script, recipe = re.search(r"(?:python experiments/(\S+\.py)|noref) bench (\w+)", words).groups()
    base = re.search(r"--config (\S+)", words)
    common = read_yaml(ROOT / base.group(1)) if base else {}
    config = (load(script) if script and hasattr(load(script), "Config") else page(recipe)).Config
    chosen = [build(config, common, variant) for variant in read_variants(path).values()]
    assert len(chosen) == len({repr(one) for one in chosen}) > 1, "variants that do not differ"


def load(script):
    """A script of experiments/ as a module; one that has a Config adds to a method."""
    return load_script(ROOT / "experiments" / script)


def header(path):
    """The comment at the head of a file, in one line."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    for word in ("Command:", "Hardware:", "Time:", "Expected:", "Obtained:"):
        assert any(line.startswith(f"# {word}") for line in lines), word
    return " ".join(line.strip("# ") for line in lines)
