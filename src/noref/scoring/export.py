"""Export a PyTorch network as an ONNX file, which the scorer runs without torch.

Every exported file has one input `image`, (N, H, W, 3) uint8 RGB, and one output `quality`, (N,) float32 in about
[0, 1], higher is better. Normalisation is inside the graph. N is free. H and W are free for a network whose
input is a whole image, fixed for one whose input is a crop; the card says which.
"""

from __future__ import annotations

import copy
import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from timm.layers import Conv2dSame  # type: ignore[attr-defined]
from torch import Tensor, nn

from noref.card import Card
from noref.errors import ModelError, OptionError
from noref.writing import replacing

INPUT, OUTPUT = "image", "quality"
TOLERANCE = 1e-4  # the largest absolute difference from PyTorch's quality
OPSET = 18  # old enough for every ONNX Runtime that the base install takes


def export_onnx(module: nn.Module, out: Path, card: Card, *, example: NDArray[np.uint8], dynamic_size: bool) -> Card:
    """Write `module` as an ONNX file with its card beside it; return the card as written, with the file's checksum.

    The output must be PyTorch's on the example, on its first image alone, on noise and, when the size is free, on noise
    of two other sizes (odd ones, where padding that depends on the size goes wrong first); else nothing is written.

    Args:
        module: (N, H, W, 3) uint8 -> (N,) float32 quality in about [0, 1], higher is better; not changed.
        out: the file to write, `*.onnx`.
        card: of the model, without checksum.
        example: (N, H, W, 3) uint8 images of a size that the network will see, best real ones.
        dynamic_size: whether H and W are free; else they are fixed to the example's.

    Raises:
        OptionError: `out` is not `.onnx` or in no folder, or the card's crop does not fit the example.
        ValueError: `example` is not (N, H, W, 3) uint8.
        ModelError: the export fails, or its output differs from PyTorch's.
    """
    _check_call(out, card, example, dynamic_size)
    network = copy.deepcopy(module).cpu().eval()
    graph = _to_onnx(_exportable(copy.deepcopy(network)), example, dynamic_size, out)
    with replacing(out) as partial:
        onnx.save(_folded(graph), partial)
        _compare(network, partial, example, dynamic_size, out)
    return card.write(out)


def _check_call(out: Path, card: Card, example: NDArray[np.uint8], dynamic_size: bool) -> None:
    if out.suffix != ".onnx":
        raise OptionError(f"{out}: an exported model's name ends in .onnx")
    if not out.parent.is_dir():
        raise OptionError(f"{out}: there is no folder {out.parent}")
    if example.dtype != np.uint8 or example.ndim != 4 or example.shape[3] != 3 or 0 in example.shape:
        raise ValueError(f"example must be (N, H, W, 3) uint8, got {example.shape} {example.dtype}")
    crop = card.preprocessing.crop
    if dynamic_size and crop is not None:
        raise OptionError(f"{out}: the card's crop of {crop} px does not go with a free image size")
    if not dynamic_size and example.shape[1:3] != (crop, crop):
        raise OptionError(f"{out}: the example is {example.shape[1]} x {example.shape[2]}, the card's crop is {crop}")


