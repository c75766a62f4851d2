"""The code of docs/torch.md runs in its order, and its numbers are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "torch.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_the_blocks_run_one_after_the_other(capsys):
    space = {}
    for block in BLOCKS:
        exec(compile(block, "docs/torch.md", "exec"), space)
    shapes, scores = capsys.readouterr().out.splitlines()
    assert shapes == "torch.Size([2]) torch.Size([2, 3, 240, 320])"
    assert scores.startswith("tensor([")
    assert not space["image"].equal(space["noisy"])


def test_its_numbers_are_those_of_the_code():
    from noref import Scorer
    from noref.scoring import network, torch_session

    sizing = Scorer().card.preprocessing
    assert f"{sizing.max_pixels // 1000} 000 pixels and a short side of at least {sizing.min_side}" in PAGE
    assert f"up to {network.WAITING} threads" in PAGE
    assert f"up to {torch_session.BATCH}." in PAGE


@pytest.mark.parametrize("page", ["torch", "browser"])
def test_linked_files_exist(page):
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / "docs" / target).exists(), target
