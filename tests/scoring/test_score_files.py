from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from noref.errors import ImageError
from noref.scoring.find_images import Found
from noref.scoring.row_writers import Row
from noref.scoring.score_files import score_rows
from noref.scoring.scorer import Scorer


def test_rows_keep_the_order_of_scores_and_errors(brightness, tmp_path):
    good, bad = tmp_path / "good.png", tmp_path / "caf\udce9.png"
    Image.fromarray(np.full((300, 300, 3), 51, np.uint8)).save(good)
    bad.write_bytes(b"")
    empty = Found("empty/", ImageError("no image in this folder"))
    found = [empty, Found(str(bad)), Found(str(good)), Found("none.jpg")]
    one, two, three, four = score_rows(Scorer(brightness), found)
    assert one == Row("empty/", error="no image in this folder")
    assert two == Row(f"{tmp_path}/caf\\xe9.png", error="empty file")
    assert three == Row(str(good), score=pytest.approx(20, abs=1e-3))
    assert four == Row("none.jpg", error="No such file or directory")
