"""ARNIQA's compositions in the order of RealESRGAN."""

from __future__ import annotations

from collections import Counter

import numpy as np

from noref.degrade.pipeline import DISTORTIONS


def test_compositions_are_of_four_groups_in_their_order(script):
    module, rng = script("arniqa/realesrgan.py"), np.random.default_rng(0)
    fixed = [module.composition(module.Config(pristine=0), rng) for _ in range(400)]
    for found in fixed:
        assert [DISTORTIONS[name].group for name, _ in found] == ["blur", "spatial", "noise", "compression"]
    levels = Counter(level for found in fixed for _, level in found)
    assert levels[1] > levels[3] > levels[5] > 0
    empty = [module.composition(module.Config(pristine=0.5), rng) for _ in range(200)]
    assert 60 < sum(not found for found in empty) < 140


def test_the_script_draws_by_the_option(script, monkeypatch):
    module, image = script("arniqa/realesrgan.py"), np.full((32, 32, 3), 128, np.uint8)
    for order in ("random", "realesrgan"):
        config = module.Config(order=order, pristine=0)
        degrade = module.draw(config, np.random.default_rng(1))
        assert degrade(image, np.random.default_rng(2)).shape == image.shape
