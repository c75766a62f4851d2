"""The feature of a model of which there is nothing but its ONNX file: the input of its last linear layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from noref import images
from noref.card import Card, read_card, read_model
from noref.data.loading import evaluation_crops
from noref.errors import ImageError
from noref.scoring.graph_outputs import last_linear
from noref.scoring.network import cores, locate, open_session
from noref.scoring.onnx_file import parse


class ExportedModel:
    """An ONNX file with its card beside it, or `default`, that gives its feature.

    Raises:
        OptionError: there is no such model.
        ModelError: the file or its card is broken, or as `with_feature`.
    """

    def __init__(self, model: str | Path) -> None:
        path = locate(model)
        content = read_model(path)
        self.card: Card = read_card(path, content)
        changed, self.feature_name = with_feature(content, path)
        self.session: Any = open_session(onnxruntime, path, changed, cores())

    def extract(self, path: Path) -> NDArray[np.float32]:
        """(crops, D) of one image, read and cut as for its score.

        Raises:
            ImageError: the image cannot be read, or the network fails on it.
        """
        crops = evaluation_crops(path, self.card.preprocessing)
        try:
            found = self.session.run([self.feature_name], {self.session.get_inputs()[0].name: crops})[0]
        except Exception as error:  # the runtime raises classes of its own, below plain Exception
            raise ImageError(f"{images.name(path)}: the model {self.card.name} fails on it: {error}") from error
        rows: NDArray[np.float32] = np.asarray(found, dtype=np.float32)
        return rows.reshape(-1, rows.shape[-1])


def with_feature(content: bytes, path: Path) -> tuple[bytes, str]:
    """An ONNX file with the input of its last linear layer as a second output beside the score, and that one's name.

    Raises:
        ModelError: no ONNX file, or the score does not come from one linear layer with fixed weights.
    """
    model = parse(content, path)
    name = last_linear(model, path).input[0]
    if all(output.name != name for output in model.graph.output):
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return model.SerializeToString(), name
