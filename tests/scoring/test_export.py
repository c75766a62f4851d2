from __future__ import annotations

import logging

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import timm
import torch
from torch import nn

from noref.card import Card, Preprocessing, Scale, read_card
from noref.errors import ModelError, OptionError
from noref.scoring.export import export_onnx


class Tiny(nn.Module):
    """Whole images: two strided "same" convolutions of different kernel, an activation in place, a mean."""

    def __init__(self, scale=1.0):
        super().__init__()
        torch.manual_seed(0)
        self.first = timm.layers.create_conv2d(3, 4, 3, stride=2, padding="same")
        self.act = nn.ReLU6(inplace=True)
        self.second = timm.layers.create_conv2d(4, 4, 5, stride=2, padding="same", depthwise=True, bias=True)
        self.scale = scale

    def forward(self, images):
        x = images.permute(0, 3, 1, 2).float() / 127.5 - 1
        return self.second(self.act(self.first(x))).mean(dim=(1, 2, 3)) * self.scale


class MobileNet(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = timm.create_model("mobilenetv2_100", pad_type="same", num_classes=1)

    def forward(self, images):
        return 0.01 * self.net(images.permute(0, 3, 1, 2).float() / 127.5 - 1)[:, 0]


def card(crop=None):
    return Card("tiny", "test", Scale(0, 100), Preprocessing(crop=crop))


def noise(*shape, seed=1):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def run(path, images):
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(["quality"], {"image": images})[0]


def same_conv_by_hand(image, weight, stride):
    """TensorFlow's rule, one output pixel at a time: ceil(side / stride) windows, the odd pixel of padding last."""
    channels, height, width = image.shape
    size = weight.shape[-1]
    tall, wide = -(-height // stride), -(-width // stride)
    top = max((tall - 1) * stride + size - height, 0) // 2
    left = max((wide - 1) * stride + size - width, 0) // 2
    padded = np.zeros((channels, height + 4 * size, width + 4 * size))
    padded[:, top : top + height, left : left + width] = image
    out = np.empty((len(weight), tall, wide))
    for y in range(tall):
        for x in range(wide):
            window = padded[:, y * stride : y * stride + size, x * stride : x * stride + size]
            out[:, y, x] = (weight * window).sum(axis=(1, 2, 3))
    return out


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "tiny.onnx"
    export_onnx(Tiny(), path, card(), example=noise(2, 32, 40, 3), dynamic_size=True)
    return path


@pytest.mark.parametrize("shape", [(1, 32, 40), (5, 33, 40), (2, 32, 41), (3, 57, 63), (1, 128, 20)])
def test_any_batch_and_size_gives_what_torch_gives(tiny_file, shape):
    images = noise(*shape, 3)
    expected = Tiny().eval()(torch.from_numpy(images)).detach().numpy()
    np.testing.assert_allclose(run(tiny_file, images), expected, atol=1e-5)


@pytest.mark.parametrize("size", [(10, 12), (11, 13), (10, 13)])
def test_same_padding_in_the_file_is_tensorflows(tmp_path, size):
    conv = timm.layers.create_conv2d(3, 2, 3, stride=2, padding="same")
    weights = torch.randn(2, generator=torch.Generator().manual_seed(3))

    class Corner(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = conv

        def forward(self, images):
            return (self.conv(images.permute(0, 3, 1, 2).float() / 255)[:, :, 0, 0] * weights).sum(dim=1)

    export_onnx(Corner(), tmp_path / "c.onnx", card(), example=noise(2, 16, 16, 3), dynamic_size=True)
    image = noise(1, *size, 3)
    by_hand = same_conv_by_hand(image[0].transpose(2, 0, 1) / 255.0, conv.weight.detach().numpy(), 2)
    np.testing.assert_allclose(run(tmp_path / "c.onnx", image)[0], by_hand[:, 0, 0] @ weights.numpy(), atol=1e-5)


def test_the_graph_keeps_the_contract(tiny_file):
    session = ort.InferenceSession(str(tiny_file))
    (image,), (quality,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.type, quality.name, quality.type) == (
        "image",
        "tensor(uint8)",
        "quality",
        "tensor(float)",
    )
    assert all(isinstance(side, str) for side in image.shape[:3])
    assert image.shape[3] == 3
    assert len(quality.shape) == 1


def test_the_graph_is_plain_and_tells_nothing_of_the_machine(tiny_file):
    proto = onnx.load(tiny_file)
    assert not {"Pad", "Shape", "BatchNormalization"} & {node.op_type for node in proto.graph.node}
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 18)]
    assert all(node.domain == "" for node in proto.graph.node)
    assert not any(word in tiny_file.read_bytes() for word in (b"site-packages", b'File "', __file__.encode()))


def test_the_card_lies_beside_it_and_nothing_else(tiny_file):
    assert read_card(tiny_file).name == "tiny"
    assert sorted(path.name for path in tiny_file.parent.iterdir()) == ["tiny.card.json", "tiny.onnx"]


def test_mobilenet_is_right_on_crops(tmp_path):
    network = MobileNet()
    export_onnx(network, tmp_path / "m.onnx", card(crop=64), example=noise(2, 64, 64, 3), dynamic_size=False)
    images = noise(5, 64, 64, 3)
    with torch.no_grad():
        np.testing.assert_allclose(
            run(tmp_path / "m.onnx", images), network.eval()(torch.from_numpy(images)).numpy(), atol=1e-4
        )
    with pytest.raises(Exception, match="INVALID_ARGUMENT"):
        run(tmp_path / "m.onnx", noise(1, 65, 64, 3))


def test_the_network_itself_stays_as_it_was(tmp_path):
    network = Tiny().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    export_onnx(network, tmp_path / "t.onnx", card(), example=noise(1, 32, 32, 3), dynamic_size=True)
    assert network.training
    assert network.act.inplace
    assert type(network.first).__name__ == "Conv2dSame"
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert logging.getLogger("torch.onnx").level != logging.ERROR


class Drifts(nn.Module):
    """Gives another answer each time: the check must see that the file says something else."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, images):
        self.calls += 1
        return images.float().mean(dim=(1, 2, 3)) + self.calls


def test_a_file_that_differs_from_torch_is_not_written(tmp_path):
    with pytest.raises(ModelError, match="differ"):
        export_onnx(Drifts(), tmp_path / "d.onnx", card(), example=noise(2, 32, 32, 3), dynamic_size=True)
    assert list(tmp_path.iterdir()) == []


def test_nan_is_a_difference(tmp_path):
    with pytest.raises(ModelError, match="differ by nan"):
        export_onnx(
            Tiny(scale=float("nan")), tmp_path / "d.onnx", card(), example=noise(2, 32, 32, 3), dynamic_size=True
        )


def test_a_network_of_another_output_is_refused(tmp_path):
    class Two(Tiny):
        def forward(self, images):
            return super().forward(images)[:, None]

    with pytest.raises(ModelError, match=r"not \(N,\) float32"):
        export_onnx(Two(), tmp_path / "d.onnx", card(), example=noise(2, 32, 32, 3), dynamic_size=True)


def test_wrong_calls_say_why(tmp_path):
    good = noise(2, 32, 32, 3)
    with pytest.raises(OptionError, match=r"ends in \.onnx"):
        export_onnx(Tiny(), tmp_path / "t.bin", card(), example=good, dynamic_size=True)
    with pytest.raises(OptionError, match="no folder"):
        export_onnx(Tiny(), tmp_path / "nowhere" / "t.onnx", card(), example=good, dynamic_size=True)
    with pytest.raises(OptionError, match="crop of 32"):
        export_onnx(Tiny(), tmp_path / "t.onnx", card(crop=32), example=good, dynamic_size=True)
    with pytest.raises(OptionError, match="32 x 32, the card's crop is 64"):
        export_onnx(Tiny(), tmp_path / "t.onnx", card(crop=64), example=good, dynamic_size=False)
    with pytest.raises(ValueError, match="uint8"):
        export_onnx(Tiny(), tmp_path / "t.onnx", card(), example=good.astype(np.float32), dynamic_size=True)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="cannot be exported"):
        export_onnx(nn.Linear(4, 1), tmp_path / "t.onnx", card(), example=good, dynamic_size=True)
