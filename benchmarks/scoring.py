"""What scoring costs: python benchmarks/scoring.py [install] [cold] [rate] [memory] [--model FILE] [--out FILE]

install  a fresh virtual environment with the base install: torch must be absent, megabytes on disk
cold     `noref score one.jpg` over a process that only imports numpy, Pillow and onnxruntime
rate     `noref score` on 200 JPEGs of 512 x 384, model loaded, over bare `session.run` on the same ready tensors
memory   peak of `noref score` on a JPEG of 48 megapixels, resident

The two sides of a ratio take turns, so that a busy machine slows both; medians are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image

from noref.checkout import commit

ROOT = Path(__file__).parent.parent
IMPORTS = "import numpy, PIL.Image, onnxruntime"
LAUNCH = """
import os, sys, time
quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]
start = time.perf_counter()
_, status, usage = os.wait4(os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet), 0)
print(time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status) and f"exit status {os.waitstatus_to_exitcode(status)}")
"""
T = TypeVar("T")


@dataclass
class Figure:
    """One line of the report: lower is better in all of them."""

    name: str
    value: float
    unit: str
    bar: float
    aim: float
    detail: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        verdict = "aim met" if self.value <= self.aim else "bar met" if self.value <= self.bar else "bar missed"
        detail = ", ".join(f"{key} {value:.3g}" for key, value in self.detail.items())
        return f"{self.name}: {self.value:.2f} {self.unit} ({detail}; bar {self.bar:g}, aim {self.aim:g}: {verdict})"


def install(_model: str, folder: Path) -> Figure:
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    python = venv / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", ROOT], check=True)
    present = subprocess.run([python, "-c", "import torch"], capture_output=True).returncode == 0
    if present:
        raise SystemExit("install: the base install brings torch")
    site = next((venv / "lib").glob("python*/site-packages"))
    sizes = {path.name: megabytes(path) for path in site.iterdir()}
    without_pip = sum(size for name, size in sizes.items() if not name.startswith(("pip", "setuptools")))
    largest = dict(sorted(sizes.items(), key=lambda item: -item[1])[:4])
    return Figure("install", megabytes(venv), "MB", 250, 160, {"without pip": without_pip, **largest})


def megabytes(path: Path) -> float:
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.lstat().st_size for file in files if not file.is_dir()) / 1e6


def cold(model: str, folder: Path) -> Figure:
    photo = folder / "one.jpg"
    picture(0).save(photo, quality=90)
    command = [str(Path(sys.executable).parent / "noref"), "score", str(photo), "--model", model]
    compiled = {"PYTHONPYCACHEPREFIX": str(folder / "compiled"), "PYTHONDONTWRITEBYTECODE": ""}  # as pip leaves it
    bare, ours = turns(
        lambda: process([sys.executable, "-c", IMPORTS], **compiled), lambda: process(command, **compiled), 21
    )
    found = ratio("cold", [run.wall for run in bare], [run.wall for run in ours], bar=2.0, aim=1.3)
    found.detail["ratio of processor time"] = median(run.cpu for run in ours) / median(run.cpu for run in bare)
    return found


def rate(model: str, folder: Path) -> Figure:
    import onnxruntime

    from noref.images import read
    from noref.scoring.network import Network
    from noref.scoring.score_files import score_files

    paths = [str(folder / f"{i:03}.jpg") for i in range(200)]
    for i, path in enumerate(paths):
        picture(i).save(path, quality=90)
    network = Network(model)
    session = onnxruntime.InferenceSession(network.path, providers=["CPUExecutionProvider"])
    key = session.get_inputs()[0].name
    ready = [read(path, preprocessing=network.card.preprocessing)[None] for path in paths]

    def bare() -> float:
        return seconds(lambda: [session.run(None, {key: pixels}) for pixels in ready])

    def ours() -> float:
        return seconds(lambda: score_files(paths, model=network, output=str(folder / "rows.csv"), overwrite=True))

    found = ratio("rate", *turns(bare, ours, 5), bar=1.5, aim=1.1)
    found.detail["images/s"] = len(paths) / found.detail["ours s"]
    return found


def memory(model: str, folder: Path) -> Figure:
    photo, progressive = folder / "48mp.jpg", folder / "progressive.jpg"
    large = picture(0).resize((8000, 6000), Image.Resampling.BICUBIC)
    large.save(photo, quality=90)
    large.save(progressive, quality=90, progressive=True)
    noref = [str(Path(sys.executable).parent / "noref"), "score", "--model", model]
    detail = {
        "progressive": process([*noref, str(progressive)]).peak,
        "imports alone": process([sys.executable, "-c", IMPORTS]).peak,
    }
    return Figure("memory", process([*noref, str(photo)]).peak, "MB", 1000, 400, detail)


def picture(seed: int) -> Image.Image:
    """A 512 x 384 picture with the spectrum of a photograph."""
    frequency = np.hypot(np.fft.fftfreq(384)[:, None], np.fft.rfftfreq(512)[None, :])
    frequency[0, 0] = 1
    noise = np.fft.rfft2(np.random.default_rng(seed).standard_normal((3, 384, 512)))
    planes = np.moveaxis(np.fft.irfft2(noise / frequency, s=(384, 512)), 0, -1)
    return Image.fromarray(np.clip(128 + 50 * planes / planes.std(), 0, 255).astype(np.uint8))


class Run(NamedTuple):
    """Seconds on the wall and on the processor, and peak resident megabytes."""

    wall: float
    cpu: float
    peak: float


def process(command: list[str], **environment: str) -> Run:
    """Run a process that must succeed, from a small one: a child inherits the peak memory of its parent."""
    launch = [sys.executable, "-IS", "-c", LAUNCH, *command]
    done = subprocess.run(launch, capture_output=True, text=True, env={**os.environ, **environment})
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr}")
    wall, cpu, peak = map(float, done.stdout.split())
    return Run(wall, cpu, peak / (1e6 if sys.platform == "darwin" else 1e3))


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def turns(one: Callable[[], T], other: Callable[[], T], rounds: int) -> tuple[list[T], list[T]]:
    """Both sides in turn, after a warm-up of each."""
    one(), other()
    pairs = [(one(), other()) for _ in range(rounds)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def ratio(name: str, bare: list[float], ours: list[float], *, bar: float, aim: float) -> Figure:
    a, b = median(bare), median(ours)
    detail = {"ours s": b, "bare s": a, "ratio of the fastest": min(ours) / min(bare)}
    return Figure(name, b / a, "x", bar, aim, detail)


def machine() -> dict[str, object]:
    names = [line.partition(":")[2].strip() for line in cpuinfo() if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        **{package: version(package) for package in ("numpy", "Pillow", "onnxruntime")},
        "commit": commit(),
    }


def cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


FIGURES = {"install": install, "cold": cold, "rate": rate, "memory": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", nargs="*", choices=[*FIGURES, []], metavar="|".join(FIGURES))
    parser.add_argument("--model", default="default")
    parser.add_argument("--out", type=Path, help="write the figures there as JSON, with hardware and commit")
    given = parser.parse_args()
    found = []
    for name in given.figures or FIGURES:
        with tempfile.TemporaryDirectory() as folder:
            found.append(FIGURES[name](given.model, Path(folder)))
        print(found[-1], flush=True)
    if given.out:
        report = {"machine": machine(), "figures": [asdict(figure) for figure in found]}
        given.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
