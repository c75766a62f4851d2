"""The faults of a photo on the page of its maps, freshly made and kept."""

from __future__ import annotations

import dataclasses

import numpy as np
from PIL import Image

from noref.card import read_card
from noref.explain.explain import explain
from noref.explain.map_types import Options

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
faulty (uint8[n, h, w, 3] image) => (float[n] quality, float[n, 3] faults) {
    level = Cast<to = 1>(image)
    top = Constant<value_float = 255.0>()
    mean = ReduceMean<axes = [1, 2], keepdims = 0>(level)
    faults = Div(mean, top)
    quality = ReduceMean<axes = [1], keepdims = 0>(faults)
}"""  # a picture's red, green and blue are the severities of three faults


def test_a_page_names_the_faults_of_the_whole_photo(make_model, tmp_path):
    model = make_model(TEXT)
    outputs = {"faults": {"motion_blur": "blur", "jpeg": "compression", "white_noise": "noise"}}
    dataclasses.replace(read_card(model), outputs=outputs).write(model)
    Image.fromarray(np.full((260, 300, 3), (210, 10, 80), np.uint8)).save(tmp_path / "photo.png")
    for kept in (0, 1):
        found = explain([str(tmp_path / "photo.png")], tmp_path / "out", models=(str(model),), options=Options())
        assert found.kept == kept
        page = (tmp_path / "out" / "explain.html").read_text()
        assert "motion blur (strong), noise (slight)" in page
        assert "Faults named below a map are of the whole photo" in page
