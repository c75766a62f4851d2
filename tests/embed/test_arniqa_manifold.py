"""experiments/arniqa/manifold.py: retrieval of the distortion type by a vote of neighbours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ..load_script import load_script

FILE = Path(__file__).parents[2] / "experiments" / "arniqa" / "manifold.py"


@pytest.fixture(scope="module")
def manifold():
    return load_script(FILE, "arniqa_manifold")


def test_the_vote(manifold):
    kinds = np.array([0, 0, 1, 1, 2])
    neighbours = np.array([[1, 2, 3], [0, 2, 4], [0, 1, 4], [2, 0, 1], [4, 0, 0]])  # by hand: no, tie won, no, no, no
    assert manifold.right_by_vote(neighbours, kinds).tolist() == [False, True, False, False, False]
