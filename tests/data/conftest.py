from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def real_data():
    """The folder of real data, where it is at hand."""
    folder = Path(os.environ.get("NOREF_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}")
    return folder


@pytest.fixture(scope="session")
def livec_restored(real_data, tmp_path_factory):
    """The real photos in the release's layout; not to be changed."""
    folder = tmp_path_factory.mktemp("livec")
    subprocess.run([sys.executable, real_data / "livec" / "restore.py", folder], check=True, capture_output=True)
    yield folder
    shutil.rmtree(folder)  # 300 MB


@pytest.fixture
def draw(tmp_path):
    """Write a small image of its own noise: draw(name, seed, size) -> path."""

    def write(path, seed=0, size=(40, 30)):
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(target)
        return target

    return write


@pytest.fixture
def livec_folder(tmp_path, draw):
    """The official layout of LIVE In the Wild with five stand-in images; scores 10, 20, ... 50."""
    names = [f"t{i}.bmp" for i in range(1, 8)] + [f"{i}.bmp" for i in range(1, 6)]
    cells = np.empty((len(names), 1), dtype=object)
    cells[:, 0] = [np.array([name]) for name in names]
    (tmp_path / "Data").mkdir()
    savemat(tmp_path / "Data" / "AllImages_release.mat", {"AllImages_release": cells})
    scores = np.array([[99.0] * 7 + [10.0, 20.0, 30.0, 40.0, 50.0]])
    savemat(tmp_path / "Data" / "AllMOS_release.mat", {"AllMOS_release": scores})
    for seed, name in enumerate(names[7:]):
        draw(f"Images/{name}", seed)
    return tmp_path
