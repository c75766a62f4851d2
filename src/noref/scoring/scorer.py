"""Load a model once, score paths, bytes and arrays: `Scorer`, `Score` and the one-line `score`."""

from __future__ import annotations

import functools
import math
import os
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, overload

from PIL import Image

from noref.card import Card, Scale
from noref.decoding.cautions import DAMAGE
from noref.errors import ImageError, ModelError, OptionError
from noref.images import MAX_MEGAPIXELS, SCORED_SIDE, Source, name, read
from noref.scoring.find_images import check_file
from noref.scoring.intervals import COVERAGE, half_width, interval
from noref.scoring.network import FAULTS, SPREAD, Network
from noref.scoring.reasons import Reason, reasons_of

PERCENT = Scale(0.0, 100.0)
AHEAD = 2  # finished or waiting images for each worker


@dataclass(frozen=True, eq=False)
class Score(float):
    """How good an image looks: a number in [0, 100], higher is better, with where it comes from.

    It sorts, compares, rounds, formats and goes to JSON as the number `value`; `dataclasses.asdict` gives all fields.
    `quality` is the network's output before it is clipped, about [0, 1], higher is better: for ranking.

    Example:
        >>> score = Score(62.5, 0.625, "default")
        >>> score > 50, f"{score:.1f}", str(score.scale)
        (True, '62.5', '0-100, higher is better')
    """

    value: float  # in [0, 100], higher is better
    quality: float  # the network's output, not clipped, about [0, 1], higher is better; for ranking
    model: str  # the model's name
    scale: Scale = PERCENT  # range and direction of `value`, the same for every model
    cautions: tuple[str, ...] = ()  # what is doubtful about the pixels, or which picture of the file was scored
    judged: tuple[int, int] | None = None  # width and height of the pixels that the model saw
    reasons: list[Reason] = field(default_factory=list)  # faults, strongest first; empty for models without them
    interval: tuple[float, float] | None = None  # low and high, in [0, 100]; None for models without it

    def __new__(cls, value: float, *_: object, **__: object) -> Self:
        """The number; the other fields are set as in any data class."""
        return super().__new__(cls, value)

    def __str__(self) -> str:
        return f"{self.value:.1f}"


