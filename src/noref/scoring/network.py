"""An ONNX file with its card, run by ONNX Runtime (or torch): pixels in, quality out, and what else the file has.

The output `quality` is (N,). A file may have more: `features` (N, D), the input of its last linear layer; `faults`
(N, T), the severity of each fault that its card names; `spread` (N,), how uncertain the quality is, relatively.
"""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from noref.card import Card, read_card, read_model
from noref.errors import ImageError, ModelError, OptionError, unknown
from noref.scoring import hub

if TYPE_CHECKING:
    from noref.images import Pixels

DEFAULT = Path(__file__).parent / "default" / "model.onnx"
MODELS = {"default": DEFAULT}
MAX_THREADS = 256
CROPS = 16  # crops of one image in one run of the network
WORKERS = 4  # most images that are scored at once on the CPU: each needs its own activations in memory
WAITING = 32  # and on another device, where those that wait become a batch
QUALITY, FEATURES, FAULTS, SPREAD = "quality", "features", "faults", "spread"
RANKS = {FEATURES: 2, FAULTS: 2, SPREAD: 1}  # of the outputs that a file may have beside its quality


class Network:
    """A model file that was checked; safe to use from several threads at once.

    It is loaded and checked in a thread of its own: call `ready` before the first `quality`.

    Args:
        model: a name (`default`), an ONNX file with its card beside it, or `hf:OWNER/NAME@REVISION`.
        threads: for one run of the network; None: one for each core that this process may use.
        device: `cpu` is ONNX Runtime; another, such as `cuda`, `cuda:1` or `mps`, is torch's (extra `train`).

    Raises:
        OptionError: there is no such model, or the number of threads is not 1-256.
        ModelError: the file cannot be read.
    """

    def __init__(self, model: str | Path, *, threads: int | None = None, device: str = "cpu") -> None:
        self.threads = cores() if threads is None else threads
        if not 1 <= self.threads <= MAX_THREADS:
            raise OptionError(f"threads must be 1-{MAX_THREADS}, got {threads}")
        self.path = locate(model)
        self.given = str(model) if str(model) in MODELS else self.path.absolute()  # with `given_threads`: to load again
        self.given_threads, self.device = threads, device
        content = read_model(self.path)
        loader = ThreadPoolExecutor(1)
        self._session: Future[Any]
        if device == "cpu":
            import onnxruntime

            self._session = loader.submit(open_session, onnxruntime, self.path, content, self.threads)
        else:
            from noref.scoring import torch_session

            self._session = loader.submit(torch_session.open_session, self.path, content, device)
        self._card = loader.submit(read_card, self.path, content)
        loader.shutdown(wait=False)

    @property
    def card(self) -> Card:
        """The model's card, once the model is loaded."""
        return self._card.result()

    def ready(self) -> None:
        """Wait until the model is loaded.

        Raises:
            ModelError: not an ONNX model, or its input or output is another than `export` writes; or its card is
                broken, or describes another file.
            OptionError: torch has no such device here.
        """
        crop = self.card.preprocessing.crop
        session = self._session.result()
        _check_signature(self.path, session, crop)
        _check_faults(self.path, session, self.card)

    @property
    def at_once(self) -> int:
        """How many images it takes at the same time, from as many threads."""
        return min(self.threads, WORKERS) if self.device == "cpu" else WAITING

    def quality(self, pixels: Pixels) -> float:
        """Quality of one image, about [0, 1], higher is better; the mean over crops where its input is a crop.

        `pixels` is (H, W, 3) uint8 RGB, as `noref.images.read` gives it with this card's preprocessing.

        Raises:
            ImageError: the network fails on this size, or its output is not finite.
        """
        return self.quality_and(pixels)[0]

    def quality_and(self, pixels: Pixels, *names: str) -> tuple[float, dict[str, NDArray[np.float64]]]:
        """`quality`, and from the same run those of the outputs `names` that the model has; means over crops, no N.

        Raises:
            ImageError: as `quality`.
        """
        wanted = [name for name in names if name in self.further]
        size = self.card.preprocessing.crop
        if size is None:
            parts = [self._run(pixels[None], wanted)]
        else:
            from noref.images import grid

            corners = grid(pixels.shape[0], pixels.shape[1], size)
            crops = [pixels[top : top + size, left : left + size] for top, left in corners]
            parts = [self._run(np.stack(crops[i : i + CROPS]), wanted) for i in range(0, len(crops), CROPS)]
        first, *others = [np.concatenate(each).mean(axis=0, dtype=np.float64) for each in zip(*parts, strict=True)]
        quality = float(first)
        if not np.isfinite(quality):
            raise ImageError(f"the model {self.card.name} put out {quality} instead of a quality")
        return quality, dict(zip(wanted, others, strict=True))

    @property
    def further(self) -> tuple[str, ...]:
        """Names of the outputs that the model has beside its quality: some of `features`, `faults`, `spread`."""
        return tuple(output.name for output in self._session.result().get_outputs() if output.name in RANKS)

    def qualities(self, images: Pixels) -> NDArray[np.float32]:
        """(N, H, W, 3) uint8 RGB images or crops -> (N,) quality, about [0, 1], higher is better; may be inf or NaN.

        Raises:
            ImageError: the network fails on this size.
        """
        return self._run(images, [])[0]

    def _run(self, images: Pixels, names: list[str]) -> list[NDArray[np.float32]]:
        session = self._session.result()
        outputs = session.get_outputs()
        try:
            found: list[NDArray[np.float32]] = session.run(
                [outputs[0].name, *names], {session.get_inputs()[0].name: images}
            )
        except Exception as error:  # ONNX Runtime's own errors derive from Exception alone
            size = f"{images.shape[2]} x {images.shape[1]}"
            raise ImageError(f"the model {self.card.name} fails on {size} pixels: {_first_line(error)}") from error
        if found[0].shape != (len(images),):
            raise ImageError(f"the model {self.card.name} put out {found[0].shape} for {len(images)} images")
        return found


