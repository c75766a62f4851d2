"""The weights that ARNIQA's authors released, as models of ours; nothing in their files is executed or unpickled.

`ARNIQA.pth` is a state dictionary: PyTorch's own restricted reader takes tensors from it and refuses all else.
`regressor_*.pth` is a TorchScript archive, which `torch.jit.load` would run as a program. It is a zip file, though, and
its numbers lie in it as plain bytes: they are read from there. What type they have is in a pickle beside them, of which
the operations are listed (`pickletools`), never carried out.
"""

from __future__ import annotations

import pickletools
import re
import zipfile
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from noref.card import Card, Preprocessing, Scale, digest
from noref.errors import ModelError, OptionError, unknown
from noref.methods.arniqa_ridge import LEAST
from noref.models import arniqa_regressor
from noref.models import weights as files
from noref.models.arniqa import Encoder, EncoderPlan, build_encoder, save_encoder
from noref.models.arniqa_regressor import ARNIQA

SCALES = {  # of the scores that each regressor was fitted to, as its authors give them
    "live": Scale(1, 100, higher_is_better=False),
    "csiq": Scale(0, 1, higher_is_better=False),
    "tid2013": Scale(0, 9),
    "kadid10k": Scale(1, 5),
    "flive": Scale(1, 100),
    "spaq": Scale(1, 100),
    "clive": Scale(1, 100),
    "koniq10k": Scale(1, 100),
}
LAYERS = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}  # of nn.Sequential
STORAGE = {"FloatStorage": "<f4", "DoubleStorage": "<f8"}
BACKBONE = EncoderPlan("resnet50.tv_in1k", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
LARGEST = 1 << 24  # bytes; a regressor has 32 kB
PUSHED = {"BINUNICODE", "SHORT_BINUNICODE", "UNICODE", "GLOBAL", "BININT", "BININT1", "BININT2", "LONG1", "INT"}


def convert(encoder: Path, regressor: Path, out: Path, *, data: str | None = None) -> Card:
    """Write the released encoder and one regressor as `model.safetensors` and `encoder.safetensors`, with cards.

    Args:
        encoder: `ARNIQA.pth`.
        regressor: `regressor_NAME.pth`, NAME the data set that it was fitted to, a key of `SCALES`.
        out: a new folder, which `noref evaluate`, `noref export` and `--encoder` take.
        data: that data set, where the file's name does not say it.

    Raises:
        OptionError, ModelError: `out` holds something, an unknown data set, or a file that is not as released.
    """
    name = data or re.sub(r"^regressor_|\.\w+$", "", regressor.name)
    if name not in SCALES:
        raise unknown("data set of a regressor", name, SCALES)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OptionError(f"{out}: not an empty folder")
    network = read_encoder(encoder)
    weight, intercept = read_regressor(regressor, 2 * network.width)
    out.mkdir(parents=True, exist_ok=True)
    rule = Preprocessing(max_pixels=None, min_side=LEAST)
    training: dict[str, Any] = {
        "recipe": "arniqa, the authors' release",
        "initialised from": f"{encoder.name}, sha256 {digest(encoder)}",
        "photos": "KADIS-700k, the 140 000 pristine ones",
        "licence": "as the release says; cite Agnolucci et al. 2024, https://arxiv.org/abs/2310.14918",
    }
    alone = ["an encoder alone: it gives no score, and its scale means nothing, until a head is fitted"]
    card = Card("arniqa-encoder", "ARNIQA encoder: ResNet-50, released", Scale(0, 1), rule, training=training)
    save_encoder(network, out / "encoder.safetensors", Card(**{**card.__dict__, "limits": alone}))
    model = ARNIQA(network, pad="zero")
    scale = SCALES[name]
    unit = scale.quality(1.0) - scale.quality(0.0)
    model.set_linear_head(torch.from_numpy(weight * unit).float(), scale.quality(intercept))
    facts = training | {
        "head": f"{regressor.name}, sha256 {digest(regressor)}",
        "data set": f"{name}, all of it: no part of it can test this model",
        "half scale": "Pillow's bicubic, antialiased, (height // 2, width // 2)",
        "beyond the border": "zero",
    }
    limits = ["the authors shrink SPAQ's images to a shorter side of 512 first"] if name == "spaq" else []
    method = "ARNIQA: ResNet-50 at two scales, five crops, ridge; released weights"
    return arniqa_regressor.save(
        model, out / "model.safetensors", Card(f"arniqa-{name}", method, scale, rule, training=facts, limits=limits)
    )


def read_encoder(path: Path) -> Encoder:
    """The released encoder, from a state dictionary in its authors' names; the projector is left out.

    Raises:
        ModelError: not such a file; the first wrong tensor is named.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                raise ModelError(f"{path}: a TorchScript archive, which is a program, and no state dictionary")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}") from error
    except Exception as error:  # the reader raises anything for what it does not trust
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(f"{path}: no state dictionary that can be read without running it: {reason}") from error
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ModelError(f"{path}: no state dictionary")
    encoder = build_encoder(BACKBONE, weights="none")
    named = {_renamed(key): value for key, value in found.items() if not key.startswith("projector.")}
    files.fill(encoder.backbone.net, named, source=path)
    return encoder.eval()


def _renamed(key: str) -> str:
    """`model.4.0.conv1.weight` -> `layer1.0.conv1.weight`: the children of torchvision's network, by their names."""
    first, _, rest = key.removeprefix("model.").partition(".")
    return f"{LAYERS.get(first, first)}.{rest}"


def read_regressor(path: Path, features: int) -> tuple[NDArray[np.float64], float]:
    """Weights and intercept of a TorchScript regressor with so many features, read as bytes.

    Raises:
        ModelError: no such archive, or other numbers in it than that many weights and one intercept.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = _tensors(archive, path)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}") from error
    except (zipfile.BadZipFile, KeyError, ValueError, StopIteration) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{path}: no TorchScript archive: {error}") from error
    sizes = sorted(len(values) for values in found)
    if sizes != [1, features]:
        raise ModelError(f"{path}: holds tensors of {sizes} numbers, not {features} weights and one intercept")
    weight, intercept = sorted(found, key=len, reverse=True)
    if not (np.isfinite(weight).all() and np.isfinite(intercept).all()):
        raise ModelError(f"{path}: a weight is no finite number")
    return weight, float(intercept[0])


def _tensors(archive: zipfile.ZipFile, path: Path) -> list[NDArray[np.float64]]:
    """Every tensor's numbers, in the order in which the archive lists them."""
    program = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
    root = program.removesuffix("data.pkl")
    if sum(entry.file_size for entry in archive.infolist()) > LARGEST:
        raise ModelError(f"{path}: too large for a regressor")
    if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
        raise ModelError(f"{path}: its numbers are not little-endian")
    found = []
    for kind, key, count in _storages(archive.read(program)):
        if kind not in STORAGE:
            raise ModelError(f"{path}: numbers of type {kind}")
        values = np.frombuffer(archive.read(f"{root}data/{key}"), dtype=STORAGE[kind])
        if len(values) != count:
            raise ModelError(f"{path}: tensor {key} has {len(values)} numbers, not {count}")
        found.append(values.astype(np.float64))
    return found


def _storages(program: bytes) -> list[tuple[str, str, int]]:
    """(type, key, count) of every storage that a pickle names: ("storage", type, key, device, count) before BINPERSID.

    Operations are only listed: strings and numbers in the order in which they would be pushed, or are recalled.
    """
    memory: dict[int, Any] = {}
    pushed: list[Any] = []
    found: list[tuple[str, str, int]] = []
    for operation, given, _ in pickletools.genops(program):
        name, argument = operation.name, cast(Any, given)
        if name in PUSHED:
            pushed.append(argument)
        elif name in ("BINPUT", "LONG_BINPUT"):
            memory[argument] = pushed[-1] if pushed else None
        elif name in ("BINGET", "LONG_BINGET"):
            pushed.append(memory.get(argument))
        elif name == "BINPERSID":
            word, kind, key, _, count = pushed[-5:]
            if word != "storage":
                raise ValueError(f"a persistent object {word!r}")
            found.append((str(kind).rpartition(" ")[2], str(key), int(count)))
    return found
