"""An ONNX file with its card, run by ONNX Runtime: pixels in, quality out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noref.card import read_card
from noref.errors import ImageError, ModelError, OptionError, unknown
from noref.images import Pixels, grid

DEFAULT = Path(__file__).parent / "default" / "model.onnx"
MODELS = {"default": DEFAULT}
CROPS = 16  # crops of one image that go through the network together


class Network:
    """A model file that was checked and loaded; safe to use from several threads at once.

    Args:
        model: a name (`default`) or an ONNX file with its card beside it.
        threads: for one run of the network.

    Raises:
        OptionError: there is no such model.
        ModelError: the file or its card is broken, foreign, or does not belong to the other.
    """

    def __init__(self, model: str | Path, *, threads: int) -> None:
        self.path = locate(model)
        content = _content(self.path)
        self.card = read_card(self.path, content)
        self._session = _session(self.path, content, threads)
        _check_signature(self.path, self._session, self.card.preprocessing.crop)
        self._input: str = self._session.get_inputs()[0].name

    def quality(self, pixels: Pixels) -> float:
        """Quality of one image, about [0, 1], higher is better; of a network that sees crops their mean.

        Args:
            pixels: (H, W, 3) uint8 RGB, as `noref.images.read` gives it with this card's preprocessing.

        Raises:
            ImageError: the network fails on this size or puts out no finite number.
        """
        size = self.card.preprocessing.crop
        if size is None:
            found = self._run(pixels[None])
        else:
            corners = grid(pixels.shape[0], pixels.shape[1], size)
            crops = [pixels[top : top + size, left : left + size] for top, left in corners]
            parts = [np.stack(crops[i : i + CROPS]) for i in range(0, len(crops), CROPS)]
            found = np.concatenate([self._run(part) for part in parts])
        quality = float(found.mean(dtype=np.float64))
        if not np.isfinite(quality):
            raise ImageError(f"the model {self.card.name} put out {quality} instead of a quality")
        return quality

    def _run(self, images: Pixels) -> NDArray[np.float32]:
        """(N, H, W, 3) -> (N,) quality."""
        try:
            found: NDArray[np.float32] = self._session.run(None, {self._input: images})[0]
        except Exception as error:  # the runtime raises classes of its own, below plain Exception
            size = f"{images.shape[2]} x {images.shape[1]}"
            raise ImageError(f"the model {self.card.name} fails on {size} pixels: {_first_line(error)}") from error
        if found.shape != (len(images),):
            raise ImageError(f"the model {self.card.name} put out {found.shape} for {len(images)} images")
        return found


def locate(model: str | Path) -> Path:
    """The file of a model given by name or path.

    Raises:
        OptionError: neither a known name nor a file; offers the nearest name.
    """
    if str(model) in MODELS:
        return MODELS[str(model)]
    path = Path(model)
    if path.is_dir():
        raise OptionError(f"{path}: a folder; `noref export` makes an .onnx file of a trained run")
    if not path.exists():
        if path.suffix or path.parent != Path():
            raise OptionError(f"{path}: there is no such model file")
        raise unknown("model", str(model), MODELS)
    return path


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}") from error


def _session(path: Path, content: bytes, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # errors are raised as well; nothing is written past Python's streams
    options.add_session_config_entry(
        "session.intra_op.allow_spinning", "0"
    )  # waiting threads leave the cores to decoding
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime raises classes of its own, below plain Exception
        raise ModelError(f"{path}: not an ONNX model that runs here: {_first_line(error)}") from error


def _check_signature(path: Path, session: Any, crop: int | None) -> None:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    given = ", ".join(f"{value.type} {value.shape}" for value in (*inputs, *outputs))
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(f"{path}: must have one input and one output, has {given}")
    shape = inputs[0].shape
    if inputs[0].type != "tensor(uint8)" or len(shape) != 4 or shape[3] != 3 or isinstance(shape[0], int):
        raise ModelError(f"{path}: the input must be uint8 (N, H, W, 3) with N free, found {given}")
    if outputs[0].type != "tensor(float)" or len(outputs[0].shape) != 1:
        raise ModelError(f"{path}: the output must be float32 (N,), found {given}")
    if any(isinstance(side, int) and side != crop for side in shape[1:3]):
        raise ModelError(f"{path}: takes {shape[2]} x {shape[1]} pixels, its card says {crop or 'any size'}")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
