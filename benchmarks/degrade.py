"""Speed of the degradation model on one core: python benchmarks/degrade.py [--photo FILE] [--json FILE]

Each distortion on a 224 x 224 uint8 crop at level 3, median of many runs after a warm-up, beside one pass over the
memory (a float32 crop plus 1) timed in between, so that a busy machine shows. Then random compositions a second.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from noref.checkout import commit
from noref.degrade.pipeline import DISTORTIONS, apply, apply_composition, sample_composition

Crop = NDArray[np.uint8]
SIDE, LEVEL, RUNS = 224, 3, 60
BARS = {"mean_ms": 0.9, "without_jpeg2000": 250.0, "with_jpeg2000": 130.0}
AIMS = {"without_jpeg2000": 500.0, "with_jpeg2000": 160.0}


def find_crop(photo: Path | None) -> tuple[Crop, str]:
    """The middle of a photo; without one, noise with the spectrum of a photograph (1/f)."""
    if photo is not None:
        with Image.open(photo) as opened:
            pixels = np.asarray(opened.convert("RGB"))
        top, left = (pixels.shape[0] - SIDE) // 2, (pixels.shape[1] - SIDE) // 2
        return np.ascontiguousarray(pixels[top : top + SIDE, left : left + SIDE]), photo.name
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None, :])
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(np.random.default_rng(0).standard_normal((3, SIDE, SIDE))) / frequency
    planes = np.moveaxis(np.fft.irfft2(spectrum, s=(SIDE, SIDE)), 0, -1)
    return np.clip(128 + 50 * planes / planes.std(), 0, 255).astype(np.uint8), "1/f noise"


def codec_alone(crop: Crop) -> None:
    """JPEG 2000 there and back with the options of level 3, and nothing else."""
    buffer = io.BytesIO()
    options = {"quality_mode": "rates", "quality_layers": [45], "num_resolutions": 8, "progression": "LRCP"}
    Image.fromarray(crop).save(buffer, format="JPEG2000", **options)
    np.asarray(Image.open(buffer))


def milliseconds(call: Callable[[], Any], runs: int) -> list[float]:
    taken = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        taken.append(1e3 * (time.perf_counter() - start))
    return taken


def time_distortions(crop: Crop) -> dict[str, float]:
    """Median milliseconds per name; runs interleaved, so that a disturbance hits all alike."""
    rng = np.random.default_rng(0)
    memory = crop.astype(np.float32)
    calls: dict[str, Callable[[], Any]] = {
        "(memory pass)": lambda: memory + 1,
        "(codec alone)": lambda: codec_alone(crop),
    }
    calls |= {name: lambda name=name: apply(crop, name, LEVEL, rng) for name in DISTORTIONS}  # type: ignore[misc]
    slow = {"jpeg2000", "(codec alone)"}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(1 + RUNS // 5):
        for name, call in calls.items():
            times = milliseconds(call, 2 if name in slow else 5)
            taken[name] += times if turn else []  # the first turn warms up
    return {name: float(np.median(times)) for name, times in taken.items()}


def compositions_a_second(crop: Crop, count: int, *, jpeg2000: bool) -> tuple[float, float]:
    """Random compositions a second, pristine ones included, by the clock and by the processor's own time."""
    rng = np.random.default_rng(0)
    drawn = [sample_composition(rng) for _ in range(2 * count)]
    if not jpeg2000:
        drawn = [c for c in drawn if all(name != "jpeg2000" for name, _ in c)]
    for composition in drawn[-20:]:
        apply_composition(crop, composition, rng)
    wall, cpu = time.perf_counter(), time.process_time()
    for composition in drawn[:count]:
        apply_composition(crop, composition, rng)
    return count / (time.perf_counter() - wall), count / (time.process_time() - cpu)


def report(crop: Crop, source: str) -> dict[str, Any]:
    times = time_distortions(crop)
    mean = float(np.mean([times[name] for name in DISTORTIONS if name != "jpeg2000"]))
    without, without_cpu = compositions_a_second(crop, 600, jpeg2000=False)
    with_it, with_cpu = compositions_a_second(crop, 300, jpeg2000=True)
    return {
        "commit": commit(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "versions": {"numpy": np.__version__, "opencv": cv2.__version__, "pillow": version("pillow")},
        "crop": source,
        "level": LEVEL,
        "milliseconds": times,
        "mean_without_jpeg2000_ms": mean,
        "jpeg2000_over_codec": times["jpeg2000"] / times["(codec alone)"],
        "compositions_a_second": {"without_jpeg2000": without, "with_jpeg2000": with_it},
        "compositions_a_cpu_second": {"without_jpeg2000": without_cpu, "with_jpeg2000": with_cpu},
    }


def show(result: dict[str, Any]) -> None:
    times = result["milliseconds"]
    print(f"{result['machine']}; {result['versions']}; crop: {result['crop']}; level {LEVEL}\n")
    print(f"{'':24} {'ms':>8} {'passes':>8}")
    for name, taken in sorted(times.items(), key=lambda item: -item[1]):
        print(f"{name:24} {taken:8.3f} {taken / times['(memory pass)']:8.1f}")
    print(f"\nmean of the 23 without JPEG 2000: {result['mean_without_jpeg2000_ms']:.3f} ms (bar {BARS['mean_ms']})")
    print(f"JPEG 2000 over the codec alone: {result['jpeg2000_over_codec']:.2f} times")
    for key, speed in result["compositions_a_second"].items():
        words, cpu = key.replace("_", " "), result["compositions_a_cpu_second"][key]
        bars = f"bar {BARS[key]:.0f}, aim {AIMS[key]:.0f}"
        print(f"compositions a second {words}: {speed:.0f}, {cpu:.0f} a CPU second ({bars})")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photo", type=Path, help="take the crop from this file")
    parser.add_argument("--json", type=Path, help="write the result here too")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    result = report(*find_crop(options.photo))
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
