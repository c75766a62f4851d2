"""Damaged files of every format that is read: no crash, no hang, and no score where other decoders refuse.

    python -m tests.pictures.fuzz --count 10000 [--seed 0] [--keep FOLDER]

Each file is made by program, then bits are flipped, its end is cut off, blocks are swapped, overwritten or lost. It is
read as `noref score` reads it, in a fork of this process with a memory limit; the network is left out, for which one
decoded picture is like another. Where a picture is read, OpenCV and libvips read the file too, each in a fork, libvips
with `fail_on="error"`. Counted are crashes, hangs above ten seconds, and pictures that are read although OpenCV and
libvips both refuse them, in formats in which both read the unharmed file. Exit status 1 if there is a crash or a hang,
or such a picture is read without a caution that means damage.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import resource
import select
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from noref.card import read_card, read_model
from noref.decoding.cautions import is_damage
from noref.errors import ImageError
from noref.images import SCORED_SIDE, read
from noref.scoring.network import DEFAULT

from .made_raw import dng, sensor_picture

HANG = 10.0  # seconds
MEMORY = 2 << 30  # bytes that a fork may take in addition
SIZE = (160, 120)
PREPROCESSING = read_card(DEFAULT, read_model(DEFAULT)).preprocessing


def originals() -> dict[str, bytes]:
    """One unharmed file of each form; those whose package is not installed are left out."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: SIZE[1], : SIZE[0]] / 20.0
    waves = np.stack([np.sin(x + k) * np.cos(y - k) for k in range(3)], axis=-1)
    pixels = np.uint8((120 + 80 * waves + rng.normal(0, 6, waves.shape)).clip(0, 255))
    rgb, grey = Image.fromarray(pixels), Image.fromarray(pixels[..., 0])
    alpha = Image.fromarray(np.dstack([pixels, pixels[..., :1]]))
    other = Image.fromarray(pixels[::-1])
    made = {
        "jpeg": _packed(rgb, "jpeg", quality=90),
        "jpeg progressive": _packed(rgb, "jpeg", quality=90, progressive=True),
        "jpeg restarts": _packed(rgb, "jpeg", quality=90, restart_marker_blocks=8),
        "jpeg grey": _packed(grey, "jpeg", quality=90),
        "jpeg cmyk": _packed(rgb.convert("CMYK"), "jpeg", quality=90),
        "mpo": _packed(rgb, "mpo", save_all=True, append_images=[other]),
        "png": _packed(rgb, "png"),
        "png alpha": _packed(alpha, "png"),
        "png palette": _packed(rgb.quantize(64), "png"),
        "png 16": _packed(Image.fromarray(pixels[..., 0].astype(np.uint16) * 257), "png"),
        "gif": _packed(rgb.quantize(128), "gif"),
        "gif moving": _packed(rgb, "gif", save_all=True, append_images=[other]),
        "webp": _packed(rgb, "webp", quality=90),
        "webp lossless": _packed(rgb, "webp", lossless=True),
        "webp alpha": _packed(alpha, "webp", quality=90),
        "tiff": _packed(rgb, "tiff"),
        "tiff lzw": _packed(rgb, "tiff", compression="tiff_lzw"),
        "tiff deflate": _packed(rgb, "tiff", compression="tiff_adobe_deflate"),
        "tiff packbits": _packed(rgb, "tiff", compression="packbits"),
        "tiff jpeg": _packed(rgb, "tiff", compression="jpeg"),
        "tiff fax": _packed(grey.convert("1"), "tiff", compression="group4"),
        "bmp": _packed(rgb, "bmp"),
        "bmp palette": _packed(rgb.quantize(64), "bmp"),
        "ppm": _packed(rgb, "ppm"),
        "pgm": _packed(grey, "ppm"),
        "tga": _packed(rgb, "tga"),
        "tga rle": _packed(rgb, "tga", compression="tga_rle"),
        "jp2": _packed(rgb, "jpeg2000", irreversible=False),
        "j2k": _packed(rgb, "jpeg2000", no_jp2=True, quality_layers=[20]),
        "avif": _packed(rgb, "avif", quality=85),
        "ico": _packed(rgb.resize((128, 128)), "ico", sizes=[(128, 128), (64, 64)]),
        "pcx": _packed(rgb, "pcx"),
        "sgi": _packed(rgb, "sgi"),
        "dds": _packed(rgb, "dds"),
    }
    with contextlib.suppress(ImportError):
        import rawpy  # noqa: F401

        made["dng"] = dng(sensor_picture(*SIZE)[1])
    with contextlib.suppress(ImportError):
        import pillow_heif

        file = io.BytesIO()
        pillow_heif.from_pillow(rgb).save(file, quality=85)
        made["heic"] = file.getvalue()
    with contextlib.suppress(ImportError):
        import pillow_jxl  # noqa: F401

        made["jxl"] = _packed(rgb, "jxl", quality=90)
        made["jxl lossless"] = _packed(rgb, "jxl", lossless=True)
    return made


