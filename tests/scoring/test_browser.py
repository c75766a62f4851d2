"""score.mjs of an exported folder, in Chromium; the network runs here, in place of onnxruntime-web.

With onnxruntime-web: `python benchmarks/browser.py`.
"""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image

import noref
from noref.card import Preprocessing
from noref.images import FILTERS, target_size
from noref.scoring.export_folder import input_rule
from noref.scoring.network import DEFAULT

from ..load_script import load_script

pytestmark = pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no chromium")

STAND_IN = """
const text = (bytes) => {
  const parts = [];
  for (let i = 0; i < bytes.length; i += 8192) parts.push(String.fromCharCode(...bytes.subarray(i, i + 8192)));
  return btoa(parts.join(""));
};
window.ort = {
  Tensor: class { constructor(type, data, dims) { Object.assign(this, { type, data, dims }); } },
  InferenceSession: { create: async () => ({
    outputNames: ["quality"],
    run: async ({ image }, [name]) => ({ [name]: { data: await network(image.type, text(image.data), image.dims) } }),
  }) },
};"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def page(root):
    session = ort.InferenceSession(str(DEFAULT))

    def network(kind, data, dims):
        image = np.frombuffer(base64.b64decode(data), kind).reshape(dims)
        return session.run(["quality"], {"image": image})[0].tolist()

    with load_script(Path(__file__).parents[2] / "benchmarks" / "browser.py").page_on(root) as page:
        page.expose_function("network", network)
        page.evaluate(STAND_IN)
        yield page


def waves(height, width):
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).normal(0, 15, (height, width, 3))
    return (128 + 90 * np.sin(x / 9) * np.cos(y / 13))[..., None] * (1, 0.8, 0.6) + noise


def picture(height, width):
    return Image.fromarray(waves(height, width).clip(0, 255).astype(np.uint8))


def test_scores_are_norefs(page, root):
    turned, clear = Image.Exif(), picture(500, 700)
    turned[0x0112] = 6
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    picture(700, 900).save(root / "large.png")
    picture(600, 900).save(root / "turned.jpg", quality=95, exif=turned)
    picture(100, 150).save(root / "small.png")
    clear.save(root / "clear.png")
    for name, off in {"large.png": 0.1, "turned.jpg": 0.5, "small.png": 0.1, "clear.png": 0.1}.items():
        assert page.evaluate("judge", f"/{name}") == pytest.approx(noref.score(root / name).value, abs=off), name


@pytest.mark.parametrize("sizing", [Preprocessing(), Preprocessing(None, 384), Preprocessing(90_000, 224, crop=256)])
def test_sizes_are_norefs(page, sizing):
    size = input_rule(sizing)["size"]
    rng = np.random.default_rng(0)
    for width, height in [(500, 500), (1001, 3), (96, 9600), (447, 223), *rng.integers(16, 5000, (40, 2)).tolist()]:
        if max(width, height) <= 100 * min(width, height):
            found = page.evaluate("([w, h, size]) => folder.targetSize(w, h, size)", [width, height, size])
            assert (found["width"], found["height"]) == target_size(width, height, sizing), (width, height)
    with pytest.raises(Exception, match="too long and thin"):
        page.evaluate("(size) => folder.targetSize(15, 1501, size)", size)


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("size", [(60, 41), (200, 133), (90, 41), (60, 133)])
def test_resizing_is_pillows(page, name, size):
    image = picture(90, 133)
    call = "([data, w, h, filter]) => Array.from(folder.resize({ data, width: 133, height: 90 }, w, h, filter).data)"
    found = page.evaluate(call, [np.asarray(image).ravel().tolist(), size[1], size[0], name])
    expected = np.asarray(image.resize(size[::-1], FILTERS[name])).astype(int)
    differences = np.abs(np.reshape(found, expected.shape) - expected)
    assert differences.max() <= 1
    assert (differences > 0).mean() < 0.001
