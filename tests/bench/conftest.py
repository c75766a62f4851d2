from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

TINY = [
    "--backbone", "test_resnet", "--weights", "none", "--width", "12", "--heads", "3", "--crop", "32", "--crops", "1",
    "--batch", "8", "--epochs", "1", "--warmup-epochs", "0", "--lr", "1e-3", "--accelerator", "cpu",
]  # fmt: skip


def draw(folder, seed, count=20):
    """A CSV of images of colour noise, the more blurred the worse; four references, two kinds of distortion."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    rows = ["path,score,reference,distortion,level"]
    for number in range(count):
        noise = Image.fromarray(rng.integers(0, 256, (8, 10, 3), dtype=np.uint8)).resize((40, 36))
        level = number % 5
        noise.filter(ImageFilter.GaussianBlur(level)).save(folder / f"{number}.png")
        score = 90 - 15 * level + rng.integers(9)
        rows.append(f"{number}.png,{score},r{number // 2 % 10},{'blur' if number % 2 else 'smear'},{level + 1}")
    file = folder / f"{folder.name}.csv"
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def first(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("sets") / "first", 0)


@pytest.fixture(scope="session")
def second(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("sets") / "second", 1)


@pytest.fixture(scope="session")
def tiny():
    """Options of a run that takes a second, as a command line gives them."""
    return list(TINY)
