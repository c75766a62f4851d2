"""Model cards: scale, direction, preprocessing, training set and checksum of a model file. No torch.

The card of `NAME.onnx` or `NAME.safetensors` is `NAME.card.json` beside it. A model without a card, or with the card of
another file, is not loaded, because its score would have no scale.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from noref.errors import ModelError
from noref.writing import write_text

FORMAT = 1
FILTERS = ("bicubic", "lanczos")


@dataclass(frozen=True)
class Scale:
    """The range of a score, its smallest and largest raw value, and its direction; all conversions are done here.

    Raises:
        ValueError: `high` is not above `low`, or one of them is not finite.

    Example:
        >>> dmos = Scale(0, 100, higher_is_better=False)
        >>> dmos.quality(25.0), dmos.raw(0.75)
        (0.75, 25.0)
    """

    low: float
    high: float
    higher_is_better: bool = True  # False for DMOS-like scores

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.high > self.low):
            raise ValueError(f"a scale needs high > low, got {self.low}..{self.high}")

    def quality(self, raw: float) -> float:
        """Raw score -> quality, 1 is best; in [0, 1] where the raw score is on the scale."""
        share = (raw - self.low) / (self.high - self.low)
        return share if self.higher_is_better else 1.0 - share

    def raw(self, quality: float) -> float:
        """Quality in [0, 1], 1 is best -> raw score on this scale."""
        share = quality if self.higher_is_better else 1.0 - quality
        return self.low + share * (self.high - self.low)

    def __str__(self) -> str:
        return f"{self.low:g}-{self.high:g}, {'higher' if self.higher_is_better else 'lower'} is better"


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the network's input; the same in training, evaluation and scoring.

    An image is shrunk first, then enlarged; see `noref.images.target_size` for long and thin images.

    Args:
        max_pixels: an image with more pixels is shrunk to about this many, aspect kept; None: never.
        min_side: an image whose short side is smaller is enlarged to this many pixels.
        crop: None: the network's input is the whole image. A number: square crops of that side on a grid that
            reaches every border, and the scores are averaged.
        resample: Pillow's filter for shrinking and enlarging: "bicubic" or "lanczos".

    Raises:
        ValueError: a number that is not positive and whole, or an unknown filter.
    """

    max_pixels: int | None = 250_000
    min_side: int = 224
    crop: int | None = None
    resample: str = "bicubic"

    def __post_init__(self) -> None:
        for key in ("max_pixels", "min_side", "crop"):
            value = getattr(self, key)
            if not (isinstance(value, int) and value > 0) and (value is not None or key == "min_side"):
                raise ValueError(f"{key} must be a whole number above 0, got {value!r}")
        if self.resample not in FILTERS:
            raise ValueError(f"resample must be {' or '.join(FILTERS)}, got {self.resample!r}")


@dataclass(frozen=True)
class Card:
    """A model's card.

    Args:
        name: the model's name in reports.
        method: recipe and network in a few words.
        scale: range and direction of the training set's scores; the network itself gives quality in about [0, 1].
        preprocessing: see there.
        sha256: of the model file, hex; set by `write`.
        training: initial weights and training data, with licences and citations.
        results: measured metrics, each a mapping with data, protocol, metric and value.
        limits: known failures, one sentence each.
        outputs: what the file's further outputs mean: the names behind `faults`, the numbers behind an interval.
        input_rule: from a picture to the network's input, for other programs; only in a folder of `noref export`.
    """

    name: str
    method: str
    scale: Scale
    preprocessing: Preprocessing
    sha256: str = ""
    training: dict[str, Any] = field(default_factory=dict)
    results: list[dict[str, Any]] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    input_rule: dict[str, Any] = field(default_factory=dict)

    def write(self, model: Path) -> Card:
        """Write this card beside `model` (atomically) with the checksum of its bytes; return it as written."""
        card = dataclasses.replace(self, sha256=digest(model))
        target = card_path(model)
        write_text(target, json.dumps({"format": FORMAT, **dataclasses.asdict(card)}, indent=2) + "\n")
        return card


def card_path(model: Path) -> Path:
    """The card's path beside a model file: `x.onnx` -> `x.card.json`."""
    return model.with_name(model.stem + ".card.json")


def is_card(head: bytes) -> bool:
    """Whether a file that begins with `head` was written by `Card.write`."""
    return head.startswith(b'{\n  "format": ') and b'\n  "name": ' in head


def digest(model: Path) -> str:
    """SHA-256 of a file, hex; errors as `read_model`."""
    return hashlib.sha256(read_model(model)).hexdigest()


def read_model(model: Path) -> bytes:
    """The bytes of a model file.

    Raises:
        ModelError: the file is missing or unreadable.
    """
    try:
        return model.read_bytes()
    except OSError as error:
        raise ModelError(f"{model}: {error.strerror or error}") from error


def read_card(model: Path, content: bytes | None = None) -> Card:
    """The card beside a model file, checked against the file's bytes, `content` if the caller has read them.

    Raises:
        ModelError: no card, a file that is not a card, an unknown format, or the checksum of another file.
    """
    path = card_path(model)
    found = hashlib.sha256(read_model(model) if content is None else content).hexdigest()
    try:
        card = parse_card(path, path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: the model's card cannot be read: {error.strerror or error}") from error
    if card.sha256 != found:
        raise ModelError(
            f"{model}: sha256 {found[:12]}... is not the card's {card.sha256[:12]}...: file or card was changed"
        )
    return card


def parse_card(path: Path, text: bytes) -> Card:
    """The card in the bytes of a file; its checksum is not compared with any model. Errors as `read_card`."""
    try:
        values = json.loads(text)
        if values.pop("format") != FORMAT:
            raise ModelError(f"{path}: a card of another format than {FORMAT}; upgrade noref")
        values["scale"] = Scale(**values["scale"])
        values["preprocessing"] = Preprocessing(**values["preprocessing"])
        return Card(**values)
    except ModelError:
        raise
    except KeyError as error:
        raise ModelError(f"{path}: not a model card: {error} is missing") from error
    except (TypeError, AttributeError, ValueError) as error:
        raise ModelError(f"{path}: not a model card: {error}") from error
