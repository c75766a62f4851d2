"""A picture's bytes -> what the API says of it: its score with everything that the model knows, or its map."""

from __future__ import annotations

import dataclasses
import io
import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from noref.card import Card
from noref.errors import ImageError
from noref.explain.colormap import laid_over, overlay, resized
from noref.explain.load import ExportedModel
from noref.explain.map_types import Map, Options, color_range
from noref.images import read
from noref.scoring.network import Network
from noref.scoring.scorer import Scorer

NAMELESS = "<bytes>: "  # how messages about bytes begin
NUMBERS = 96  # of a map along its longer side, at most: crops are much farther apart


class Judge:
    """A model, loaded once, that says what it knows of a picture; safe in several threads at once."""

    def __init__(self, model: str, *, max_megapixels: float) -> None:
        network = Network(model, threads=1)  # several pictures at once, each on a thread of its own
        self.max_megapixels = max_megapixels
        self.scorer = Scorer(network, max_megapixels=max_megapixels)
        self.mapper = ExportedModel(network, Options())

    @property
    def card(self) -> Card:
        """The model's card."""
        return self.scorer.card

    def score(self, picture: bytes, name: str | None) -> dict[str, Any]:
        """An entry of `results`: `score` in [0, 100], higher is better, or None with the reason in `error`.

        All other fields of `noref.Score` follow under their own names.
        """
        start = time.perf_counter()
        entry: dict[str, Any] = {"name": name, "score": None, "error": None}
        try:
            found = plain(self.scorer.score(picture))
            found.pop("text", None)  # of the score itself: the number again
        except ImageError as error:
            entry |= {"error": reason(error), "model": self.card.name}
        else:
            entry |= {"score": found.pop("value"), **found}
        entry["seconds"] = round(time.perf_counter() - start, 4)
        return entry

    def map(self, picture: bytes) -> tuple[Map, np.typing.NDArray[np.uint8]]:
        """The local quality map, and the pixels that it was made of; ImageError where there is none."""
        pixels = read(picture, preprocessing=self.card.preprocessing, max_megapixels=self.max_megapixels, cautions=[])
        return self.mapper.maps(pixels, ("quality",))[0], pixels

    def map_picture(self, picture: bytes, *, alone: bool) -> tuple[bytes, tuple[float, float]]:
        """The map as a PNG, laid over the photo in grey or alone on transparent ground, and the ends of its colours."""
        found, pixels = self.map(picture)
        ends, size = color_range([found]), (pixels.shape[1], pixels.shape[0])
        cover, file = overlay(found, ends, size), io.BytesIO()
        (cover if alone else laid_over(pixels, cover)).save(file, "PNG")
        return file.getvalue(), ends

    def map_numbers(self, picture: bytes) -> dict[str, Any]:
        """The map as rows of numbers, evenly spread over the photo, in points of score."""
        found, pixels = self.map(picture)
        height, width = found.values.shape
        share = min(1.0, NUMBERS / max(height, width))
        values = resized(found.values, (math.ceil(width * share), math.ceil(height * share)))
        judged = [pixels.shape[1], pixels.shape[0]]
        return {"model": self.card.name, "judged": judged, "values": values.round(2).tolist()}


def reason(error: ImageError) -> str:
    """Why a picture has no score; it has no name here, the API puts it beside."""
    return str(error).removeprefix(NAMELESS)


def plain(value: Any) -> Any:
    """Anything as JSON has it: a data class becomes its fields, with its own words as `text`; NaN becomes None.

    Example:
        >>> from noref.card import Scale
        >>> plain([Scale(0, 100), float("nan")])
        [{'low': 0, 'high': 100, 'higher_is_better': True, 'text': '0-100, higher is better'}, None]
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return fields if type(value).__str__ is object.__str__ else fields | {"text": str(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