class _SameConv(nn.Module):
    """timm's `Conv2dSame` as one ONNX `Conv` with `auto_pad="SAME_UPPER"`, for the export only.

    Traced as timm computes it, "same" padding becomes shape arithmetic and a `Pad` before each convolution, which
    takes minutes to trace and runs 1.8 times slower.
    """

    def __init__(self, conv: Conv2dSame) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        inputs = (x, conv.weight) if conv.bias is None else (x, conv.weight, conv.bias)
        geometry = {"kernel_shape": conv.kernel_size, "strides": conv.stride, "dilations": conv.dilation}
        attributes: dict[str, Any] = {key: list(sides) for key, sides in geometry.items()}
        attributes |= {"auto_pad": "SAME_UPPER", "group": conv.groups}
        sides = [(side + stride - 1) // stride for side, stride in zip(x.shape[2:], conv.stride, strict=True)]
        shape = (x.shape[0], conv.out_channels, *sides)
        result: Tensor = torch.onnx.ops.symbolic("Conv", inputs, attributes, dtype=x.dtype, shape=shape, version=OPSET)
        return result


def _exportable(network: nn.Module) -> nn.Module:
    """Change a network, in place, so that it traces quickly and to a simple graph."""
    for name, layer in list(network.named_modules()):
        if type(layer) is Conv2dSame:
            if not name:
                return _SameConv(layer)
            parent, _, attribute = name.rpartition(".")
            setattr(network.get_submodule(parent), attribute, _SameConv(layer))
        elif isinstance(getattr(layer, "inplace", None), bool):
            layer.inplace = False  # in-place activations trace slowly
    return network


def _to_onnx(network: nn.Module, example: NDArray[np.uint8], dynamic_size: bool, out: Path) -> onnx.ModelProto:
    images = torch.from_numpy(np.concatenate([example, example])[: max(2, len(example))])  # a batch of 1 would fix N
    free = {0: "batch", 1: "height", 2: "width"} if dynamic_size else {0: "batch"}
    options: dict[str, Any] = {"input_names": [INPUT], "output_names": [OUTPUT], "opset_version": OPSET}
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)  # the exporter logs and warns a lot; its errors are raised
    try:
        with warnings.catch_warnings(action="ignore"), torch.no_grad():
            program = torch.onnx.export(
                network, (images,), dynamo=True, dynamic_shapes=(free,), verbose=False, **options
            )
    except Exception as error:  # the exporter raises anything, down to bare RuntimeError
        raise ModelError(f"{out}: this network cannot be exported to ONNX: {error}") from error
    finally:
        logging.disable(disabled)
    if program is None:
        raise ModelError(f"{out}: torch returned no ONNX program")
    proto: onnx.ModelProto = program.model_proto
    parts = [proto, proto.graph, *proto.functions, *proto.graph.node, *proto.graph.value_info]
    for part in [*parts, *proto.graph.input, *proto.graph.output, *proto.graph.initializer]:
        part.doc_string = ""  # stack traces with this machine's paths
        del part.metadata_props[:]
    return proto


def _folded(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with constants folded and layers fused by ONNX Runtime, with standard operators only."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = f"{folder}/folded.onnx"
        ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
        folded = onnx.load(options.optimized_model_filepath)
    used = {node.domain for node in folded.graph.node}
    kept = [entry for entry in folded.opset_import if entry.domain in used]  # ONNX Runtime lists all it knows
    del folded.opset_import[:]
    folded.opset_import.extend(kept)
    return folded


def _compare(network: nn.Module, file: Path, example: NDArray[np.uint8], dynamic_size: bool, out: Path) -> None:
    session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    _, height, width, _ = example.shape
    sizes = [(height, width), (height | 1, width + 3), (height + 14, width | 1)] if dynamic_size else [(height, width)]
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (3, *size, 3), dtype=np.uint8) for size in sizes]
    for images in [example, example[:1], *noise]:
        with torch.no_grad():
            expected = network(torch.tensor(images)).numpy()
        if expected.shape != (len(images),) or expected.dtype != np.float32:
            given = f"{expected.shape} {expected.dtype} for {len(images)} images"
            raise ModelError(f"{out}: the network gives {given}, not (N,) float32")
        found = session.run([OUTPUT], {INPUT: images})[0]
        worst = float(np.abs(found - expected).max()) if found.shape == expected.shape else float("inf")
        if not worst <= TOLERANCE:  # NaN fails too
            size = f"{images.shape[1]} x {images.shape[2]}"
            raise ModelError(f"{out}: ONNX and PyTorch differ by {worst:.2g} at {size}, above {TOLERANCE:g}")
