from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from noref.errors import ImageError
from noref.scoring.find_images import Found, file_stamp
from noref.scoring.row_writers import Row
from noref.scoring.score_files import score_rows
from noref.scoring.scorer import Scorer


def test_rows_keep_the_order_of_scores_and_errors(brightness, tmp_path):
    good, bad = tmp_path / "good.png", tmp_path / "caf\udce9.png"
    Image.fromarray(np.full((300, 300, 3), 51, np.uint8)).save(good)
    bad.write_bytes(b"")
    empty = Found("empty/", ImageError("no image in this folder"))
    found = [empty, Found(str(bad)), Found(str(good)), Found("none.jpg")]
    scorer = Scorer(brightness)
    one, two, three, four = score_rows(scorer, found)
    model = {"model": "brightness", "model_sha256": scorer.card.sha256}
    stamp = dict(zip(("size", "time"), file_stamp(bad), strict=True))
    assert one == Row("empty/", error="no image in this folder", **model)
    assert two == Row(f"{tmp_path}/caf\\xe9.png", error="empty file", **model, **stamp)
    stamp = dict(zip(("size", "time"), file_stamp(good), strict=True))
    assert stamp["size"] == good.stat().st_size
    assert three == Row(str(good), score=pytest.approx(20, abs=1e-3), **model, **stamp)
    assert four == Row("none.jpg", error="No such file or directory", **model)
