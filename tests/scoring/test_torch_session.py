"""Scores through torch (here on the CPU, as `cpu:0`) are ONNX Runtime's: one by one, in batches, from many threads."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from noref.cli import run
from noref.errors import ImageError, OptionError
from noref.scoring.network import DEFAULT, Network
from noref.scoring.scorer import Scorer
from noref.scoring.torch_session import TorchSession, open_session


def levels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def pictures():
    """Smooth and noisy ones of three sizes, mixed."""
    found = []
    for i, (height, width) in enumerate([(240, 320), (320, 240), (231, 257)] * 2):
        ramp = np.add.outer(np.arange(height), np.arange(width))[..., None] % 256
        noise = levels(height, width, 3, seed=i)
        found.append((ramp * (i + 1) / 10 + noise / (i + 2)).clip(0, 255).astype(np.uint8))
    return found


def test_scores_are_onnx_runtimes(pictures):
    on_torch, plain = Scorer(device="cpu:0"), Scorer()
    expected = [score.value for score in plain.score_many(pictures)]
    assert len(set(expected)) == len(pictures)
    assert [score.value for score in on_torch.score_many(pictures)] == pytest.approx(expected, abs=0.05)
    assert [on_torch.score(picture).value for picture in pictures] == pytest.approx(expected, abs=0.05)


def test_further_outputs_come_from_the_same_run(pictures):
    plain, on_torch = Network("default"), Network("default", device="cpu:0")
    assert on_torch.further == plain.further
    for names in (plain.further, plain.further[::-1]):
        quality, found = on_torch.quality_and(pictures[0], *names)
        expected_quality, expected = plain.quality_and(pictures[0], *names)
        assert quality == pytest.approx(expected_quality, abs=1e-5)
        assert list(found) == list(expected)
        for name in names:
            np.testing.assert_allclose(found[name], expected[name], atol=1e-3)


class Held(TorchSession):
    """Its device is busy until `go`; notes the batches."""

    def hold(self):
        self.batches, self.go = [], threading.Event()
        return self

    def _forward(self, images):
        self.go.wait()
        self.batches.append(images.shape)
        return super()._forward(images)


def asked_at_once(session, pictures):
    found = [None] * len(pictures)

    def ask(i):
        found[i] = session.run(["quality"], {"image": pictures[i]})[0]

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(pictures))]
    for thread in threads:
        thread.start()
    while len(session._waiting) < len(pictures):
        pass
    session.go.set()
    for thread in threads:
        thread.join()
    return found


def test_images_of_equal_size_that_wait_run_together():
    session = open_session(DEFAULT, DEFAULT.read_bytes(), "cpu:0")
    session.__class__ = Held
    session.hold()
    pictures = [levels(1, 64, 64 + 32 * (i % 2), 3, seed=i) for i in range(7)]
    found = asked_at_once(session, pictures)
    assert session._waiting == []
    assert sum(shape[0] for shape in session.batches) == 7
    assert len(session.batches) <= 3  # the first may run alone; then one batch of each size
    plain = Network("default", threads=1)
    np.testing.assert_allclose(np.concatenate(found), [plain.quality(one[0]) for one in pictures], atol=1e-5)


def test_a_batch_that_memory_cannot_hold_is_halved(monkeypatch):
    session = open_session(DEFAULT, DEFAULT.read_bytes(), "cpu:0")
    forward = session._graph.forward
    sizes = []

    def small(images):
        sizes.append(len(images))
        if len(images) > 2:
            raise torch.OutOfMemoryError
        return forward(images)

    monkeypatch.setattr(session._graph, "forward", small)
    images = levels(5, 64, 64, 3)
    (found,) = session.run(["quality"], {"image": images})
    np.testing.assert_allclose(found, Network("default").qualities(images), atol=1e-5)
    assert sizes == [5, 3, 2, 1, 2]
    monkeypatch.setattr(session._graph, "forward", lambda images: (_ for _ in ()).throw(torch.OutOfMemoryError("full")))
    with pytest.raises(torch.OutOfMemoryError, match="full"):
        session.run(["quality"], {"image": images})


def test_what_fails_is_an_image_error(make_model):
    path = make_model("""<ir_version: 8, opset_import: ["" : 18]> g (uint8[n, h, w, 3] image) => (float[n] quality)
    { x = Cast<to = 1>(image) s = Constant<value_ints = [-1, 1000003]>() y = Reshape(x, s)
      a = Constant<value_ints = [1]>() quality = ReduceMean<keepdims = 0>(y, a) }""")
    scorer = Scorer(path, device="cpu:0")
    with pytest.raises(ImageError, match="the model other fails on 320 x 240 pixels: shape"):
        scorer.score(levels(240, 320, 3))


def test_a_pickled_scorer_keeps_its_device():
    assert pickle.loads(pickle.dumps(Scorer(device="cpu:0")))._network.device == "cpu:0"


def test_the_command_gives_the_same_rows(tmp_path, pictures, capsys):
    for i, picture in enumerate(pictures[:4]):
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    (tmp_path / "4.png").write_bytes(b"broken")
    tables = []
    for device in ("cpu", "cpu:0"):
        assert run(["score", str(tmp_path), "--format", "csv", "--device", device]) == 1
        tables.append([line.split(",") for line in capsys.readouterr().out.splitlines()[1:]])
    for plain, on_torch in zip(*tables, strict=True):
        assert (plain[0], plain[2:]) == (on_torch[0], on_torch[2:])
        assert plain[1] == on_torch[1] == "" or float(plain[1]) == pytest.approx(float(on_torch[1]), abs=0.05)


@pytest.mark.parametrize("device", ["cuda:97", "mps:3", "gpu", ""])
def test_a_device_that_is_not_there_is_a_wrong_call(device, capsys):
    assert run(["score", "a.png", "--device", device]) == 2
    assert f"device {device}: torch cannot use it here" in capsys.readouterr().err
    with pytest.raises(OptionError):
        Scorer(device=device)


def test_without_torch_the_extra_is_named():
    call = "run(['score', 'a.png', '--device', 'cuda'])"
    code = f"import sys; sys.modules['torch'] = None; from noref.cli import run; {call}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == "Error: a model in torch needs an extra: pip install 'noref[train]'\n"
