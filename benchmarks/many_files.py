"""A folder of very many pictures: python benchmarks/many_files.py [score] [whole] [resume] [degrade] [--count N]

score    seconds until the first row, of a folder, a list (--from) and a pattern, beside the seconds that one picture
         alone takes; and from Ctrl-C to the end
whole    all pictures: images/s, and resident memory at a tenth, at half and at the end
resume   kill -9 at random moments, the same command again, until the table is whole: it must be a fresh run's
degrade  seconds until the first degraded picture of a set; and from Ctrl-C to the end

The pictures are hard links to copies of one photo. `whole` and `resume` use a model that takes the mean grey level, so
that the work around scoring is measured, unless --model names another.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx.parser
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from scoring import machine, picture  # the neighbour in this folder

from noref.card import Card, Preprocessing, Scale

NOREF = str(Path(sys.executable).parent / "noref")
GREY = """
<ir_version: 8, opset_import: ["" : 17]>
grey (uint8[n, h, w, 3] image) => (float[n] quality)
{
    level = Cast<to = 1>(image)
    mean = ReduceMean<axes = [1, 2, 3], keepdims = 0>(level)
    top = Constant<value_float = 255.0>()
    quality = Div(mean, top)
}
"""
LINKS = 20_000  # to one file; file systems allow 65 000
KILLS = 20


def make_pictures(folder: Path, count: int, photo: Path | None) -> None:
    folder.mkdir()
    first = folder / "first.jpg"
    picture(0).resize((240, 180)).save(first, quality=90) if photo is None else Image.open(photo).save(
        first, quality=90
    )
    content = first.read_bytes()
    first.unlink()
    for number in range(count):
        path = folder / f"photo-{number:06}.jpg"
        if number % LINKS == 0:
            source = path
            path.write_bytes(content)
        else:
            os.link(source, path)
    names = sorted(str(path) for path in folder.iterdir())
    (folder.parent / "list.txt").write_text("\n".join(names) + "\n")


@contextmanager
def running(command: list[str], **streams: int) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, text=True, **streams)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def stopped(process: subprocess.Popen[str]) -> float:
    """Seconds from Ctrl-C to the end."""
    start = time.perf_counter()
    process.send_signal(signal.SIGINT)
    process.wait()
    if process.returncode != 130:
        raise SystemExit(f"Ctrl-C ended with status {process.returncode}")
    return time.perf_counter() - start


def score(given: argparse.Namespace, folder: Path) -> dict[str, float]:
    one, model = str(next((folder / "pictures").iterdir())), given.model or "default"
    start = time.perf_counter()
    subprocess.run([NOREF, "score", one, "--model", model], check=True, capture_output=True)
    found = {"one picture alone s": time.perf_counter() - start}
    sources = {
        "folder": [str(folder / "pictures")],
        "list": ["--from", str(folder / "list.txt")],
        "pattern": [str(folder / "pictures" / "*.jpg")],
    }
    for name, words in sources.items():
        command = [NOREF, "score", *words, "--format", "csv", "--model", model]
        start = time.perf_counter()
        with running(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            lines = [process.stdout.readline() for _ in range(2)]  # type: ignore[union-attr]
            found[f"{name}: first row s"] = time.perf_counter() - start
            if not lines[1].startswith(str(folder)):
                raise SystemExit(f"no row: {lines}")
            time.sleep(1)
            found[f"{name}: Ctrl-C s"] = stopped(process)
    return found


def whole(given: argparse.Namespace, folder: Path) -> dict[str, float]:
    table = folder / "whole.csv"
    command = [NOREF, "score", str(folder / "pictures"), "-o", str(table), "--model", given.model or grey(folder)]
    start, seen = time.perf_counter(), list[tuple[int, float]]()
    with running(command, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text()
            if resident := re.search(r"VmRSS:\s+(\d+) kB", status):
                seen.append((table.stat().st_size if table.exists() else 0, int(resident[1]) / 1e3))
            time.sleep(0.2)
        if process.returncode:
            raise SystemExit(f"status {process.returncode}")
    took, size = time.perf_counter() - start, table.stat().st_size
    shares = {share: next((mb for done, mb in seen if done >= share * size), seen[-1][1]) for share in (0.1, 0.5, 0.98)}
    memory = {f"MB at {share:.0%}": mb for share, mb in shares.items()}
    return {"s": took, "images/s": given.count / took, **memory, "peak MB": max(mb for _, mb in seen)}


def resume(given: argparse.Namespace, folder: Path) -> dict[str, float]:
    model = given.model or grey(folder)
    fresh, table = folder / "fresh.csv", folder / "killed.csv"
    command = [NOREF, "score", str(folder / "pictures"), "--quiet", "--model", model, "-o"]
    start = time.perf_counter()
    subprocess.run([*command, str(fresh)], check=True)
    took, rng, kills = time.perf_counter() - start, random.Random(0), 0
    while kills < KILLS:
        with running([*command, str(table), "--resume"]) as process:
            try:
                process.wait(rng.uniform(0.2, 1) * (3 + 2 * took / KILLS))
                break
            except subprocess.TimeoutExpired:
                kills += 1
    subprocess.run([*command, str(table), "--resume"], check=True)
    if table.read_bytes() != fresh.read_bytes():
        raise SystemExit(f"{table} is not {fresh}")
    start = time.perf_counter()
    subprocess.run([*command, str(table), "--resume"], check=True)
    return {"kills": kills, "fresh run s": took, "resume of a whole table s": time.perf_counter() - start}


def degrade(given: argparse.Namespace, folder: Path) -> dict[str, float]:
    out = folder / "set"
    command = [NOREF, "degrade", str(folder / "pictures"), "--out", str(out), "--compositions", "1"]
    start = time.perf_counter()
    with running(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not (out / "images").is_dir() or not any(out.glob("images/*.png")):
            time.sleep(0.02)
            if process.poll() is not None:
                raise SystemExit(f"status {process.returncode}")
        first = time.perf_counter() - start
        time.sleep(1)
        return {"first picture s": first, "Ctrl-C s": stopped(process)}


def grey(folder: Path) -> str:
    path = folder / "grey.onnx"
    if not path.exists():
        onnx.save(onnx.parser.parse_model(GREY), path)
        Card("grey", "mean grey level", Scale(0, 1), Preprocessing(min_side=1)).write(path)
    return str(path)


FIGURES: dict[str, Callable[[argparse.Namespace, Path], dict[str, float]]]
FIGURES = {"score": score, "whole": whole, "resume": resume, "degrade": degrade}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", nargs="*", choices=[*FIGURES, []], metavar="|".join(FIGURES))
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--photo", type=Path, help="link to this photo instead of a drawn picture of 240 x 180")
    parser.add_argument("--model")
    parser.add_argument("--out", type=Path, help="write the figures there as JSON, with hardware and commit")
    given = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        make_pictures(Path(folder) / "pictures", given.count, given.photo)
        for name in given.figures or FIGURES:
            found[name] = FIGURES[name](given, Path(folder))
            print(f"{name}: " + ", ".join(f"{key} {value:.3g}" for key, value in found[name].items()), flush=True)
    if given.out:
        report = {"machine": machine(), "pictures": given.count, "figures": found}
        given.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
