"""The import arrows and the size budget of docs/design.md."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "src" / "noref"
LAYERS = [  # bottom first: a part imports lower layers, never its own layer or a higher one
    {"errors", "writing", "checkout"},
    {"card", "images"},
    {"data", "degrade", "models", "objectives"},
    {"evaluate", "scoring"},
    {"train"},
    {"methods", "report"},
    {"default_model", "calibrate", "explain", "embed", "gmad", "demo"},
    {"bench", "serve"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
MODULES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.name != "__init__.py")
HEAVY = {"torch", "torchvision", "timm", "lightning_fabric", "sklearn", "pandas", "scipy", "cv2"}
BASE = [
    ROOT / "cli" / "__init__.py",
    ROOT / "cli" / "pictures.py",
    ROOT / "scoring" / "scorer.py",
    ROOT / "images.py",
    ROOT / "card.py",
    ROOT / "demo.py",
]


def part(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def dotted_imports(nodes: list[ast.AST]) -> list[str]:
    names = [a.name for n in nodes if isinstance(n, ast.Import) for a in n.names]
    return names + [f"{n.module}.{a.name}" for n in nodes if isinstance(n, ast.ImportFrom) for a in n.names]


def imported_parts(tree: ast.AST) -> set[str]:
    dotted = dotted_imports(list(ast.walk(tree)))
    return {name.split(".")[1] for name in dotted if name.startswith("noref.")} & LEVEL.keys()


def test_every_module_has_a_place():
    assert MODULES
    assert {part(module) for module in MODULES} <= LEVEL.keys()


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(module):
    own = part(module)
    for other in imported_parts(ast.parse(module.read_text())) - {own}:
        assert LEVEL[other] < LEVEL[own], f"{own} may not import {other}"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_fits_the_budget(module):
    text = module.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            doc = ast.get_docstring(node, clean=False) or ""
            length = (node.end_lineno or 0) - node.lineno + 1 - len(doc.splitlines())
            assert length <= 60, f"{node.name} has {length} lines"


@pytest.mark.parametrize("module", BASE, ids=lambda path: str(path.relative_to(ROOT)))
def test_base_install_parts_import_nothing_heavy_at_the_top(module):
    tops = {name.split(".")[0] for name in dotted_imports(list(ast.parse(module.read_text()).body))}
    assert not tops & HEAVY
