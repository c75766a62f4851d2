"""What the last line of an exported model sees: the feature of a model of which there is nothing but its ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from noref import images
from noref.card import Card, read_card, read_model
from noref.data.loading import judged_crops
from noref.errors import ImageError, ModelError
from noref.scoring.network import cores, locate, open_session

# what may stand between the line and the score, each with the feature's way as its first or only varying input
AFTER = {"Add", "Sub", "Mul", "Div", "Sigmoid", "Clip", "Identity", "Squeeze", "Reshape", "ReduceMean", "Cast"}
LINES = {"MatMul", "Gemm"}


class Exported:
    """An ONNX file that can be asked for its feature.

    Args:
        model: `default`, or an ONNX file with its card beside it.

    Raises:
        OptionError: there is no such model.
        ModelError: the file or its card is broken, or its score does not come from one line on a feature.
    """

    def __init__(self, model: str | Path) -> None:
        self.path = locate(model)
        content = read_model(self.path)
        self.card: Card = read_card(self.path, content)
        opened, self.feature_name = with_feature(content, self.path)
        self.session: Any = open_session(onnxruntime, self.path, opened, cores())

    def feature(self, path: Path) -> NDArray[np.float32]:
        """(crops, D) of one image, as the model sees it for its score.

        Raises:
            ImageError: the image cannot be read, or the network fails on it.
        """
        crops = judged_crops(path, self.card.preprocessing)
        try:
            seen = self.session.run([self.feature_name], {self.session.get_inputs()[0].name: crops})[0]
        except Exception as error:  # the runtime raises classes of its own, below plain Exception
            raise ImageError(f"{images.name(path)}: the model {self.card.name} fails on it: {error}") from error
        rows: NDArray[np.float32] = np.asarray(seen, dtype=np.float32)
        return rows.reshape(-1, rows.shape[-1])


def with_feature(content: bytes, path: Path) -> tuple[bytes, str]:
    """The model with what its last line sees as a second output, and that output's name.

    Args:
        content: an ONNX file whose one output is the score.
        path: for the error.

    Raises:
        ModelError: no ONNX file, or the way back from the score does not lead to a product with fixed weights.
    """
    try:
        found = onnx.load_from_string(content)
    except Exception as error:  # protobuf's own classes
        raise ModelError(f"{path}: not an ONNX model: {error}") from error
    fixed = {one.name for one in found.graph.initializer}
    makers = {name: node for node in found.graph.node for name in node.output}
    node = makers.get(found.graph.output[0].name)
    while node is not None and node.op_type in AFTER:
        ways = [name for name in node.input if name not in fixed and name in makers]
        node = makers[ways[0]] if len(ways) == 1 else None
    if node is None or node.op_type not in LINES or node.input[1] not in fixed:
        raise ModelError(f"{path}: its score does not come from one line on a feature: name the run that it came from")
    name = node.input[0]
    found.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return found.SerializeToString(), name
