from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

SMALL = {
    "backbone": "test_resnet",
    "weights": "none",
    "width": 24,
    "heads": 3,
    "crop": 64,
    "crops": 2,
    "batch": 8,
    "epochs": 3,
    "warmup_epochs": 1,
    "lr": 1e-3,
    "validation": 0.2,
    "accelerator": "cpu",
}


@pytest.fixture(scope="session")
def rated(tmp_path_factory):
    """A CSV of 24 images of colour noise, the more blurred the worse."""
    folder = tmp_path_factory.mktemp("rated")
    rng = np.random.default_rng(0)
    rows = ["path,score"]
    for number in range(24):
        noise = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(
            (96, 72), Image.Resampling.BICUBIC
        )
        blur = number % 6
        noise.filter(ImageFilter.GaussianBlur(blur)).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{90 - 14 * blur + rng.integers(5)}")
    (folder / "scores.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "scores.csv"


@pytest.fixture(scope="session")
def small():
    """Options of a run that takes a second, as a command line gives them."""
    return {name: (str(value), f"--{name}: ") for name, value in SMALL.items()}
