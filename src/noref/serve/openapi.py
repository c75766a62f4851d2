"""What `/openapi.json` says beyond the paths: bodies, answers and their fields."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Size = Annotated[list[int], Field(min_length=2, max_length=2)]
MapFormat = Literal["png", "layer", "numbers"]
TEXT = """How good a picture looks, without a reference picture. A score is in [0, 100], higher is better.

A picture is sent as the raw body of a request, or as a file of a form (multipart/form-data). No address is fetched and
no path is read. Pictures are gone with their request."""


class Scale(BaseModel):
    """Range and direction of a score."""

    low: float
    high: float
    higher_is_better: bool
    text: str


class Result(BaseModel):
    """One picture. Further fields are what the model knows beyond the score."""

    model_config = ConfigDict(extra="allow")

    name: str | None = Field(description="the file's name in the form")
    score: float | None = Field(ge=0, le=100, description="0-100, higher is better; null: see error")
    error: str | None = Field(description="why there is no score")
    model: str
    scale: Scale | None = None
    judged: Size | None = Field(None, description="width and height that the model saw")
    seconds: float | None = Field(None, description="to decode and to score")


class Results(BaseModel):
    """One entry a picture, in the order of the request."""

    results: list[Result]


class Error(BaseModel):
    """Why a request has no results."""

    error: str


class MapNumbers(BaseModel):
    """A map as rows of points of score, from the top of the picture to its bottom."""

    model: str
    judged: Size
    values: list[list[float]]


class Named(BaseModel):
    """A model: its name in requests, and its card."""

    name: str
    card: dict[str, Any]


class Models(BaseModel):
    """The first is used where a request names none."""

    models: list[Named]


class State(BaseModel):
    """`alive` or `ready`."""

    status: str


Answers = dict[int | str, dict[str, Any]]
REASONS = {
    400: "A form that is broken or has no picture, or a parameter with a wrong value.",
    401: "The key is missing or wrong.",
    404: "No such model.",
    408: "The body came too slowly.",
    413: "The body or the number of pictures is over the limit.",
    500: "An error of noref.",
}
REFUSED: Answers = {status: {"model": Error, "description": why} for status, why in REASONS.items()}
RETRY_AFTER = {"Retry-After": {"description": "Seconds.", "schema": {"type": "string"}}}
LOCKED: Answers = {401: REFUSED[401]}
SCORED: Answers = {
    200: {"model": Results, "description": "At least one picture has a score."},
    **REFUSED,
    422: {"model": Results, "description": "No picture has a score: each entry has the reason."},
    503: {"model": Error | Results, "description": "Busy, or too slow: try again.", "headers": RETRY_AFTER},
}
MAPPED: Answers = {
    200: {"model": MapNumbers, "description": "The map.", "content": {"image/png": {}}},
    **REFUSED,
    422: {"model": Error, "description": "The picture has no map."},
    503: {"model": Error, "description": "Busy, or too slow: try again.", "headers": RETRY_AFTER},
}
MODELS: Answers = {200: {"model": Models}, **LOCKED}
STATE: Answers = {200: {"model": State}}
MEASURED: Answers = {**LOCKED}


def _body(field: dict[str, Any]) -> dict[str, Any]:
    raw = {"schema": {"type": "string", "format": "binary"}}
    form = {"type": "object", "properties": {"files": field}, "required": ["files"]}
    content = {"image/*": raw, "application/octet-stream": raw, "multipart/form-data": {"schema": form}}
    return {"requestBody": {"required": True, "content": content}}


FILE = {"type": "string", "format": "binary"}
ONE = _body(FILE)
MANY = _body({"type": "array", "items": FILE, "minItems": 1})