def locate(model: str | Path) -> Path:
    """The file of a model that is given by name, by path or as `hf:OWNER/NAME@REVISION`, see `noref.scoring.hub`.

    Raises:
        OptionError: no such model; offers the nearest name.
        ModelError, MissingExtraError: as `noref.scoring.hub.fetch`.
    """
    if str(model) in MODELS:
        return MODELS[str(model)]
    if str(model).startswith(hub.PREFIX):
        return hub.fetch(str(model))
    path = Path(model)
    if path.is_dir():
        raise OptionError(f"{path}: a folder; `noref export` makes an .onnx file of a trained run")
    if not path.exists():
        if path.suffix or path.parent != Path():
            raise OptionError(f"{path}: there is no such model file")
        raise OptionError(f"{unknown('model', str(model), MODELS)} (or give an .onnx file)")
    return path


def open_session(onnxruntime: Any, path: Path, content: bytes, threads: int) -> Any:
    """ONNX Runtime's session on the CPU.

    Raises:
        ModelError: `content` is not a model that this version of ONNX Runtime runs; names `path`.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # nothing on stderr: errors are raised as well
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads leave the cores to decoding
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own errors derive from Exception alone
        raise ModelError(f"{path}: not an ONNX model that runs here: {_first_line(error)}") from error


def _check_signature(path: Path, session: Any, crop: int | None) -> None:
    inputs, (quality, *further) = session.get_inputs(), session.get_outputs()
    given = ", ".join(f"{value.type} {value.shape}" for value in (*inputs, quality, *further))
    if len(inputs) != 1 or any(value.name not in RANKS for value in further):
        raise ModelError(
            f"{path}: must have one input, one output for the quality, and beside it at most {', '.join(RANKS)}; has "
            f"{given}"
        )
    shape = inputs[0].shape
    if inputs[0].type != "tensor(uint8)" or len(shape) != 4 or shape[3] != 3 or isinstance(shape[0], int):
        raise ModelError(f"{path}: the input must be uint8 (N, H, W, 3) with N free, found {given}")
    if quality.type != "tensor(float)" or len(quality.shape) != 1:
        raise ModelError(f"{path}: the output must be float32 (N,), found {given}")
    for value in further:
        if value.type != "tensor(float)" or len(value.shape) != RANKS[value.name]:
            raise ModelError(f"{path}: the output {value.name} must be float32 of rank {RANKS[value.name]}: {given}")
    if any(isinstance(side, int) and side != crop for side in shape[1:3]):
        raise ModelError(f"{path}: takes {shape[2]} x {shape[1]} pixels, its card says {crop or 'any size'}")


def _check_faults(path: Path, session: Any, card: Card) -> None:
    sizes = [output.shape[1] for output in session.get_outputs() if output.name == FAULTS]
    named = card.outputs.get(FAULTS, {})
    if sizes and sizes != [len(named)]:
        raise ModelError(f"{path}: puts out {sizes[0]} faults, its card names {len(named)}")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
