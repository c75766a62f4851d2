"""The import arrows and the size budget of docs/design.md."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "src" / "noref"
LAYERS = [  # bottom first: a part imports lower layers, never its own layer or a higher one
    {"errors", "checkout"},
    {"decoding", "writing"},
    {"card", "images"},
    {"data", "degrade", "models", "objectives"},
    {"evaluate", "scoring"},
    {"agreement"},
    {"train", "metric"},
    {"methods", "report"},
    {"default_model", "calibrate", "explain", "embed", "gmad", "demo"},
    {"bench", "serve"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
MODULES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.name != "__init__.py")
HEAVY = {
    "torch",
    "torchvision",
    "timm",
    "lightning_fabric",
    "sklearn",
    "pandas",
    "scipy",
    "cv2",
    "pillow_heif",
    "pillow_jxl",
    "rawpy",
}
BASE = [
    ROOT / "cli" / "__init__.py",
    ROOT / "cli" / "pictures.py",
    ROOT / "cli" / "serving.py",
    ROOT / "scoring" / "scorer.py",
    ROOT / "images.py",
    *sorted((ROOT / "decoding").glob("*.py")),
    ROOT / "card.py",
    ROOT / "data" / "own_table.py",
    ROOT / "data" / "tables.py",
    ROOT / "demo.py",
    ROOT / "agreement.py",
    *sorted((ROOT / "calibrate").glob("*.py")),
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


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


FILES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def arrows(path: Path) -> set[str]:
    """The files that a file imports, also inside functions and for type checking alone."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    wanted = {name for node in nodes if isinstance(node, ast.ImportFrom) for name in (str(node.module),)}
    return ({*wanted, *dotted_imports(nodes)} & FILES.keys()) - {module_name(path)}


def test_no_file_imports_itself_by_a_detour():
    """A circle of files is one idea cut in two."""
    left = {name: arrows(path) for name, path in FILES.items() if path.name != "__init__.py"}
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    assert not left, f"circles among {sorted(left)}"


LOSSES = {  # a page, and the formulas of its loss
    "deiqt": ("distilled_loss",),
    "lml_iqa": ("distilled_loss", "local_manifold_loss", "salient_window"),
    "csiqa": ("distilled_loss", "quality_context_loss", "select_pairs"),
    "arniqa": ("nt_xent",),
}


@pytest.mark.parametrize(("page", "formula"), [(page, one) for page, every in LOSSES.items() for one in every])
def test_a_reader_opens_at_most_four_files_from_a_page_to_a_formula_of_its_loss(page, formula):
    homes = [name for name, path in FILES.items() if f"\ndef {formula}(" in path.read_text()]
    home = next(name for name in homes if name.startswith("noref.objectives."))
    reached, opened = {f"noref.methods.{page}"}, 1
    while home not in reached:
        reached |= {other for name in reached for other in arrows(FILES[name]) if formula in FILES[other].read_text()}
        opened += 1
        assert opened <= 4, f"from {page} to {formula}"


def test_the_pages_of_the_papers_are_short():
    lengths = {page: FILES[f"noref.methods.{page}"].read_text().count("\n") for page in LOSSES}
    assert max(lengths.values()) < 260, lengths
    assert sum(lengths.values()) < 900, lengths
