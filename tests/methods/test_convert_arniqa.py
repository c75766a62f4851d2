"""The released weights, on files of the same structure that are made here: nothing in them may be executed."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import resnet50

from noref.cli import run as command
from noref.errors import ModelError, OptionError
from noref.methods.convert_arniqa import convert, read_encoder, read_regressor
from noref.models import arniqa_regressor
from noref.models.arniqa import load_encoder


class Theirs(nn.Module):
    """The structure of the authors' network, and so the names in its state dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(*list(resnet50(weights=None).children())[:-1])
        self.projector = nn.Sequential(nn.Linear(2048, 2048), nn.ReLU(), nn.Linear(2048, 128))

    def forward(self, x):
        return nn.functional.normalize(self.model(x).view(-1, 2048))


class Line(nn.Module):
    """A regressor; `.double()` and the names of its parameters vary below."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(size, 1))
        self.biases = nn.Parameter(torch.tensor([3.5]))

    def forward(self, x):
        return x @ self.weights + self.biases


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(0)
    network = Theirs().eval()
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.5, 1.5)
    return network


@pytest.fixture(scope="module")
def files(theirs, tmp_path_factory):
    """The release's files, and the regressor itself."""
    folder = tmp_path_factory.mktemp("release")
    torch.save(theirs.state_dict(), folder / "ARNIQA.pth")
    torch.manual_seed(1)
    line = Line(4096)
    torch.jit.script(line).save(str(folder / "regressor_csiq.pth"))
    return folder, line


def test_the_converted_model_is_theirs(files, theirs, tmp_path):
    folder, line = files
    card = convert(folder / "ARNIQA.pth", folder / "regressor_csiq.pth", tmp_path / "out")
    assert (card.scale.low, card.scale.high, card.scale.higher_is_better) == (0, 1, False)
    assert "Pillow's bicubic" in card.training["half scale"]
    assert card.training["beyond the border"] == "zero"
    network, _ = arniqa_regressor.load(tmp_path / "out" / "model.safetensors")
    encoder, _ = load_encoder(tmp_path / "out" / "encoder.safetensors")
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    picture = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 3, 230, 240), dtype=np.uint8))
    scales = (picture.float(), arniqa_regressor.half_scale(picture))
    crops = [arniqa_regressor.five_crops(x, 224, "zero")[:, 0] for x in scales]
    with torch.no_grad():
        small = picture[..., :224, :224]
        torch.testing.assert_close(encoder(small), theirs((small / 255 - mean) / std), rtol=1e-3, atol=1e-5)
        both = torch.hstack([theirs((crop / 255 - mean) / std) for crop in crops])
        raw = float(line(both).mean())
        assert float(network(picture)) == pytest.approx(1 - raw, abs=1e-3)  # CSIQ: lower is better


@pytest.mark.parametrize("kind", ["float", "double"])
@pytest.mark.parametrize("names", [("weights", "biases"), ("a", "b")])
def test_numbers_are_read_whatever_their_names_and_type(kind, names, tmp_path):
    torch.manual_seed(2)
    line = getattr(Line(10), kind)()

    class Renamed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            setattr(self, names[1], line.biases)
            setattr(self, names[0], line.weights)

        def forward(self, x):
            return x

    traced = torch.jit.trace(Renamed(), torch.zeros(1))
    traced.save(str(tmp_path / "r.pth"))
    weight, intercept = read_regressor(tmp_path / "r.pth", 10)
    assert np.array_equal(weight, line.weights.detach().double().numpy()[:, 0])
    assert intercept == 3.5


class _Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a file was executed",))


def test_nothing_is_unpickled_or_run(tmp_path):
    torch.save({"model.0.weight": _Bomb()}, tmp_path / "ARNIQA.pth")
    with pytest.raises(ModelError, match="without running it"):
        read_encoder(tmp_path / "ARNIQA.pth")
    with zipfile.ZipFile(tmp_path / "r.pth", "w") as archive:
        archive.writestr("r/data.pkl", pickle.dumps(_Bomb(), protocol=2))
        archive.writestr("r/code/__torch__.py", "raise SystemExit")
    with pytest.raises(ModelError, match=r"r\.pth: holds tensors of \[\] numbers"):
        read_regressor(tmp_path / "r.pth", 10)


def test_files_that_are_not_the_release(files, tmp_path):
    folder, _ = files
    good = folder / "ARNIQA.pth", folder / "regressor_csiq.pth"
    with pytest.raises(ModelError, match="which is a program"):
        convert(good[1], good[1], tmp_path / "a")
    with pytest.raises(ModelError, match="too large"):
        convert(good[0], good[0], tmp_path / "b", data="csiq")
    with pytest.raises(ModelError, match="no TorchScript archive"):
        read_regressor(_written(tmp_path / "x.pth", b"hello"), 10)
    with pytest.raises(ModelError, match="No such file"):
        read_regressor(tmp_path / "gone.pth", 10)
    with pytest.raises(ModelError, match="No such file"):
        read_encoder(tmp_path / "gone.pth")
    with pytest.raises(ModelError, match=r"not 10 weights"):
        read_regressor(good[1], 10)
    stream = io.BytesIO()
    torch.save({"model.0.weight": torch.zeros(64, 3, 7, 7)}, stream)
    with pytest.raises(ModelError, match=r"tensor 'bn1\.weight' is missing"):
        read_encoder(_written(tmp_path / "part.pth", stream.getvalue()))
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ModelError, match="no state dictionary"):
        read_encoder(tmp_path / "list.pth")
    assert not any((tmp_path / name).exists() for name in "ab")


def _written(path, content):
    path.write_bytes(content)
    return path


def test_names_and_folders(files, tmp_path):
    folder, _ = files
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    with pytest.raises(OptionError, match="did you mean koniq10k"):
        convert(folder / "ARNIQA.pth", folder / "regressor_csiq.pth", tmp_path / "out", data="koniq")
    with pytest.raises(OptionError, match="not an empty folder"):
        convert(folder / "ARNIQA.pth", folder / "regressor_csiq.pth", tmp_path / "full")


def test_as_it_is_typed(files, tmp_path, capsys):
    folder, _ = files
    words = ["convert", "arniqa", str(folder / "ARNIQA.pth"), str(folder / "regressor_csiq.pth")]
    assert command([*words, "--out", str(tmp_path / "out")]) == 0
    assert "arniqa-csiq, 0-1, lower is better" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "model.card.json").read_text())["training"]["head"].startswith("regressor_")
    assert command([*words[:3], "--out", str(tmp_path / "b")]) == 2
    assert command(["convert", "arnika", "x", "y", "--out", str(tmp_path / "b")]) == 2
    assert "did you mean arniqa" in capsys.readouterr().err
    assert command(["convert", "--help"]) == 0


def test_without_torch_one_line_says_what_to_install():
    words = ["convert", "arniqa", "a.pth", "b.pth", "--out", "x"]
    code = f"import sys; sys.modules['torch'] = None; from noref.cli import run; sys.exit(run({words!r}))"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "Error: noref.train needs an extra: pip install 'noref[train]'\n"