class Scorer:
    """A model that scores images. The same image gets the same score alone, among others and in any order.

    It can be pickled: the copy loads the model again, from the same path, and refuses another model there.

    Args:
        model: `default`, an ONNX file with its card beside it (`noref export` writes both), or a `Network`.
        threads: to decode and to run the network; None: one for each core that this process may use.
        device: `cpu` is ONNX Runtime; another, such as `cuda`, is torch's (extra `train`): images of equal size that
            wait run as a batch, and scores differ by less than 0.05.
        max_megapixels: an image with more pixels is an `ImageError`.
        least_side: an image with a shorter side, in pixels, is an `ImageError`.
        trim: a margin of one colour is cut off before, which the score's `cautions` say.
        strict: an image of which a part is missing or damaged is an `ImageError`, not a score with a caution.
        coverage: of `Score.interval`: the share of pictures whose interval holds the score that people would give.

    Raises:
        OptionError: there is no such model, a number is outside its range, or a coverage that the model's residuals are
            too few for.
        ModelError: the model's file or card is broken, or the card describes another file.

    Example:
        >>> import numpy as np
        >>> grey = np.full((240, 320, 3), 128, np.uint8)
        >>> [0 <= found.value <= 100 for found in Scorer().score_many([grey, grey[:200]])]
        [True, True]
    """

    def __init__(
        self,
        model: str | Path | Network = "default",
        *,
        threads: int | None = None,
        device: str = "cpu",
        max_megapixels: float = MAX_MEGAPIXELS,
        least_side: int = SCORED_SIDE,
        trim: bool = False,
        strict: bool = False,
        coverage: float = COVERAGE,
    ) -> None:
        if not 0 < max_megapixels < math.inf:
            raise OptionError(f"max_megapixels must be above 0, got {max_megapixels}")
        if least_side < 1:
            raise OptionError(f"least_side must be at least 1, got {least_side}")
        self._network = model if isinstance(model, Network) else Network(model, threads=threads, device=device)
        self._network.ready()
        self._workers = self._network.at_once
        self._strict, self.coverage = strict, coverage
        residuals = self.card.outputs.get("interval", {}).get("residuals")
        self._half = half_width(residuals, coverage) if residuals else None
        self._limits: dict[str, Any] = {"max_megapixels": max_megapixels, "least_side": least_side, "trim": trim}

    def __reduce__(self) -> tuple[object, ...]:
        options = {**self._limits, "strict": self._strict, "coverage": self.coverage, "device": self._network.device}
        return _load_again, (self._network.given, self._network.given_threads, options, self.card.sha256)

    @property
    def card(self) -> Card:
        """The model's card: what it was trained on, how well it does, where it fails."""
        return self._network.card

    @property
    def has_reasons(self) -> bool:
        """Whether the model puts out faults: `Score.reasons`."""
        return FAULTS in self._network.further

    @property
    def has_interval(self) -> bool:
        """Whether the model's card has residuals: `Score.interval`."""
        return self._half is not None

    def score(self, source: Source) -> Score:
        """Score one image: a path, the bytes of an image file, or an (H, W, 3) uint8 RGB array.

        Raises:
            ImageError: there is no score for it; names the source and the reason.
        """
        if isinstance(source, str | os.PathLike) and (refused := check_file(source)):
            raise ImageError(f"{name(source)}: {refused}")
        cautions: list[str] = []
        pixels = read(source, preprocessing=self.card.preprocessing, cautions=cautions, **self._limits)
        try:
            if self._strict and (damage := [one for one in cautions if one in DAMAGE]):
                raise ImageError("; ".join(damage))
            quality, further = self._network.quality_and(pixels, FAULTS, SPREAD)
        except ImageError as error:
            raise ImageError(f"{name(source)}: {error}") from error
        value, judged = 100.0 * min(1.0, max(0.0, quality)), (pixels.shape[1], pixels.shape[0])
        reasons = reasons_of(further[FAULTS].tolist(), self.card.outputs[FAULTS]) if FAULTS in further else []
        sure = None if self._half is None else interval(value, self._half, float(further.get(SPREAD, 1.0)))
        return Score(value, quality, self.card.name, PERCENT, tuple(cautions), judged, reasons, sure)

    @overload
    def score_many(self, sources: Iterable[Source], *, errors: Literal["raise"] = "raise") -> list[Score]: ...
    @overload
    def score_many(self, sources: Iterable[Source], *, errors: Literal["row"]) -> list[Score | ImageError]: ...
    def score_many(self, sources: Iterable[Source], *, errors: str = "raise") -> Sequence[Score | ImageError]:
        """Score images that may differ in size; in the order given.

        Args:
            sources: as for `score`.
            errors: `raise` the error of the first image without a score; `row`: the error stands in the list in its
                place, and the others go on. `stream` does the same without waiting for all.

        Raises:
            ImageError: an image has no score, with `raise`.
            OptionError: `sources` is a single source, or `errors` is another word.
        """
        if errors not in ("raise", "row"):
            raise OptionError(f"errors must be raise or row, got {errors!r}")
        scores: list[Score | ImageError] = []
        for outcome in self.stream(sources):
            if isinstance(outcome, ImageError) and errors == "raise":
                raise outcome
            scores.append(outcome)
        return scores

    def stream(self, sources: Iterable[Source]) -> Generator[Score | ImageError]:
        """Score images in the order given and yield a `Score` or an `ImageError` for each as soon as it is known.

        Threads work ahead by a few images only, so `sources` may be endless.

        Raises:
            OptionError: as `score_many`.
        """
        if _is_one(sources):
            raise OptionError(f"{name(sources)}: is one source, not several; put it into a list")
        if getattr(sources, "ndim", 4) == 3:
            raise OptionError(f"{name(sources)}: one picture, or several grey ones? give [array], or list(array)")
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="noref")
        wait = True
        waiting: deque[Future[Score | ImageError]] = deque()
        try:
            for source in sources:
                waiting.append(pool.submit(self._attempt, source))
                while waiting and (len(waiting) > AHEAD * self._workers or waiting[0].done()):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except KeyboardInterrupt:
            wait = False  # for the images that are being scored
            raise
        finally:
            pool.shutdown(wait=wait, cancel_futures=True)

    def _attempt(self, source: Source) -> Score | ImageError:
        try:
            return self.score(source)
        except ImageError as error:
            return error


def _is_one(sources: object) -> bool:
    """Whether it is certainly a source; an array or tensor of 3 dimensions may be several grey pictures."""
    one = isinstance(sources, str | bytes | bytearray | memoryview | os.PathLike | Image.Image)
    return one or hasattr(sources, "read") or getattr(sources, "ndim", 4) < 3


def score(source: Source, *, model: str | Path = "default") -> Score:
    """Score one image with a model that stays loaded for the next call; arguments and errors as in `Scorer`.

    Example:
        >>> import numpy as np
        >>> 0 <= score(np.full((240, 320, 3), 128, np.uint8)).value <= 100
        True
    """
    return _loaded(model).score(source)


@functools.lru_cache(maxsize=2)
def _loaded(model: str | Path) -> Scorer:
    return Scorer(model)


def _load_again(model: str | Path, threads: int | None, options: dict[str, Any], sha256: str) -> Scorer:
    scorer = Scorer(model, threads=threads, **options)
    if scorer.card.sha256 != sha256:
        raise ModelError(f"{model}: the pickled scorer had the other model {sha256[:12]}...")
    return scorer
