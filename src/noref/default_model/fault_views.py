"""Photographs with known faults: random compositions of the degradation model, and what cameras do to photos.

A fault's severity is level / 5. What a camera does is put on that scale too: the severity of the degradation of the
same name that changes the photo by the same mean absolute difference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from noref.degrade.pipeline import DISTORTIONS, LEVELS, apply, apply_composition

Pixels = NDArray[np.uint8]
Unit = NDArray[np.float32]
NAMES = tuple(DISTORTIONS)
NO_FAULT = {  # steps of amount zero: nothing changes, but for a faint curve with the last one
    ("gaussian_blur", 1), ("motion_blur", 1), ("mean_shift", 1), ("color_saturation_lab", 1),
    ("contrast_linear_curve", 1),
}  # fmt: skip
CROP = 288
WHOLE = {"color_block", "non_eccentricity_patch", "color_shift"}  # what they do depends on the picture's size
SHARES = {"pristine": 0.08, "one": 0.5, "two": 0.2, "three": 0.08, "camera": 0.14}
GAMMA = 2.2


def draw_view(photo: Pixels, rng: Generator) -> tuple[Pixels, NDArray[np.float32]]:
    """One view of an (H, W, 3) photo or of a crop of it, and the severity of each fault: (24,), 0 where it is not."""
    kind = str(rng.choice(list(SHARES), p=list(SHARES.values())))
    count = {"one": 1, "two": 2, "three": 3}.get(kind, 0)
    steps = draw_steps(rng, count)
    view = photo[:, ::-1] if rng.random() < 0.5 else photo
    if rng.random() < 0.75 and not any(name in WHOLE for name, _ in steps):
        top, left = (int(rng.integers(max(1, side - CROP + 1))) for side in photo.shape[:2])
        view = view[top : top + CROP, left : left + CROP]
    view = np.ascontiguousarray(view)
    severities = np.zeros(len(NAMES), np.float32)
    if kind == "camera":
        view, found = camera(view, rng)
        for name, severity in found.items():
            severities[NAMES.index(name)] = severity
        return view, severities
    for name, level in steps:
        if (name, level) not in NO_FAULT:
            severities[NAMES.index(name)] = level / LEVELS
    return apply_composition(view, steps, rng), severities


def draw_steps(rng: Generator, count: int) -> list[tuple[str, int]]:
    """`count` distortions of different groups, each type as likely as any other, all levels alike."""
    steps: dict[str, tuple[str, int]] = {}
    while len(steps) < count:
        name = str(rng.choice(NAMES))
        steps.setdefault(DISTORTIONS[name].group, (name, int(rng.integers(1, LEVELS + 1))))
    return list(steps.values())


def camera(photo: Pixels, rng: Generator) -> tuple[Pixels, dict[str, float]]:
    """One or two faults as cameras make them, saved as JPEG, with their severities."""
    names = [str(name) for name in rng.permutation(list(CAMERA))[: int(rng.integers(1, 3))]]
    order = [name for name in CAMERA if name in names]  # light, then optics, then the sensor
    view, found = photo, {}
    for name in order:
        before, view = view, CAMERA[name](view, rng)
        found[name] = same_difference(before, view, name, rng)
    quality = int(rng.integers(80, 98))
    encoded = cv2.imencode(".jpg", view[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR)[:, :, ::-1]), found  # type: ignore[index]


def same_difference(before: Pixels, after: Pixels, name: str, rng: Generator) -> float:
    """The severity at which the degradation of that name changes `before` as much as it differs from `after`."""

    def difference(other: Pixels) -> float:
        return float(np.abs(other.astype(np.int16) - before).mean())

    steps = [0.0, *(difference(apply(before, name, level, rng)) for level in range(1, LEVELS + 1))]
    return float(np.interp(difference(after), np.maximum.accumulate(steps), np.arange(LEVELS + 1) / LEVELS))


def _linear(photo: Pixels) -> Unit:
    return np.power(photo.astype(np.float32) / 255, GAMMA)


def _encoded(light: Unit) -> Pixels:
    return np.asarray(np.rint(255 * np.power(np.clip(light, 0, 1), 1 / GAMMA)), np.uint8)


def underexposed(photo: Pixels, rng: Generator) -> Pixels:
    """A half to four stops less light, with the noise that less light brings."""
    return _grain(_linear(photo) * 2 ** -rng.uniform(0.5, 4), rng.uniform(0, 0.004), rng)


def overexposed(photo: Pixels, rng: Generator) -> Pixels:
    """A half to two and a half stops too much light; what is too bright is white."""
    return _encoded(_linear(photo) * np.float32(2 ** rng.uniform(0.5, 2.5)))


def shaken(photo: Pixels, rng: Generator) -> Pixels:
    """The camera moved along a bent path of 4 to 25 px."""
    length = rng.uniform(4, 25)
    turns = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.12, 64))
    path = np.cumsum(np.stack([np.cos(turns), np.sin(turns)], 1), 0) * length / 64
    path -= path.mean(0)
    side = 2 * int(np.abs(path).max() + 2) + 1
    kernel = np.zeros((side, side), np.float32)
    np.add.at(kernel, tuple(np.rint(path + side // 2).astype(int).T), 1 / 64)
    return _blurred(photo, np.asarray(cv2.GaussianBlur(kernel, (3, 3), 0.6), np.float32))


def unfocused(photo: Pixels, rng: Generator) -> Pixels:
    """Light from a point falls on a disk with a radius of 1.5 to 9 px."""
    radius = rng.uniform(1.5, 9)
    reach = int(radius) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    kernel = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1).astype(np.float32)
    return _blurred(photo, kernel / kernel.sum())


def _blurred(photo: Pixels, kernel: Unit) -> Pixels:
    return _encoded(np.asarray(cv2.filter2D(_linear(photo), -1, kernel, borderType=cv2.BORDER_REFLECT), np.float32))


def grainy(photo: Pixels, rng: Generator) -> Pixels:
    """A sensor's noise: photons and read-out, in light, each colour on its own; grains of one to two pixels."""
    return _grain(_linear(photo), float(np.exp(rng.uniform(np.log(0.001), np.log(0.03)))), rng)


def _grain(light: Unit, amount: float, rng: Generator) -> Pixels:
    noise = rng.standard_normal(light.shape, np.float32)
    width = rng.uniform(0, 0.8)
    if width > 0.3:
        noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), width), np.float32)
        noise /= noise.std()
    return _encoded(light + noise * np.sqrt(amount * light + (0.5 * amount) ** 2, dtype=np.float32))


def hazy(photo: Pixels, rng: Generator) -> Pixels:
    """Haze or a dirty lens: all tones drawn towards one grey."""
    share, grey = rng.uniform(0.35, 0.85), rng.uniform(0.4, 0.7)
    return np.rint(255 * ((1 - share) * (photo / 255) + share * grey)).astype(np.uint8)


CAMERA: Mapping[str, Callable[[Pixels, Generator], Pixels]] = {  # the name that the fault has, and how it is made
    "darken": underexposed, "brighten": overexposed, "contrast_nonlinear": hazy, "lens_blur": unfocused,
    "motion_blur": shaken, "white_noise": grainy,
}  # fmt: skip
