"""Saliency maps divided by the mean map of all images."""

from __future__ import annotations

import torch
from lightning_fabric import Fabric

from noref.card import Preprocessing
from noref.data.readers import READERS
from noref.data.salient import SalientCrops
from noref.methods import METHODS
from noref.methods.launch import train
from noref.train import saliency_windows

RULE = Preprocessing(min_side=64, crop=64)


def test_relative_maps_forget_where_a_network_always_looks(script, rated, monkeypatch):
    """Each image's own spot is faint beside a corner that all of them have."""
    module, fabric = script("lml_iqa/relative_maps.py"), Fabric(accelerator="cpu", devices=1)
    crops = SalientCrops(READERS["csv"](rated)[:3], size=64, crops=1, preprocessing=RULE, window=1)
    maps = torch.full((3, 14, 14), 0.1)
    maps[:, 13, 13] = 5.0
    for number in range(3):
        maps[number, number, 2 * number] = 0.3
    monkeypatch.setattr(saliency_windows, "saliency", lambda teacher, view, blocks, by: maps[: len(view)] * 7)
    monkeypatch.setattr(saliency_windows, "viewing_side", lambda teacher, crop: 28)
    options, teacher = {"blocks": 3, "crop": 64, "workers": 0, "fabric": fabric}, torch.nn.Identity()
    assert saliency_windows.SaliencyWindows(crops, **options).update(teacher).tolist() == [[13, 13]] * 3
    assert module.RelativeWindows(crops, **options).update(teacher).tolist() == [[0, 0], [1, 2], [2, 4]]


def test_the_option_trains(script, rated, small, tmp_path, monkeypatch):
    script("lml_iqa/relative_maps.py")
    monkeypatch.setitem(METHODS, "lml_iqa", "relative_maps")
    more = {"together": "2", "epochs": "1", "first_teacher": "network", "relative": "yes"}
    options = {**small, **{name: (value, "") for name, value in more.items()}}
    assert "srcc" in train("lml_iqa", data=f"csv={rated}", out=str(tmp_path / "run"), options=options)
