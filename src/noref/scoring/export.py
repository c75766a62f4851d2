"""A PyTorch network becomes an ONNX file that the scorer runs without torch.

The contract of every exported file: one input `image`, (N, H, W, 3) uint8 RGB, values 0-255; one output
`quality`, (N,) float32 in about [0, 1], higher is better. Normalisation is inside the graph. N is free. H and W
are free for a network that sees whole images and fixed for one that sees crops; the card says which.
"""

from __future__ import annotations

import copy
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
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

INPUT, OUTPUT = "image", "quality"
TOLERANCE = 1e-4
OPSET = 18  # old enough for every ONNX Runtime that the base install takes


def export_onnx(
    module: nn.Module,
    out: Path,
    card: Card,
    *,
    example: NDArray[np.uint8],
    dynamic_size: bool,
    tolerance: float = TOLERANCE,
) -> Card:
    """Write `module` as an ONNX file with its card beside it, after checking it against PyTorch.

    Checked on the example, on its first image alone, on noise and, when the size is free, on two other
    sizes (odd ones, where padding that follows the size goes wrong first). Nothing is left behind when
    a check fails.

    Args:
        module: (N, H, W, 3) uint8 -> (N,) float32 quality in about [0, 1], higher is better; not changed.
        out: the file to write, `*.onnx`.
        card: goes beside it with the file's checksum.
        example: (N, H, W, 3) uint8 images of a size the network will see; real ones check best.
        dynamic_size: true leaves H and W free, false fixes them to the example's.
        tolerance: the largest absolute difference from PyTorch's quality that passes.

    Returns:
        The card as written, with its checksum.

    Raises:
        OptionError: `out` is no `.onnx`, or its card's preprocessing does not fit the graph's input.
        ValueError: `example` is not (N, H, W, 3) uint8.
        ModelError: the graph cannot be made, or its output differs from PyTorch's.
    """
    _check_call(out, card, example, dynamic_size)
    network = copy.deepcopy(module).cpu().eval()
    proto = _to_onnx(_exportable(copy.deepcopy(network)), example, dynamic_size, out)
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        plain, partial = Path(folder) / "plain.onnx", Path(folder) / "folded.onnx"
        onnx.save(proto, plain)
        _fold(plain, partial)
        _compare(network, partial, _trials(example, dynamic_size), tolerance, out)
        os.replace(partial, out)
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

    TensorFlow's "same" padding at stride 2 depends on whether the side is even. Traced as it is written it
    becomes a chain of shape arithmetic and a `Pad` before each convolution: right, but 1.8 times slower
    to run and minutes to trace. ONNX's own attribute says the same in one word.
    """

    def __init__(self, conv: Conv2dSame) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        inputs = (x, conv.weight) if conv.bias is None else (x, conv.weight, conv.bias)
        attributes: dict[str, Any] = {
            "auto_pad": "SAME_UPPER",
            "kernel_shape": list(conv.kernel_size),
            "strides": list(conv.stride),
            "dilations": list(conv.dilation),
            "group": conv.groups,
        }
        sides = [(side + stride - 1) // stride for side, stride in zip(x.shape[2:], conv.stride, strict=True)]
        shape = (x.shape[0], conv.out_channels, *sides)
        result: Tensor = torch.onnx.ops.symbolic("Conv", inputs, attributes, dtype=x.dtype, shape=shape, version=OPSET)
        return result


def _exportable(network: nn.Module) -> nn.Module:
    """Change a network that nobody else holds into one that traces quickly and to a plain graph."""
    for name, layer in list(network.named_modules()):
        if type(layer) is Conv2dSame:
            if not name:
                return _SameConv(layer)
            parent, _, attribute = name.rpartition(".")
            setattr(network.get_submodule(parent), attribute, _SameConv(layer))
        elif isinstance(getattr(layer, "inplace", None), bool):
            layer.inplace = False  # in-place activations trace through a slow detour
    return network


def _to_onnx(network: nn.Module, example: NDArray[np.uint8], dynamic_size: bool, out: Path) -> onnx.ModelProto:
    images = torch.from_numpy(np.concatenate([example, example])[: max(2, len(example))])  # one image would fix N to 1
    free = {0: "batch", 1: "height", 2: "width"} if dynamic_size else {0: "batch"}
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                network,
                (images,),
                dynamo=True,
                dynamic_shapes=(free,),
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:  # the exporter raises anything, down to bare RuntimeError
        raise ModelError(f"{out}: this network cannot be exported to ONNX: {error}") from error
    if program is None:
        raise ModelError(f"{out}: torch returned no ONNX program")
    proto: onnx.ModelProto = program.model_proto
    _strip(proto)
    return proto


def _strip(proto: onnx.ModelProto) -> None:
    """Remove what the tracer notes beside the graph: stack traces with this machine's paths."""
    parts = [proto, proto.graph, *proto.functions, *proto.graph.node, *proto.graph.value_info]
    for part in [*parts, *proto.graph.input, *proto.graph.output, *proto.graph.initializer]:
        part.doc_string = ""
        del part.metadata_props[:]


def _fold(plain: Path, folded: Path) -> None:
    """Let ONNX Runtime fold constants and fuse once, offline, with standard operators only."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folded)
    options.log_severity_level = 3
    ort.InferenceSession(str(plain), options, providers=["CPUExecutionProvider"])
    proto = onnx.load(folded)
    used = {node.domain for node in proto.graph.node}
    kept = [entry for entry in proto.opset_import if entry.domain in used]  # the runtime lists all it knows
    del proto.opset_import[:]
    proto.opset_import.extend(kept)
    onnx.save(proto, folded)


def _trials(example: NDArray[np.uint8], dynamic_size: bool) -> list[NDArray[np.uint8]]:
    _, height, width, _ = example.shape
    sizes = [(height, width), (height | 1, width + 3), (height + 14, width | 1)] if dynamic_size else [(height, width)]
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (3, *size, 3), dtype=np.uint8) for size in sizes]
    return [example, example[:1], *noise]


def _compare(network: nn.Module, file: Path, trials: list[NDArray[np.uint8]], tolerance: float, out: Path) -> None:
    session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    for images in trials:
        with torch.no_grad():
            expected = network(torch.tensor(images)).numpy()
        if expected.shape != (len(images),) or expected.dtype != np.float32:
            given = f"{expected.shape} {expected.dtype} for {len(images)} images"
            raise ModelError(f"{out}: the network gives {given}, not (N,) float32")
        found = session.run([OUTPUT], {INPUT: images})[0]
        worst = float(np.abs(found - expected).max()) if found.shape == expected.shape else float("inf")
        if not worst <= tolerance:  # NaN fails too
            size = f"{images.shape[1]} x {images.shape[2]}"
            raise ModelError(f"{out}: ONNX and PyTorch differ by {worst:.2g} at {size}, above {tolerance:g}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's running commentary off the terminal; errors still come through."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
