"""A scene drawn by program, degraded step by step, and scored: scores fall as the picture gets worse."""

from __future__ import annotations

import io
import math
import sys
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from PIL.PngImagePlugin import PngInfo

from noref.errors import OptionError
from noref.images import Pixels
from noref.scoring.scorer import Scorer
from noref.scoring.terminal import bar, has_blocks
from noref.writing import SOFTWARE, check_output, is_picture

WIDTH, HEIGHT = 512, 384
BAR_WIDTH = 40
SERIES: dict[str, tuple[str, tuple[int | float, ...]]] = {  # distortion -> unit and steps; 0 changes nothing
    "blur": ("radius in pixels", (0, 1.5, 3, 6)),
    "noise": ("sigma in grey levels", (0, 12, 25, 50)),
    "jpeg": ("quality setting", (0, 30, 12, 5)),
}
Plane = NDArray[np.float64]


def scene(seed: int = 0) -> Pixels:
    """Draw mountains above a wood and a meadow: (384, 512, 3) uint8 RGB; another seed is another landscape."""
    rng = np.random.default_rng(seed)
    canvas = _sky(rng)
    for base, height, roughness, color in (
        (0.55, 0.22, 2.1, (0.52, 0.58, 0.68)),
        (0.62, 0.17, 1.9, (0.36, 0.42, 0.46)),
        (0.70, 0.08, 1.2, (0.13, 0.24, 0.13)),
        (0.78, 0.03, 1.6, (0.38, 0.50, 0.18)),
    ):
        _range(canvas, rng, base, height, roughness, color)
    return np.array(np.rint(255 * canvas.clip(0, 1)), dtype=np.uint8)


def degrade(image: Pixels, kind: str, step: float) -> Pixels:
    """One step of a severity series of `SERIES`: (H, W, 3) uint8 RGB in and out."""
    if not step:
        return image
    if kind == "noise":
        noisy: Plane = image + np.random.default_rng(0).normal(0, step, image.shape)
        return np.array(noisy.round().clip(0, 255), dtype=np.uint8)
    picture = Image.fromarray(image)
    if kind == "blur":
        return np.array(picture.filter(ImageFilter.GaussianBlur(step)))
    packed = io.BytesIO()
    picture.save(packed, "jpeg", quality=int(step))
    return np.array(Image.open(packed))


def run(*, model: str = "default", out: str | None = None, stream: TextIO | None = None) -> bool:
    """Score each severity series and print it step by step; return whether every step lowers the score.

    Args:
        model: as in `Scorer`.
        out: a folder for the pictures as PNG; None: they are not kept.
        stream: where the text goes; None: stdout.

    Raises:
        OptionError: `out` is no folder that can be written to.
    """
    stream = stream or sys.stdout
    scorer, original, blocks, falls = Scorer(model), scene(), has_blocks(stream), []
    print("A scene drawn by program, degraded step by step. Scores 0-100, higher is better.", file=stream)
    for kind, (unit, steps) in SERIES.items():
        images = [degrade(original, kind, step) for step in steps]
        scores = [score.value for score in scorer.score_many(images)]
        if out is not None:
            _save(Path(out), kind, steps, images)
        print(f"\n{kind}, {unit}", file=stream)
        for step, score, before in zip(steps, scores, [math.inf, *scores], strict=False):
            falls.append(score < before)
            remark = "" if falls[-1] else "  does not fall"
            line = f"  {step or 'none':>4}  {score:5.1f}  {bar(score, BAR_WIDTH, blocks=blocks)}{remark}"
            print(line.rstrip(), file=stream)
    print(f"\n{falls.count(True) - len(SERIES)} of {len(falls) - len(SERIES)} steps lower the score.", file=stream)
    return all(falls)


def _save(folder: Path, kind: str, steps: tuple[int | float, ...], images: list[Pixels]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        words = PngInfo()
        words.add_text("Software", SOFTWARE)
        for step, image in zip(steps, images, strict=True):
            path = folder / f"{kind}_{step}.png"
            check_output(path, ours=is_picture, overwrite=True)  # the same scene again
            Image.fromarray(image).save(path, pnginfo=words)
    except OSError as error:
        raise OptionError(f"{folder}: cannot be written: {error.strerror or error}") from error


def _sky(rng: np.random.Generator) -> Plane:
    """(H, W, 3) in [0, 1]: blue above, pale below, clouds between."""
    down = np.linspace(0, 1, HEIGHT)[:, None, None]
    sky = (1 - down) * (0.25, 0.47, 0.80) + down * (0.93, 0.90, 0.84)
    clouds = _texture(rng, 1.7, stretch=3).clip(0, 2)[..., None] / 2.2
    return sky + clouds * (1 - down) * (1 - sky)


def _range(
    canvas: Plane, rng: np.random.Generator, base: float, height: float, roughness: float, color: tuple[float, ...]
) -> None:
    """Paint everything below a rough line in a colour that is lit by a texture, in place."""
    line = HEIGHT * (base - height * _texture(rng, roughness)[0] / 2)
    row = np.arange(HEIGHT)[:, None]
    cover = (row - line[None, :] + 0.5).clip(0, 1)[..., None]  # soft by one pixel
    light = 1 + 0.35 * _texture(rng, 1.1)[..., None]
    canvas[:] = (1 - cover) * canvas + cover * np.array(color) * light


def _texture(rng: np.random.Generator, roughness: float, stretch: int = 1) -> Plane:
    """(H, W) noise of mean 0 and deviation 1 whose amplitude falls as 1 / frequency ** roughness, as in nature."""
    rows = np.fft.fftfreq(HEIGHT)[:, None]
    columns = np.fft.rfftfreq(WIDTH)[None, :] * stretch
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = np.inf
    waves = rng.normal(size=frequency.shape) + 1j * rng.normal(size=frequency.shape)
    plane = np.fft.irfft2(waves / frequency**roughness, s=(HEIGHT, WIDTH))
    return np.asarray((plane - plane.mean()) / plane.std(), np.float64)