def _packed(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def mutated(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """What was done to a file, and the file."""
    changed = bytearray(content)
    how = rng.choice(["flip", "flips", "head", "cut", "swap", "zeros", "noise", "lost", "twice"])
    block = rng.choice([4, 16, 64, 512])
    first, second = (rng.randrange(max(1, len(content) - block)) for _ in range(2))
    if how in ("flip", "flips", "head"):
        for _ in range(1 if how == "flip" else rng.randint(2, 16)):
            changed[rng.randrange(min(len(content), 512) if how == "head" else len(content))] ^= 1 << rng.randrange(8)
    elif how == "cut":
        del changed[rng.randrange(len(content)) :]
    elif how == "swap":
        changed[first : first + block], changed[second : second + block] = (
            content[second : second + block],
            content[first : first + block],
        )
    elif how in ("zeros", "noise"):
        changed[first : first + block] = bytes(block) if how == "zeros" else rng.randbytes(block)
    elif how == "lost":
        del changed[first : first + block]
    else:
        changed[first:first] = content[second : second + block]
    return how, bytes(changed)


def files(count: int, seed: int) -> Iterator[tuple[str, str, bytes]]:
    """Form, what was done, and content; a file that did not change is left out."""
    made, rng = originals(), random.Random(seed)
    forms, given = sorted(made), 0
    while given < count:
        form = forms[given % len(forms)]
        how, content = mutated(made[form], rng)
        if content != made[form]:
            given += 1
            yield form, how, content


def by_noref(content: bytes) -> str:
    """The cautions of a picture that is read; an error where it is refused."""
    cautions: list[str] = []
    try:
        read(content, preprocessing=PREPROCESSING, least_side=SCORED_SIDE, cautions=cautions)
    except ImageError as error:
        raise RefusedError(str(error)) from error
    return "; ".join(cautions)


def by_opencv(content: bytes) -> str:
    """Whether OpenCV reads it."""
    import cv2

    if cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) is None:
        raise RefusedError("None")
    return ""


def by_vips(content: bytes) -> str:
    """Whether libvips reads it."""
    import pyvips

    try:
        pyvips.Image.new_from_buffer(content, "", fail_on="error").copy_memory()
    except pyvips.Error as error:
        raise RefusedError(str(error)) from error
    return ""


class RefusedError(Exception):
    """A decoder says that it cannot read a file."""


def attempts(reader: Callable[[bytes], str], contents: Sequence[bytes]) -> list[tuple[str, str, float]]:
    """For each file `read`, `refused`, `failed`, `crash` or `hang`, the words that belong to it, and the seconds."""
    found: list[tuple[str, str, float]] = []
    while len(found) < len(contents):
        pid, answers = _fork(reader, contents[len(found) :])
        with os.fdopen(answers, "rb") as stream:
            while len(found) < len(contents):
                ready, _, _ = select.select([stream], [], [], HANG)
                line = stream.readline() if ready else b""
                if not line:
                    found.append(("crash" if ready else "hang", "", HANG))
                    break
                found.append(tuple(json.loads(line)))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return found


def _fork(reader: Callable[[bytes], str], contents: Sequence[bytes]) -> tuple[int, int]:
    answers, out = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        os.close(out)
        return pid, answers
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what C libraries say
        limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        for content in contents:
            start = time.monotonic()
            try:
                state, words = "read", reader(content)
            except RefusedError as error:
                state, words = "refused", str(error)
            except BaseException as error:
                state, words = "failed", f"{type(error).__name__}: {error}"
            os.write(out, json.dumps([state, words[:300], time.monotonic() - start]).encode() + b"\n")
    finally:
        os._exit(0)


def run(count: int, seed: int = 0, keep: Path | None = None) -> dict[str, Any]:
    """Counts, and the files that should not be as they are, as (form, what was done, state, words)."""
    cases = list(files(count, seed))
    contents = [content for _, _, content in cases]
    warm = originals()
    ours = attempts(by_noref, contents)
    read_ones = [i for i, one in enumerate(ours) if one[0] == "read"]
    refused: set[int] = set(read_ones)
    for reader in (by_opencv, by_vips):
        known = dict(zip(warm, (one[0] == "read" for one in attempts(reader, list(warm.values()))), strict=True))
        theirs = attempts(reader, [contents[i] for i in read_ones])
        refused &= {i for i, one in zip(read_ones, theirs, strict=True) if one[0] != "read" and known[cases[i][0]]}
    wrong = [i for i, one in enumerate(ours) if one[0] not in ("read", "refused")]
    silent = [i for i in sorted(refused) if not is_damage(ours[i][1])]
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
        for i in {*wrong, *refused}:
            (keep / f"{i}-{cases[i][0].replace(' ', '_')}-{cases[i][1]}").write_bytes(contents[i])
    return {
        "files": count,
        "states": dict(Counter(one[0] for one in ours)),
        "read with a caution of damage": sum(is_damage(ours[i][1]) for i in read_ones),
        "slowest, seconds": max(one[2] for one in ours),
        "read though both refuse": len(refused),
        "of these without a caution": len(silent),
        "by form": dict(Counter(f"{case[0]}: {one[0]}" for case, one in zip(cases, ours, strict=True))),
        "wrong": [(i, *cases[i][:2], *ours[i][:2]) for i in wrong],
        "both refuse": [(i, *cases[i][:2], *ours[i][:2]) for i in sorted(refused)],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files of the last two lists")
    found = run(**vars(parser.parse_args()))
    for key, value in found.items():
        print(f"{key}: {value}" if not isinstance(value, list) else "\n".join([f"{key}:", *map(str, value)]))
    sys.exit(bool(found["wrong"] or found["of these without a caution"]))
